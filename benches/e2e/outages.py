"""Servers that fall ill on a schedule: killed and started again, or stopped in the middle of whatever
they do.
"""
from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from processes import Talker, ports

HEAD_START_S = 0.05
"""The clock is read before the signal is sent."""
AFTERWARDS_S = 0.5
"""A connection's end may be noticed only when its worker comes to it."""


@dataclass(frozen=True)
class Outage:
    """When a server was not there, by the clock that logs go by."""
    address: str
    begin: float
    end: float

    def touches(self, address: str, begin: float, end: float) -> bool:
        return (address == self.address and end >= self.begin - HEAD_START_S
                and begin <= self.end + AFTERWARDS_S)


class Server:
    """A `mirror.py` that is there, or not, on a port of its own."""

    def __init__(self, name: str, port: int, directory: Path, on: set[int]):
        self.address, self._name, self._port, self._on = f"127.0.0.1:{port}", name, port, on
        self._log = directory / f"origin-{name}.log"
        self._child = self._start()

    def _start(self) -> Talker:
        return Talker("mirror.py", [self._port, self._name], self._on, self._log).listens(self._port)

    def kill(self) -> None:
        self._child.kill()

    def revive(self) -> None:
        self._child = self._start()

    def hang(self) -> None:
        """It takes connections still, as far as the kernel does that for it, and never answers."""
        os.kill(self._child.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self._child.pid, signal.SIGCONT)


@contextmanager
def servers(count: int, directory: Path, on: set[int]) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        found = []
        for name, port in zip("abcdefgh", ports(count)):
            found.append(Server(name, port, directory, on))
            stack.callback(found[-1].kill)
        yield found


def kill_in_turn(who: list[Server], seconds: float, every: float, down: float,
                 between: Callable[[], None]) -> list[Outage]:
    """One after the other, the next only when the last is back, and `between` before each."""
    begin, outages = time.monotonic(), []
    while len(outages) * every < seconds:
        between()
        at = begin + len(outages) * every
        sleep_until(at)
        server, began = who[len(outages) % len(who)], time.time()
        server.kill()
        sleep_until(at + down)
        server.revive()
        outages.append(Outage(server.address, began, time.time()))
    sleep_until(begin + seconds)
    return outages


def sleep_until(moment: float) -> None:
    time.sleep(max(0, moment - time.monotonic()))
