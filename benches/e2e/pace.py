"""Whether something happened at the pace that was promised: so many in every second, no rush and no gap."""
from __future__ import annotations

import bisect
from dataclasses import dataclass

from api import Reading

SHARE = 0.02
"""A second may have two in a hundred more or less, or one."""


@dataclass(frozen=True)
class Second:
    """One second's count beside what was due."""
    counted: float
    due: float
    blur: float = 0
    """What cannot be told because the counting itself took time."""

    @property
    def off(self) -> float:
        return self.counted - self.due

    @property
    def bad(self) -> bool:
        return abs(self.off) > max(SHARE * self.due, 1) + self.blur


def seconds(arrivals_ns: list[int], begin_ns: int, end_ns: int, rate: float) -> list[Second]:
    """Of each whole second between the two, the first counted from the first arrival."""
    inside = arrivals_ns[bisect.bisect_left(arrivals_ns, begin_ns):bisect.bisect_left(arrivals_ns, end_ns)]
    if not inside:
        return []
    end = min(end_ns, inside[-1])
    begins = range(inside[0], end - 10**9, 10**9)
    return [Second(bisect.bisect_left(inside, b + 10**9) - bisect.bisect_left(inside, b), rate) for b in begins]


def between(readings: list[Reading], rate: float) -> list[Second]:
    """Of each pair of readings while it closed tunnels, by the time between them. After its last one
    a drain still runs until that has said goodbye."""
    last = max((r.closed for r in readings), default=0)
    running = [r for r in readings if r.state == "running" and r.closed < last]
    return [Second(b.closed - a.closed, rate * (b.at - a.at), rate * (a.took + b.took) / 2)
            for a, b in zip(running, running[1:])]


def figures(found: list[Second], rate: float) -> dict:
    worst = max(found, key=lambda second: abs(second.off), default=Second(0, 0))
    return {"seconds": len(found), "worst_off": round(worst.off, 1), "worst_percent": round(100 * worst.off / rate, 2)}


def faults(found: list[Second], who: str) -> list[str]:
    """Each second that was not as promised."""
    return [f"{who}, second {number}: {second.counted:.0f} closed, {second.due:.0f} ± "
            f"{max(SHARE * second.due, 1) + second.blur:.1f} were due"
            for number, second in enumerate(found, 1) if second.bad]
