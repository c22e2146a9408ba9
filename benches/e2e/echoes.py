"""A server that echoes on very many connections at little cost, and looks hard at what reaches it.

`echoes.py websocket|tcp PORT NAME` answers each handshake with `X-Server: NAME` and sends every frame
back as it came, or every byte. On the line `report` it says what it has seen: handshakes, Close frames
by code, connections that ended without one, and whoever did not speak the protocol.
"""
from __future__ import annotations

import collections
import json
import sys

import frames
from origins import key_of, switch
from poller import Poller, Stream, commands, listen
from strict import Broken, Frames, close_of


class Seen:
    def __init__(self):
        self.opened = self.without_close = self.broken = 0
        self.closes: collections.Counter = collections.Counter()
        self.notes: list[str] = []

    def report(self) -> dict:
        return {"opened": self.opened, "closes": dict(self.closes), "without_close": self.without_close,
                "broken": self.broken, "notes": self.notes[:5]}


class Echo(Stream):
    """As TCP: every byte."""

    def __init__(self, poller, sock, seen: Seen, name: bytes):
        super().__init__(poller, sock)
        self.seen, self.name = seen, name
        self.begin()

    def begin(self) -> None:
        self.seen.opened += 1

    def received(self, data: bytes) -> None:
        self.send(data)


class WebSocketEcho(Echo):
    def begin(self) -> None:
        self.head, self.frames, self.closing = b"", None, False

    def received(self, data: bytes) -> None:
        if not self.frames:
            data = self._handshake(data)
        if data:
            self._echo(data)

    def _handshake(self, data: bytes) -> bytes:
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            return b""
        self.send(switch(key_of(head))[:-2] + b"X-Server: " + self.name + b"\r\n\r\n")
        self.head, self.frames = b"", Frames(masked=True)
        self.seen.opened += 1
        return rest

    def _echo(self, data: bytes) -> None:
        try:
            for fin, opcode, payload in self.frames.feed(data):
                if self.closing:
                    raise Broken(f"opcode {opcode} after a Close")
                if opcode == frames.CLOSE:
                    self.closing = True
                    self.seen.closes[close_of(payload)[0]] += 1
                self.send(frames.encode(payload, opcode, masked=False, fin=fin))
        except Broken as reason:
            self.seen.broken += 1
            self.seen.notes.append(f"server {self.name.decode()}: {reason}")
            self.close()

    def ended(self, _how: str) -> None:
        if self.frames and not self.closing:
            self.seen.without_close += 1


def main(kind: str, port: int, name: bytes) -> None:
    poller, seen = Poller(), Seen()
    sort = {"websocket": WebSocketEcho, "tcp": Echo}[kind]
    listen(poller, port, lambda sock: sort(poller, sock, seen, name))
    commands(poller, lambda _line: print(json.dumps(seen.report()), flush=True))
    while True:
        poller.turn(60)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].encode())
