"""Very many sockets in one thread: epoll, and nothing between it and the bytes.

What holds thousands of connections here must cost little, or it would be what is measured. A `Stream`
sends what the kernel takes and keeps the rest; `listen` hands over what a port accepts; `commands` are
the lines of whoever started this program.
"""
from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from typing import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
AT_ONCE, MOST = 512, 65536
BACKLOG = 4096


class Poller:
    def __init__(self):
        self._epoll, self._of = select.epoll(), {}

    def add(self, fd: int, ready: Callable[[int], None], mask: int = READ) -> None:
        self._of[fd] = ready
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        if self._of.pop(fd, None):
            self._epoll.unregister(fd)

    def turn(self, patience_s: float) -> None:
        """Tells all that have something to do, once."""
        for fd, mask in self._epoll.poll(max(0, patience_s), AT_ONCE):
            ready = self._of.get(fd)
            if ready:
                ready(mask)


class Stream:
    """One connection. Who inherits says what `received` and `ended` do."""

    def __init__(self, poller: Poller, sock: socket.socket):
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.poller, self.sock, self._rest = poller, sock, b""
        poller.add(sock.fileno(), self._ready)

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def ended(self, how: str) -> None:
        """The other side closed (`eof`) or broke off; the socket is closed already."""

    def send(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            return
        left = self._push(data)
        if left:
            self._rest = left
            self.poller.modify(self.sock.fileno(), READ | WRITE)

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self.poller.remove(self.sock.fileno())
            self.sock.close()

    def take(self) -> bytes:
        return self.sock.recv(MOST)

    def _push(self, data: bytes) -> bytes:
        """What the kernel did not take. A broken connection takes all; reading finds out what happened."""
        try:
            return data[self.sock.send(data):]
        except BlockingIOError:
            return data
        except OSError:
            return b""

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self._rest = self._push(self._rest)
            if not self._rest:
                self.poller.modify(self.sock.fileno(), READ)
        if mask & ~WRITE:
            self._read()

    def _read(self) -> None:
        try:
            data, how = self.take(), "eof"
        except BlockingIOError:
            return
        except OSError as error:
            data, how = b"", type(error).__name__
        if data:
            self.received(data)
        else:
            self.close()
            self.ended(how)


def listen(poller: Poller, port: int, accepted: Callable[[socket.socket], object]) -> None:
    door = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    door.setblocking(False)

    def ready(_mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted(door.accept()[0])
    poller.add(door.fileno(), ready)


def commands(poller: Poller, told: Callable[[str], None]) -> None:
    """Each line on stdin. When that ends, so does this program: whoever steered it is gone."""
    fd, held = sys.stdin.fileno(), b""

    def ready(_mask: int) -> None:
        nonlocal held
        data = os.read(fd, 4096)
        if not data:
            sys.exit(0)
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            told(line.decode())
    poller.add(fd, ready)
