"""Thousands of clients that do everything slowly, in a process of their own that gives way to all others.

`attackers.py PORT COUNT KIND [CA]` keeps so many connections open, over TLS with CA. Who is turned away
comes again. KIND is

* `heads`: the head of a request, one byte every few seconds;
* `bodies`: a POST whose body comes like that, of every second one not at all after its first bytes;
* `reads`: a request for a large answer, of which a few bytes are read a second;
* `hellos`: half a ClientHello, or a whole one whose sender then says nothing (no CA);
* `idle`: nothing at all;
* one of `floods`: what a hostile client of HTTP/2 says, all of it at once.

It says `{"open": n}` once all have come. On `report` it says what became of them since the last report:
how many were open, came, could not connect, were ended by the other side and after how many seconds, with which
statuses. On `leave` all go at once.
"""
from __future__ import annotations

import collections
import heapq
import json
import os
import socket
import ssl
import sys
import time

import floods
from hold import address
from poller import READ, WRITE, Poller, commands

DRIP_S = 2.0
OPENING_AT_ONCE, AGAIN_S = 100, 1.0
FEW, RECEIVE_BUFFER = 16, 4096
ENDLESS_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
POST = b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc"
LARGE = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
BEGINNINGS = {"heads": ENDLESS_HEAD, "bodies": POST, "reads": LARGE, "hellos": b"", "idle": b"",
              **floods.ALL}
DRIPS = ("heads", "bodies")


class Attacker:
    """One connection, from its connect to its end."""

    def __init__(self, crowd: Crowd, number: int):
        self.crowd, self.number, self.begun = crowd, number, time.monotonic()
        self.silent = number % 2 == 1 and crowd.kind == "bodies"
        self.sock = socket.socket()
        if crowd.kind == "reads":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.sock.setblocking(False)
        self.sock.bind(address(number))
        self.sock.connect_ex(("127.0.0.1", crowd.port))
        self.ready = self._connected
        crowd.poller.add(self.sock.fileno(), lambda _mask: self.ready(), READ | WRITE)

    def _connected(self) -> None:
        if error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.end(f"connect: {os.strerror(error)}")
        elif self.crowd.tls:
            self.crowd.poller.remove(self.sock.fileno())
            self.sock = self.crowd.tls.wrap_socket(self.sock, do_handshake_on_connect=False,
                                                   server_hostname="im.example.com")
            self.ready = self._shake_hands
            self.crowd.poller.add(self.sock.fileno(), lambda _mask: self.ready(), READ)
            self._shake_hands()
        else:
            self._begin()

    def _shake_hands(self) -> None:
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except OSError as reason:
            self.end(f"handshake: {type(reason).__name__}")
            return
        self._begin()

    def _begin(self) -> None:
        """From here on it is slow."""
        self.ready = self._heard
        # Who reads slowly reads when it is its turn, not when something is there.
        self.crowd.poller.modify(self.sock.fileno(), 0 if self.crowd.kind == "reads" else READ)
        self.crowd.opened(self)
        self._send(self.crowd.hello(self.number) if self.crowd.kind == "hellos" else BEGINNINGS[self.crowd.kind])

    def turn(self) -> bool:
        """What it does every few seconds; whether there is more."""
        if self.crowd.kind == "reads":
            self._heard(FEW)
        elif not self.silent:
            self._send(b"x")
        return not self.silent and self.sock.fileno() >= 0

    def _send(self, data: bytes) -> None:
        """What does not fit is not said: a flood is long enough without its end."""
        try:
            self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError as reason:
            self.end(type(reason).__name__)

    def _heard(self, most: int = 4096) -> None:
        try:
            data = self.sock.recv(most)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as reason:
            self.end(type(reason).__name__)
            return
        if data[:5] == b"HTTP/":
            self.crowd.statuses[data[9:12].decode("latin-1")] += 1
        if not data:
            self.end("eof")

    def end(self, how: str) -> None:
        if self.sock.fileno() >= 0:
            self.crowd.poller.remove(self.sock.fileno())
            self.sock.close()
            self.crowd.ended(self, how)


class Crowd:
    def __init__(self, port: int, count: int, kind: str, authority: str):
        self.port, self.count, self.kind, self.poller = port, count, kind, Poller()
        self.tls = ssl.create_default_context(cafile=authority) if authority else None
        self.clients: set[Attacker] = set()
        self.on: set[Attacker] = set()
        """Those that have begun."""
        self._turns: list[tuple[float, int, Attacker]] = []
        self._free, self._later = collections.deque(range(count)), collections.deque()
        self._hello, self.leaving = client_hello(), False
        self.fresh()

    def fresh(self) -> None:
        self.came, self.lasted = 0, []
        self.statuses: collections.Counter = collections.Counter()
        self.hows: collections.Counter = collections.Counter()

    def hello(self, number: int) -> bytes:
        return self._hello if number % 2 else self._hello[:len(self._hello) // 2]

    def opened(self, client: Attacker) -> None:
        self.came += 1
        client.begun = time.monotonic()
        self.on.add(client)
        if self.kind in DRIPS or self.kind == "reads":
            # Spread, or all would speak in the same instant.
            first = client.begun + DRIP_S * (client.number % 97 + 1) / 97
            heapq.heappush(self._turns, (first, client.number, client))

    def ended(self, client: Attacker, how: str) -> None:
        self.clients.discard(client)
        if client in self.on:
            self.on.discard(client)
            self.lasted.append(time.monotonic() - client.begun)
        self.hows[how] += 1
        self._later.append((time.monotonic() + AGAIN_S, client.number))

    def turn(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._free.append(self._later.popleft()[1])
        for _ in range(min(OPENING_AT_ONCE - (len(self.clients) - len(self.on)), len(self._free))):
            self.clients.add(Attacker(self, self._free.popleft()))
        while self._turns and self._turns[0][0] <= now:
            due, number, client = heapq.heappop(self._turns)
            if client in self.on and client.turn():
                heapq.heappush(self._turns, (due + DRIP_S, number, client))
        self.poller.turn(0.02)

    @property
    def waiting_for_room(self) -> bool:
        return bool(self._free)

    def told(self, line: str) -> None:
        if line == "leave":
            self.leaving = True
            return
        ordered = sorted(self.lasted)
        share = {f"p{n}": round(ordered[(len(ordered) - 1) * n // 100], 2) for n in (1, 50, 99)} if ordered else {}
        print(json.dumps({"open": len(self.on), "came": self.came, "ended": len(ordered), "lasted_s": share,
                          "statuses": dict(self.statuses), "ends": dict(self.hows)}), flush=True)
        self.fresh()


def client_hello() -> bytes:
    """What OpenSSL would begin with."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="im.example.com")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def main(port: int, count: int, kind: str, authority: str = "") -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    crowd = Crowd(port, count, kind, authority)
    commands(crowd.poller, crowd.told)
    said = False
    while not crowd.leaving:
        crowd.turn()
        if not said and (crowd.came >= count or kind == "idle" and not crowd.waiting_for_room):
            said = True
            print(json.dumps({"open": len(crowd.on)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
