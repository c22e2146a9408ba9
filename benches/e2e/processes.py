"""Processes the harness starts: pinned to cores, bounded in time, never left behind.

Every child leads its own session and is told by the kernel when the harness dies; `guard` also ends
them all on any exit, signal or overrun. A `Talker` is a child of our own that answers in JSON lines.
"""
from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_alive: set[Child] = set()
_given: set[int] = set()


class Failed(Exception):
    """The run cannot go on; the text says why."""


def guard(limit_s: int) -> None:
    """Ends every child when this process exits, is told to stop, or has run for `limit_s`."""
    def stop(number, _frame):
        if number == signal.SIGALRM:
            raise SystemExit(f"not done after {limit_s} s; raise --limit if the machine is only slow")
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, stop)
    signal.alarm(limit_s)
    atexit.register(end_all)


def end_all() -> None:
    for child in list(_alive):
        child.kill()


def cores() -> tuple[set[int], set[int], set[int]]:
    """The proxy's own core, the core of everything else, and both. One core must do if it must."""
    mine = sorted(os.sched_getaffinity(0))
    return {mine[-1]}, {mine[0]}, set(mine[-1:] + mine[:1])


def ports(count: int) -> list[int]:
    """Free ports below the ephemeral range, each given out once in a run."""
    found: list[int] = []
    for port in random.sample(range(15000, 32000), 2000):
        if len(found) == count:
            break
        with socket.socket() as probe:
            if port not in _given and _can_bind(probe, port):
                found.append(port)
    _given.update(found)
    return found


def _can_bind(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
        return True
    except OSError:
        return False


def datagram_sockets() -> list[str]:
    """A row for each, of IPv4."""
    return Path("/proc/net/udp").read_text().splitlines()[1:]


class Child:
    """A process in a session of its own. Leaving its `with` block ends it and its descendants."""

    def __init__(self, argv: list[str], on: set[int], log: Path, **how):
        self.argv, self.log = [str(a) for a in argv], log
        with open(log, "ab") as out:
            how.setdefault("stdout", out)
            self.process = subprocess.Popen(
                self.argv, stderr=out, start_new_session=True,
                preexec_fn=lambda: _settle(on), **{"stdin": subprocess.DEVNULL, **how})
        self.pid = self.process.pid
        _alive.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self, patience_s: float = 3) -> None:
        """SIGTERM to the whole session, then SIGKILL."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()
        _alive.discard(self)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def listens(self, port: int, patience_s: float = 30) -> Child:
        """Waits until something accepts on the port; says what the log has if the child ended."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if not self.running():
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                return self
            time.sleep(0.02)
        raise Failed(f"{' '.join(self.argv)}: nothing listens on {port}\n{self.tail()}")

    def binds(self, port: int, patience_s: float = 30) -> Child:
        """The same for a port of datagrams, which nobody can try: the kernel's list says it."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end and self.running():
            if any(row.split()[1].endswith(f":{port:04X}") for row in datagram_sockets()):
                return self
            time.sleep(0.02)
        raise Failed(f"{' '.join(self.argv)}: no datagrams are taken on {port}\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


class Talker(Child):
    """One of this directory's programs, steered by lines on its stdin, heard on its stdout."""

    def __init__(self, program: str, arguments: list, on: set[int], log: Path, by: str = sys.executable):
        argv = [by, str(HERE / program), *map(str, arguments)]
        super().__init__(argv, on, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._heard = b""

    def say(self, word: str) -> None:
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, patience_s: float) -> dict:
        """The next line it says, as JSON."""
        end, out = time.monotonic() + patience_s, self.process.stdout.fileno()
        while b"\n" not in self._heard:
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise Failed(f"{self.argv[1]}: silent for {patience_s} s\n{self.tail()}")
            data = os.read(out, 65536)
            if not data:
                raise Failed(f"{self.argv[1]} ended early\n{self.tail()}")
            self._heard += data
        line, self._heard = self._heard.split(b"\n", 1)
        return json.loads(line)


def _settle(on: set[int]) -> None:
    """Runs in the child before it becomes its program."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, on)
