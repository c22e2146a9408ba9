"""What every work has in common: a name, a figure to compare, and one run against one peer."""
from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from kernel import pss_kib
from peers import MOST_CONNECTIONS, Peer


@dataclass
class Bench:
    """Where a run takes place and how large it is."""
    directory: Path
    seconds: int
    settle: float
    tunnels: int
    idle: int
    waiting: int
    wait: int
    posts: int
    pools: int
    descriptors: int
    proxy_core: set
    other_core: set
    both_cores: set
    _numbers: itertools.count = field(default_factory=itertools.count)

    def fresh(self, name: str) -> Path:
        """A directory nobody has used."""
        path = self.directory / f"{next(self._numbers)}-{name}"
        path.mkdir(parents=True)
        return path

    def connections(self, wanted: int, each: int) -> int:
        """`wanted`, or what fits a proxy that needs `each` descriptors for one."""
        return min(wanted, MOST_CONNECTIONS // each, (self.descriptors - 500) // each)


class Work:
    """One kind of measurement. `run` returns named figures; `key` is the one set beside nginx's."""
    name = about = key = ""
    repeats = True
    """Whether a run is repeated for each round and the median taken."""

    def suits(self, _peer: Peer) -> bool:
        return True

    def run(self, bench: Bench, peer: Peer) -> dict:
        raise NotImplementedError


def grown_kib(pid: int, base: int, count: int) -> float:
    """Memory each of `count` things added to the proxy that had `base`."""
    return round((pss_kib(pid) - base) / count, 3)
