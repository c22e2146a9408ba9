"""What goes on beside a game: something done again and again in a thread, such as new clients that come
and a pool that is replaced."""
from __future__ import annotations

import collections
import itertools
import random
import socket
import threading
import time
from typing import Callable

import frames
from dyups import Admin
from hold import UPGRADE
from origins import field
from processes import Failed


class Meanwhile:
    """Does it every so many seconds while its `with` block lasts. What it raises is raised at the end."""

    def __init__(self, every_s: float, act: Callable[[], None]):
        self._every_s, self._act, self.done = every_s, act, 0
        self._stop, self._failed = threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Meanwhile:
        self._thread.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self._stop.set()
        self._thread.join(15)
        if self._failed and kind is None:
            raise Failed(f"meanwhile, after {self.done} times: {self._failed!r}")

    def _run(self) -> None:
        begin = time.monotonic()
        for turn in itertools.count():
            if self._stop.wait(max(0, begin + turn * self._every_s - time.monotonic())):
                return
            try:
                self._act()
            except (Failed, OSError) as reason:
                self._failed = reason
                return
            self.done += 1


class Newcomers:
    """New WebSockets, one at a time, and which server each got. It says goodbye at once."""

    def __init__(self, port: int, path: str = "/ws"):
        self._port, self._upgrade = port, UPGRADE.replace(b" /ws ", f" {path} ".encode(), 1)
        self.by_server: collections.Counter = collections.Counter()

    def come(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 10) as sock:
            sock.sendall(self._upgrade)
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(4096)
                if not data:
                    raise ConnectionError(f"a newcomer was closed before its 101: {head[:80]!r}")
                head += data
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise ConnectionError(f"a newcomer was answered {head[:80]!r}")
            self.by_server[field(head, b"x-server").decode()] += 1
            sock.sendall(frames.encode((1000).to_bytes(2, "big"), frames.CLOSE))
            sock.recv(4096)


class Shuffle:
    """POSTs the same servers in another order, with other weights."""

    def __init__(self, admin_port: int, pool: str, servers: list[str], weighted: bool = True):
        self._admin, self._pool = Admin(admin_port), pool
        self._servers, self._weighted = list(servers), weighted

    def __call__(self) -> None:
        random.shuffle(self._servers)
        weights = [random.randint(1, 3) if self._weighted else 1 for _ in self._servers]
        self._admin.post(self._pool, "".join(f"server {s} weight={w};" for s, w in zip(self._servers, weights)))
