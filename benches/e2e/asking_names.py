"""DNS clients that ask at a steady rate and look at every answer, in a process of their own.

`asking_names.py PORT RATE SOCKETS ADDRESS...` asks for new names under `test.` from many ports, one query under
way on each, as stub resolvers do; an answer is right when it has the query's number and name and one of the
addresses. On the line `stop` it waits for what is under way and reports.
"""
from __future__ import annotations

import collections
import json
import random
import socket
import struct
import sys
import time

from poller import Poller, commands

PATIENCE_S = 2
HEAD = struct.Struct(">HHHHHH")
ASKS_A = b"\x04test\x00\x00\x01\x00\x01"
RECURSION, ONE = 0x0100, 1
SHOWN = 10


def query(number: int, name: int) -> bytes:
    label = b"q%d" % name
    return HEAD.pack(number, RECURSION, ONE, 0, 0, 0) + bytes([len(label)]) + label + ASKS_A


def address_in(answer: bytes, asked: bytes) -> str:
    """The answer's one address; ValueError when it is no answer to that query."""
    number, flags, questions, answers, _, _ = HEAD.unpack_from(answer)
    end = len(asked)
    if number != int.from_bytes(asked[:2], "big") or answer[12:end] != asked[12:]:
        raise ValueError("it answers another query")
    if not flags & 0x8000 or flags & 0xF or (questions, answers) != (1, 1):
        raise ValueError(f"flags {flags:#06x}, {questions} questions, {answers} answers")
    kind, sort, _, size = struct.unpack_from(">HHIH", answer, end + 2)
    if answer[end] < 0xC0 or (kind, sort, size) != (1, 1, 4):
        raise ValueError("its record is no address")
    return socket.inet_ntoa(answer[end + 12:end + 16])


class Load:
    def __init__(self, port: int, rate: float, sockets: int, addresses: list[str]):
        self.port, self.rate, self.addresses = port, rate, set(addresses)
        self.poller, self.stopping = Poller(), False
        self.waiting: dict[socket.socket, tuple[bytes, float]] = {}
        self.counts: collections.Counter = collections.Counter()
        self.by_address: collections.Counter = collections.Counter()
        self.took, self.notes = [], []
        self.free = collections.deque(self._socket() for _ in range(sockets))

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", self.port))
        sock.setblocking(False)
        self.poller.add(sock.fileno(), lambda _mask: self._answered(sock))
        return sock

    def run(self) -> None:
        commands(self.poller, lambda _line: setattr(self, "stopping", True))
        begin, turn, scan = time.monotonic(), 0, 0
        while not self.stopping or self.waiting:
            now = time.monotonic()
            while begin + turn / self.rate <= now and not self.stopping:
                turn += 1
                self._ask(turn, now)
            if now > scan + PATIENCE_S / 10:
                scan = now
                self._give_up(now)
            self.poller.turn(min(begin + turn / self.rate - time.monotonic(), 0.01) if not self.stopping else 0.1)

    def _ask(self, name: int, now: float) -> None:
        if not self.free:
            self.counts["held_back"] += 1
            return
        sock, asked = self.free.popleft(), query(random.randrange(65536), name)
        self.waiting[sock] = (asked, now)
        self.counts["queries"] += 1
        try:
            sock.send(asked)
        except OSError as error:
            self._lost(sock, repr(error))

    def _answered(self, sock: socket.socket) -> None:
        try:
            answer = sock.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(sock, repr(error))
            return
        asked, sent = self.waiting.pop(sock, (b"", 0))
        self.free.append(sock)
        self._judge(answer, asked, sent)

    def _judge(self, answer: bytes, asked: bytes, sent: float) -> None:
        try:
            if not asked:
                raise ValueError("nothing was asked")
            found = address_in(answer, asked)
            if found not in self.addresses:
                raise ValueError(f"the address is {found}")
        except (ValueError, struct.error, IndexError) as reason:
            self.counts["wrong"] += 1
            self._note(f"wrong answer {answer[:40].hex()} to {asked[:40].hex()}: {reason}")
            return
        self.counts["answers"] += 1
        self.by_address[found] += 1
        self.took.append(time.monotonic() - sent)

    def _give_up(self, now: float) -> None:
        for sock in [sock for sock, (_, sent) in self.waiting.items() if sent < now - PATIENCE_S]:
            self._lost(sock, f"no answer in {PATIENCE_S} s")

    def _lost(self, sock: socket.socket, reason: str) -> None:
        """A late answer must not meet the next query, so the port is not used again."""
        if self.waiting.pop(sock, None):
            self.counts["lost"] += 1
            self._note(reason)
            self.free.append(self._socket())
        else:
            self.free.remove(sock)
            self.free.append(self._socket())
        self.poller.remove(sock.fileno())
        sock.close()

    def _note(self, text: str) -> None:
        if len(self.notes) < SHOWN:
            self.notes.append(text)

    def report(self) -> dict:
        took = sorted(self.took) or [0.0]
        return {**{name: self.counts[name] for name in ("queries", "answers", "wrong", "lost", "held_back")},
                "by_address": dict(self.by_address), "p50_us": round(took[len(took) // 2] * 1e6),
                "p99_us": round(took[int(len(took) * 0.99)] * 1e6), "notes": self.notes}


if __name__ == "__main__":
    load = Load(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    print(json.dumps({"ready": True}), flush=True)
    load.run()
    print(json.dumps(load.report()), flush=True)
