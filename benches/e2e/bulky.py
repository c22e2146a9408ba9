"""A server for clients that take or give their bodies slowly.

`bulky.py PORT` answers `GET /large` with `LARGE` bytes, as fast as they are taken, swallows the body of a
POST before it answers, and answers anything else at once. One shared block of bytes is all it sends from,
so thousands of unfinished answers cost it nothing.
"""
from __future__ import annotations

import sys

from origins import field
from poller import READ, WRITE, Poller, Stream, listen

LARGE = 64 << 20
BLOCK = memoryview(bytes(1 << 18))
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsmall\n"


class Bulky(Stream):
    def __init__(self, poller: Poller, sock):
        super().__init__(poller, sock)
        self.head, self.body_left, self.due = b"", 0, 0

    def received(self, data: bytes) -> None:
        while data:
            if self.body_left:
                taken = min(self.body_left, len(data))
                self.body_left, data = self.body_left - taken, data[taken:]
                if not self.body_left:
                    self.send(SMALL)
                continue
            self.head += data
            head, found, data = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            self.head = b""
            self._asked(head)

    def _asked(self, head: bytes) -> None:
        self.body_left = int(field(head, b"content-length") or 0)
        if self.body_left:
            return
        if head.split(b" ", 2)[1] != b"/large":
            self.send(SMALL)
            return
        self.send(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode())
        self.due = LARGE
        self.poller.modify(self.sock.fileno(), READ | WRITE)

    def _ready(self, mask: int) -> None:
        if mask & WRITE and self.due:
            try:
                self.due -= self.sock.send(BLOCK[:min(self.due, len(BLOCK))])
            except OSError:
                pass  # reading finds out what happened
            if not self.due:
                self.poller.modify(self.sock.fileno(), READ)
            mask &= ~WRITE
        if mask:
            super()._ready(mask)

    def ended(self, _how: str) -> None:
        self.due = 0


def main(port: int) -> None:
    poller = Poller()
    listen(poller, port, lambda sock: Bulky(poller, sock))
    while True:
        poller.turn(60)


if __name__ == "__main__":
    main(int(sys.argv[1]))
