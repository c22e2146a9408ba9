"""WebSocket clients that talk at a steady pace until somebody closes them, in a process of their own.

`chatters.py PORT COUNT EVERY_S SERVER` opens the tunnels and says how many each server got. Every client
sends a numbered message each EVERY_S seconds, all of them spread evenly: most are small, some of the
clients send fragments with pauses between, some large ones. Echoes must come back whole and in order;
of clients that are not on SERVER the latency is kept. When a Close arrives is the kernel's word
(SO_TIMESTAMPNS), so that a busy client does not blur the pace it is to judge.

Lines: `phase NAME` begins one, `excuse` forgives whatever ends from now on, `stop` asks for the report.
"""
from __future__ import annotations

import collections
import heapq
import json
import socket
import struct
import sys
import time

import frames
from hold import UPGRADE, address
from origins import field
from poller import MOST, Poller, Stream, commands
from strict import Broken, Frames, close_of
from tally import Tally

SO_TIMESTAMPNS = 35
OPENING_AT_ONCE = 200
PATTERN = bytes(range(256)) * 256
FRAGMENTS = 3


def message(client: int, number: int, longest: int) -> bytes:
    """Its label, and up to so many bytes that follow from it."""
    mixed = client * 7919 + number * 104729
    start = mixed % 251
    return struct.pack(">II", client, number) + PATTERN[start:start + 1 + mixed % longest]


class Chatter(Stream):
    def __init__(self, crowd: Crowd, number: int):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(address(number))
        sock.connect(("127.0.0.1", crowd.port))
        super().__init__(crowd.poller, sock)
        self.crowd, self.number, self.server, self.at = crowd, number, "", 0
        self.fragments = number % 32 == 1
        self.longest = 60000 if number % 32 == 2 else 4000 if self.fragments else 32
        self.spoken, self.waiting, self.within = 0, collections.deque(), False
        self.head, self.frames, self.parts, self.closed_at = b"", Frames(masked=False), b"", 0
        self.send(UPGRADE)

    def take(self) -> bytes:
        data, extra, _, _ = self.sock.recvmsg(MOST, 64)
        found = [struct.unpack("=qq", value[:16]) for _, kind, value in extra if kind == SO_TIMESTAMPNS]
        self.at = found[0][0] * 10**9 + found[0][1] if found else time.time_ns()
        return data

    def speak(self) -> None:
        """The next message, or its first fragment."""
        if self.closed_at or self.within:
            return
        self.spoken += 1
        text = message(self.number, self.spoken, self.longest)
        if not self.fragments:
            self.waiting.append((self.spoken, time.time_ns()))
            self.send(frames.encode(text))
            return
        self.within, size = True, len(text) // FRAGMENTS + 1
        for part in range(FRAGMENTS):
            self.crowd.later(part / (FRAGMENTS + 1), self, text[part * size:][:size], part)

    def fragment(self, payload: bytes, part: int) -> None:
        if self.closed_at:
            return
        last = part == FRAGMENTS - 1
        if last:
            self.within = False
            self.waiting.append((self.spoken, time.time_ns()))
        self.send(frames.encode(payload, frames.CONTINUATION if part else frames.BINARY, fin=last))

    def received(self, data: bytes) -> None:
        if not self.server:
            data = self._handshake(data)
        if self.closed_at and data:
            self.crowd.tally.after_close(self, f"{len(data)} bytes, {data[:12].hex()}")
            return
        try:
            for fin, opcode, payload in self.frames.feed(data):
                self._judge(fin, opcode, payload)
        except Broken as reason:
            self.crowd.tally.broke(self, str(reason))

    def _handshake(self, data: bytes) -> bytes:
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            return b""
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(f"answered {head[:200]!r}, wanted a 101")
        self.server, self.head = field(head, b"x-server").decode(), b""
        self.crowd.opening -= 1
        return rest

    def _judge(self, fin: bool, opcode: int, payload: bytes) -> None:
        if self.closed_at:
            self.crowd.tally.after_close(self, f"opcode {opcode}, {len(payload)} bytes")
        elif opcode == frames.CLOSE:
            self.closed_at = self.at
            self.crowd.tally.close(self, *close_of(payload))
            self.send(frames.encode(payload, frames.CLOSE))
        elif opcode > frames.CLOSE:
            self.crowd.tally.broke(self, f"opcode {opcode} out of nowhere")
        else:
            self.parts += payload
            if fin:
                text, self.parts = self.parts, b""
                self._echoed(text)

    def _echoed(self, text: bytes) -> None:
        number, sent = self.waiting.popleft() if self.waiting else (0, 0)
        if text != message(self.number, number, self.longest):
            self.crowd.tally.altered(self, number, text)
        else:
            self.crowd.tally.echo(self, sent)

    def ended(self, how: str) -> None:
        if not self.server:
            raise ConnectionError(f"client {self.number}: {how} before the 101")
        self.crowd.tally.end(self, how)


class Crowd:
    def __init__(self, port: int, count: int, every_s: float, drained: str):
        self.port, self.count, self.every_s, self.opening = port, count, every_s, 0
        self.poller, self.tally = Poller(), Tally(drained)
        self.clients: list[Chatter] = []
        self.stopping, self._later, self._order = False, [], 0

    def open(self) -> dict:
        while len(self.clients) < self.count or self.opening:
            if len(self.clients) < self.count and self.opening < OPENING_AT_ONCE:
                self.opening += 1
                self.clients.append(Chatter(self, len(self.clients)))
                self.poller.turn(0)
            else:
                self.poller.turn(1)
        return dict(collections.Counter(client.server for client in self.clients))

    def later(self, share: float, client: Chatter, payload: bytes, part: int) -> None:
        """A fragment after this share of the pause between two messages."""
        self._order += 1
        heapq.heappush(self._later, (time.monotonic() + share * self.every_s, self._order, client, payload, part))

    def talk(self) -> None:
        commands(self.poller, self.told)
        begin, turn, pause = time.monotonic(), 0, self.every_s / self.count
        while not self.stopping:
            now = time.monotonic()
            while begin + turn * pause <= now:
                self.clients[turn % self.count].speak()
                turn += 1
            while self._later and self._later[0][0] <= now:
                _, _, client, payload, part = heapq.heappop(self._later)
                client.fragment(payload, part)
            self.poller.turn(min(begin + turn * pause - time.monotonic(), 0.01))

    def told(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "phase":
            self.tally.phase = rest
        elif word == "excuse":
            self.tally.excused = True
            print(json.dumps({"excused": True}), flush=True)
        else:
            self.stopping = True


def main(port: int, count: int, every_s: float, drained: str) -> None:
    crowd = Crowd(port, count, every_s, drained)
    print(json.dumps({"by_server": crowd.open()}), flush=True)
    crowd.talk()
    print(json.dumps(crowd.tally.report(crowd.clients)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
