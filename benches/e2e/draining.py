"""What has come of a drain, and everything of it that was not as promised."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import pace
from api import Reading

POOL, DRAINED = "u", "b"
PAUSE_S = 3
PAUSE_SLACK_NS = 20_000_000
"""A Close may have been under way when the pause was answered."""
SLOWER = 1.2
"""How much slower than before the echo of the others may be."""
NEVER = 2**63


@dataclass
class Events:
    """What was done, and when, by the wall clock."""
    begin_ns: int = 0
    pause_ns: int = NEVER
    resume_ns: int = NEVER
    crash_ns: int = NEVER
    readings: list[Reading] = field(default_factory=list)
    new: dict = field(default_factory=dict)
    """New clients while it ran, by server."""
    counts: dict = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def last(self) -> Reading:
        return self.readings[-1]


def judged(events: Events, report: dict, by_server: dict, servers: list[dict], rate: int, word: str) \
        -> tuple[dict, list[str]]:
    """Figures, and faults in words."""
    tunnels, arrivals = by_server.get(DRAINED, 0), report.pop("arrivals")
    figures, faults = paced(events, arrivals, rate)
    faults = events.faults + complete(events, report, tunnels, len(arrivals), word) + faults
    faults += zero(report, servers, events) + slower(report["latency"])
    return {"by_server": by_server, "closes": len(arrivals), "proxy": vars(events.last), "new_by_server": events.new,
            **events.counts, **figures, **report, "servers": servers}, faults


def complete(events: Events, report: dict, tunnels: int, closes: int, word: str) -> list[str]:
    """Everybody on the drained server, and in the right words."""
    found = {
        "no tunnel was on the server to be drained": not tunnels,
        f"{tunnels - closes} of {tunnels} clients of the drained server got no Close":
            closes != tunnels and events.crash_ns == NEVER,
        f"Closes said {report['words']}, all should say {word!r}": set(report["words"]) - {word},
        f"the drain is not drained in the end: {events.last}": events.last.state != "drained",
        f"the proxy counts {events.last}, clients got {closes} Closes":
            events.crash_ns == NEVER and (events.last.closed, events.last.cut) != (closes, 0),
        f"{report['open_after_close']} connections stay open after Close and answer": report["open_after_close"],
        f"of {sum(events.new.values())} new clients {events.new.get(DRAINED)} got to the drained server":
            events.new.get(DRAINED),
        "no new client came, so nothing is known of where they go": not events.new,
    }
    return [text for text, is_so in found.items() if is_so]


def paced(events: Events, arrivals: list[int], rate: int) -> tuple[dict, list[str]]:
    """Before and after a pause apart; nothing in it."""
    stop = min(events.pause_ns, events.crash_ns)
    seen = pace.seconds(arrivals, 0, stop, rate)
    told = pace.between([r for r in events.readings if r.at * 1e9 < stop], rate)
    faults, figures = [], {}
    if events.pause_ns != NEVER:
        seen += pace.seconds(arrivals, events.resume_ns, NEVER, rate)
        told += pace.between([r for r in events.readings if r.at * 1e9 > events.resume_ns], rate)
        paused = [at for at in arrivals if events.pause_ns + PAUSE_SLACK_NS < at < events.resume_ns]
        held = [r.closed for r in events.readings if events.pause_ns < r.at * 1e9 < events.resume_ns]
        figures["closes_in_pause"] = len(paused)
        faults += [f"{len(paused)} Closes came in the {PAUSE_S} s of the pause"] if paused else []
        faults += [f"the proxy counted on in the pause: {held}"] if held[0] != held[-1] else []
    figures = {**figures, "per_second": [second.counted for second in seen],
               **{f"clients_{name}": value for name, value in pace.figures(seen, rate).items()},
               **{f"proxy_{name}": value for name, value in pace.figures(told, rate).items()}}
    due = math.floor(len(arrivals) / rate) - 2
    if len(seen) < due:
        faults.append(f"only {len(seen)} whole seconds with Closes, {due} were due at {rate}/s")
    return figures, faults + pace.faults(seen, "clients") + pace.faults(told, "the proxy's count")


def zero(report: dict, servers: list[dict], events: Events) -> list[str]:
    """What must not have happened to anybody."""
    names = ("closes_elsewhere", "lost", "altered", "after_close", "broken", "ended_without_close")
    found = [f"{report[name]} {name}: {report['notes'][:3]}" for name in names if report[name]]
    broken = [note for server in servers for note in server["notes"]]
    return found + ([f"servers got what is no WebSocket: {broken[:3]}"] if broken else [])


def slower(latency: dict) -> list[str]:
    if not {"quiet", "drain"} <= latency.keys():
        return [f"no latencies of quiet and drain: {latency}"]
    before, during = (latency[phase]["p99_us"] for phase in ("quiet", "drain"))
    latency.update({f"{name[:-3]}_ratio": round(latency["drain"][name] / max(latency["quiet"][name], 1), 3)
                    for name in ("p99_us", "p99_each_second_us")})
    return [f"p99 of the others' echo was {during} µs, {before} µs before: more than ×{SLOWER}"] \
        if during > SLOWER * before else []
