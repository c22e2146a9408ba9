"""Whether the memory of a process grows: looked at every few seconds while a game goes on."""
from __future__ import annotations

import time
from pathlib import Path

from kernel import pss_kib
from meanwhile import Meanwhile

EVERY_S = 5
SHORTEST_S = 30
"""Over less than that a slope says nothing."""


class Growth:
    """Samples while its `with` block lasts."""

    def __init__(self, pid: int):
        self._pid, self._begin = pid, time.monotonic()
        self.samples: list[tuple[float, float, float]] = []
        """Seconds since the begin, and MiB resident and proportional."""
        self._watching = Meanwhile(EVERY_S, self._look)

    def __enter__(self) -> Growth:
        self._watching.__enter__()
        return self

    def __exit__(self, *what) -> None:
        self._watching.__exit__(*what)
        self._look()

    def figures(self, after_s: float) -> dict:
        """What it grew once it had worked for so long."""
        late = [sample for sample in self.samples if sample[0] >= after_s] or self.samples[-1:]
        seconds, rss, pss = zip(*late)
        figures = {"rss_mib": rss[-1], "pss_mib": pss[-1], "pss_after_warming_mib": pss[0],
                   "pss_last_over_warm": round(pss[-1] / pss[0], 3), "pss_max_over_warm": round(max(pss) / pss[0], 3)}
        if seconds[-1] - seconds[0] >= SHORTEST_S:
            figures |= {"pss_mib_per_minute": round(60 * slope(seconds, pss), 3),
                        "rss_mib_per_minute": round(60 * slope(seconds, rss), 3)}
        return figures

    def _look(self) -> None:
        status = Path(f"/proc/{self._pid}/status").read_text()
        rss = int(status.partition("VmRSS:")[2].split()[0])
        self.samples.append((round(time.monotonic() - self._begin, 1), round(rss / 1024, 1),
                             round(pss_kib(self._pid) / 1024, 1)))


def slope(x: tuple[float, ...], y: tuple[float, ...]) -> float:
    """Of the straight line that fits best."""
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - middle_x) ** 2 for one in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y)) / spread if spread else 0
