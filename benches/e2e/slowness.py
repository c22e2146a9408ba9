"""What one turn of slow clients was like, and what of it is not as promised."""
from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import floods
from kernel import pss_kib

SLOWER, SLOWER_US, MARGIN_S = 2.0, 2000, 2.5
"""Both have to be: where a quiet request takes half a millisecond, one turn of the scheduler is several times that."""
GROWN, GROWN_MIB, PATIENCE_S = 1.10, 32, 60
KERNEL_MIB = 64
PAGE = os.sysconf("SC_PAGE_SIZE")
ADMIN_S, NEWCOMER_S = 2.0, 5.0
ENDED = {"heads": 1.0, "hellos": 1.0, "reads": 1.0, "bodies": 0.5, **dict.fromkeys(floods.ALL, 1.0)}
"""The share of each kind that its deadline ends, or what it does; of bodies those that stop."""


@dataclass
class Turn:
    kind: str
    wanted: int
    before: dict = field(default_factory=dict)
    during: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    after_s: float = 0.0
    """How long memory took to come back."""
    opening: dict = field(default_factory=dict)
    held: dict = field(default_factory=dict)
    """What the attackers say of the time until all were there, and from then on."""
    cores: float = 0.0
    attackers_cores: float = 0.0
    admin_s: float = 0.0
    """The longest that the admin side took to answer."""
    newcomer_s: float = 0.0
    """How long a new client waited once they had left."""

    def counts(self, phases: dict) -> dict:
        """With what the quiet client saw."""
        quiet, elsewhere, during = (phases[f"{when} {self.kind}"] for when in ("before", "elsewhere", "during"))
        over = [round(during["p99_us"] / one["p99_us"], 2) for one in (elsewhere, quiet)]
        return {"p99_over_elsewhere": over[0], "p99_over_quiet": over[1],
                "quiet": quiet, "elsewhere": elsewhere, "with_attackers": during,
                "memory_mib": {"before": self.before, "during": self.during, "after": self.after},
                "memory_back_s": round(self.after_s, 1), "proxy_cores": round(self.cores, 2),
                "attackers_cores": round(self.attackers_cores, 2), "admin_longest_s": round(self.admin_s, 3),
                "newcomer_s": round(self.newcomer_s, 3), "opening": self.opening, "attackers": self.held}


def memory_mib(pid: int) -> dict:
    """Of the process, and what the kernel holds for connections of everybody here, both ends of them."""
    rss = int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
    pages = int(Path("/proc/net/sockstat").read_text().partition("TCP:")[2].partition(" mem ")[2].split()[0])
    return {"rss": round(rss / 1024, 1), "pss": round(pss_kib(pid) / 1024, 1), "kernel": pages * PAGE >> 20}


def is_back(now: dict, before: dict) -> bool:
    most = max(before["rss"] * GROWN, before["rss"] + GROWN_MIB)
    return now["rss"] <= most and now["kernel"] <= before["kernel"] + KERNEL_MIB


def wait_for_memory(pid: int, before: dict) -> tuple[dict, float]:
    """Until it is back, or has had its time: the allocator gives back little by little."""
    begin = time.monotonic()
    while True:
        now, took = memory_mib(pid), time.monotonic() - begin
        if is_back(now, before) or took > PATIENCE_S:
            return now, took
        time.sleep(0.5)


def faults(counts: dict, turns: list[Turn], deadline_s: float) -> list[str]:
    tunnels = counts["tunnels"]
    found = [f"{tunnels[name]} times {name} among the tunnels: {tunnels['notes'][:3]}"
             for name in ("lost", "altered", "broken", "closes_elsewhere", "ended_without_close") if tunnels[name]]
    found += [f"the quiet client was failed: {one}" for one in counts["quiet_failed"]]
    if counts["local_errors"] and all(turn.kind != "idle" for turn in turns):
        found.append(f"{counts['local_errors']:.0f} errors of the local machine")
    if not counts["local_errors"] and any(turn.kind == "idle" for turn in turns):
        found.append("descriptors never ran out")
    for turn in turns:
        found += [f"{turn.kind}: {text}" for text, is_so in _of(turn, counts[turn.kind], deadline_s) if is_so]
    return found


def _of(turn: Turn, counts: dict, deadline_s: float) -> list[tuple[str, bool]]:
    ratio, answers = counts["p99_over_elsewhere"], counts["with_attackers"]["requests"]
    more_us = counts["with_attackers"]["p99_us"] - counts["elsewhere"]["p99_us"]
    said = [(f"p99 of the quiet client is {ratio} times what it is with the attackers elsewhere, {more_us} µs more",
             ratio > SLOWER and more_us > SLOWER_US),
            (f"the quiet client had {answers} answers", answers < 100),
            (f"memory was {turn.before}, is {turn.after} after {turn.after_s:.0f} s",
             not is_back(turn.after, turn.before)),
            (f"the admin side took {turn.admin_s:.1f} s", turn.admin_s > ADMIN_S),
            (f"a new client waited {turn.newcomer_s:.1f} s", turn.newcomer_s > NEWCOMER_S)]
    share, ended = ENDED.get(turn.kind), turn.opening["ended"] + turn.held["ended"]
    if share is None:
        return said
    longest = max(turn.held["lasted_s"].get("p99", 0), turn.opening["lasted_s"].get("p99", 0))
    due = turn.wanted * share
    return [*said, (f"{ended} were ended, at least {due:.0f} were due", ended < due * 0.98),
            (f"they were ended after {turn.held['lasted_s']} s, due were {deadline_s}",
             longest > deadline_s + MARGIN_S)]
