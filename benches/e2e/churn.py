"""A pool whose servers are swapped back and forth while clients ask without pause.

Two lists, A and B, of two servers each. A request is stale when it began after a change was answered
and was served by a server of the list before it. A request that overlaps a change may be served by
either list; `checked` counts those that could only be right or wrong.
"""
from __future__ import annotations

import bisect
import random
import time
from dataclasses import dataclass
from pathlib import Path

import origins
from peers import Peer, Proxy, fresh_task
from processes import Talker, ports
from traffic import FAILED, Records
from work import Bench

WORKERS = 2
LISTS = ("ab", "cd")
WARM_S = 1


@dataclass(frozen=True)
class Plan:
    """How many changes, at which pace, under how many clients."""
    posts: int
    clients: int = 64
    pause_ms: float = 20
    """On average; each pause is random."""
    durable: bool = False


@dataclass(frozen=True)
class Change:
    begin: int
    answered: int
    servers: str

    @property
    def took_us(self) -> float:
        return (self.answered - self.begin) / 1e3


def churn(bench: Bench, peer: Peer, plan: Plan) -> dict:
    """Plays the plan and counts."""
    numbers = ports(4)
    named = dict(zip(numbers, "abcd"))
    address = {letter: f"127.0.0.1:{port}" for port, letter in named.items()}
    lists = {letters: [address[letter] for letter in letters] for letters in LISTS}
    directory = bench.fresh(f"churn-{peer.name}")
    task = fresh_task(directory, {"u": lists[LISTS[0]]}, workers=WORKERS, durable=plan.durable)
    records = directory / "requests"
    with origins.answering(directory / "origin", named, bench.both_cores), \
            peer.start(task, bench.both_cores) as proxy, \
            Talker("traffic.py", [task.port, plan.clients, records], bench.both_cores,
                   directory / "traffic.log") as crowd:
        crowd.hear(30)
        time.sleep(WARM_S)
        changes = [swap(proxy, lists, number, plan.pause_ms) for number in range(1, plan.posts + 1)]
        time.sleep(WARM_S)
        crowd.say("stop")
        said = crowd.hear(60)
    return {**posted(changes), **judged(records, said, changes)}


def swap(proxy: Proxy, lists: dict, number: int, pause_ms: float) -> Change:
    letters = LISTS[number % 2]
    begin = time.monotonic_ns()
    proxy.replace("u", lists[letters])
    answered = time.monotonic_ns()
    time.sleep(random.uniform(0, 2 * pause_ms) / 1e3)
    return Change(begin, answered, letters)


def posted(changes: list[Change]) -> dict:
    took = sorted(change.took_us for change in changes)
    return {"posts": len(took), "post_p50_us": took[len(took) // 2], "post_p99_us": took[int(len(took) * 0.99)],
            "post_max_us": took[-1]}


def judged(path: Path, said: dict, changes: list[Change]) -> dict:
    """The clients' records laid beside the times of the changes."""
    records = Records.read(str(path), said["requests"])
    begins, answers = [c.begin for c in changes], [c.answered for c in changes]
    failed = stale = checked = worst = 0
    for begin, end, who in zip(records.begin, records.end, records.who):
        if who == FAILED:
            failed += 1
            continue
        newest = bisect.bisect_left(answers, begin) - 1
        started = bisect.bisect_right(begins, end) - 1
        if newest != started:
            continue
        checked += 1
        if chr(who) not in (changes[newest].servers if newest >= 0 else LISTS[0]):
            stale += 1
            worst = max(worst, begin - answers[newest])
    return {"requests": said["requests"], "failed": failed + said["refused"], "checked": checked,
            "stale": stale, "stale_for_ms": worst / 1e6}
