"""WebSockets with one small message under way on each, as quickly as it comes back.

`pingpong.py PORT COUNT` opens them and says `{"open": n}`; each line on stdin is answered with the number
of round trips so far. An echo that is not what was sent ends the program.
"""
from __future__ import annotations

import json
import socket
import sys

import frames
from hold import UPGRADE, address
from poller import Poller, Stream, commands

MESSAGE = b"a small message of 32 bytes.....\n"[:32]
PING, PONG = frames.encode(MESSAGE), frames.encode(MESSAGE, masked=False)


class Player(Stream):
    trips = 0
    """Of all of them."""

    def __init__(self, poller: Poller, port: int, number: int):
        sock = socket.create_connection(("127.0.0.1", port), 10, address(number))
        self.held, self.opened = b"", False
        super().__init__(poller, sock)
        self.send(UPGRADE)

    def received(self, data: bytes) -> None:
        if not self.opened:
            data = self._handshake(data)
        elif self.held:
            data, self.held = self.held + data, b""
        if data == PONG:
            Player.trips += 1
            self.send(PING)
        elif PONG.startswith(data):
            self.held = data
        else:
            raise ConnectionError(f"{data[:60]!r} came back for {PONG!r}")

    def _handshake(self, data: bytes) -> bytes:
        self.held += data
        head, found, rest = self.held.partition(b"\r\n\r\n")
        if not found:
            return b""
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(f"answered {head[:200]!r}, wanted a 101")
        self.held, self.opened = b"", True
        self.send(PING)
        return rest

    def ended(self, how: str) -> None:
        raise ConnectionError(f"a tunnel ended: {how}")


def main(port: int, count: int) -> None:
    poller = Poller()
    players = [Player(poller, port, number) for number in range(count)]
    while not all(player.opened for player in players):
        poller.turn(10)
    commands(poller, lambda _line: print(json.dumps({"trips": Player.trips}), flush=True))
    print(json.dumps({"open": count}), flush=True)
    while True:
        poller.turn(10)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
