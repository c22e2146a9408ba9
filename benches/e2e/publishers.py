"""MQTT clients that publish with QoS 1 at a steady pace, in a process of their own.

`publishers.py PORT COUNT EVERY_S` opens them and says `{"open": n}`. Whoever is disconnected connects again
at once and repeats, marked DUP, what was not acknowledged. One in ROOM subscribes to what its neighbours
publish. On the line `stop` nobody publishes any more, what is outstanding gets its time, and the report
says when connections ended and what was never acknowledged.
"""
from __future__ import annotations

import collections
import json
import socket
import sys
import time

import packets
from hold import address
from packets import Packets
from poller import Poller, Stream, commands

ROOM = 20
PAYLOAD = b"." * 64
OPENING_AT_ONCE = 50
AGAIN_S, PATIENCE_S = 0.2, 15
SHOWN = 10


class Connection(Stream):
    """From a CONNECT to its end."""

    def __init__(self, client: Client, port: int):
        sock = socket.create_connection(("127.0.0.1", port), 10, address(client.number))
        super().__init__(client.crowd.poller, sock)
        self._client, self._packets = client, Packets()
        self.send(packets.connect(f"client{client.number}"))

    def received(self, data: bytes) -> None:
        for kind, body in self._packets.feed(data):
            self._client.told(kind, body)

    def ended(self, how: str) -> None:
        self._client.lost(how)


class Client:
    def __init__(self, crowd: Crowd, number: int):
        self.crowd, self.number, self.topic = crowd, number, f"room/{number // ROOM}"
        self.ready, self.number_sent, self.connections = False, 0, 0
        self.unacknowledged: dict[int, tuple[float, bool]] = {}
        """When each was published, and whether it has been sent at all."""
        self.connection: Connection | None = None

    def connect(self) -> None:
        try:
            self.connection = Connection(self, self.crowd.port)
        except OSError as error:
            self.crowd.counts["refused"] += 1
            self.crowd.note(f"client {self.number}: {error!r}")
            self.crowd.again.append((time.monotonic() + AGAIN_S, self))

    def publish(self) -> None:
        self.number_sent = self.number_sent % 65535 + 1
        self.crowd.counts["published"] += 1
        self.unacknowledged[self.number_sent] = (time.monotonic(), self.ready)
        if self.ready:
            self.connection.send(packets.publish(self.topic, self.number_sent, PAYLOAD, False))

    def told(self, kind: int, body: bytes) -> None:
        if kind == packets.CONNACK:
            self._connected(body)
        elif kind == packets.PUBACK:
            self._acknowledged(int.from_bytes(body[:2], "big"))
        elif kind == packets.PUBLISH:
            self.crowd.counts["delivered"] += 1
        elif kind != packets.SUBACK:
            self.crowd.counts["wrong"] += 1
            self.crowd.note(f"client {self.number}: packet {kind} {body[:20].hex()}")

    def _connected(self, body: bytes) -> None:
        if body[1]:
            raise ConnectionError(f"client {self.number}: CONNACK {body.hex()}")
        self.ready, self.connections = True, self.connections + 1
        self.crowd.connected(self)
        if self.number % ROOM == 0:
            self.connection.send(packets.subscribe(65535, self.topic))
        for number, (begin, sent) in self.unacknowledged.items():
            self.crowd.counts["resent"] += sent
            self.unacknowledged[number] = (begin, True)
            self.connection.send(packets.publish(self.topic, number, PAYLOAD, sent))

    def _acknowledged(self, number: int) -> None:
        found = self.unacknowledged.pop(number, None)
        if found:
            self.crowd.took.append(time.monotonic() - found[0])
        else:
            self.crowd.counts["wrong"] += 1
            self.crowd.note(f"client {self.number}: {number} is acknowledged but not outstanding")

    def lost(self, how: str) -> None:
        self.ready = False
        self.crowd.ends.append(time.time_ns())
        self.crowd.hows[how] += 1
        self.connect()


class Crowd:
    def __init__(self, port: int, count: int, every_s: float):
        self.port, self.every_s, self.poller, self.stopping = port, every_s, Poller(), False
        self.clients = [Client(self, number) for number in range(count)]
        self.counts, self.hows = collections.Counter(), collections.Counter()
        self.ends, self.returns, self.took, self.again, self.notes = [], [], [], [], []
        self.open = 0

    def start(self) -> None:
        for begun, client in enumerate(self.clients):
            while begun - self.open >= OPENING_AT_ONCE:
                self.poller.turn(1)
            client.connect()
        while self.open < len(self.clients):
            self.poller.turn(1)

    def connected(self, client: Client) -> None:
        if client.connections == 1:
            self.open += 1
        else:
            self.returns.append(time.time_ns())

    def run(self) -> None:
        commands(self.poller, lambda _line: setattr(self, "stopping", True))
        begin, turn, pause = time.monotonic(), 0, self.every_s / len(self.clients)
        while not self.stopping:
            while begin + turn * pause <= time.monotonic():
                self.clients[turn % len(self.clients)].publish()
                turn += 1
            self._turn(min(begin + turn * pause - time.monotonic(), 0.01))
        end = time.monotonic() + PATIENCE_S
        while any(client.unacknowledged for client in self.clients) and time.monotonic() < end:
            self._turn(0.1)

    def _turn(self, patience_s: float) -> None:
        self.poller.turn(patience_s)
        now = time.monotonic()
        due, self.again = [c for at, c in self.again if at <= now], [(at, c) for at, c in self.again if at > now]
        for client in due:
            client.connect()

    def note(self, text: str) -> None:
        if len(self.notes) < SHOWN:
            self.notes.append(text)

    def report(self) -> dict:
        took = sorted(self.took) or [0.0]
        return {**{name: self.counts[name] for name in ("published", "resent", "delivered", "refused", "wrong")},
                "unacknowledged": sum(len(client.unacknowledged) for client in self.clients),
                "ended": len(self.ends), "returned": len(self.returns), "hows": dict(self.hows),
                "ack_p50_us": round(took[len(took) // 2] * 1e6), "ack_p99_us": round(took[int(len(took) * .99)] * 1e6),
                "notes": self.notes, "ends": self.ends}


if __name__ == "__main__":
    crowd = Crowd(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    crowd.start()
    print(json.dumps({"open": crowd.open}), flush=True)
    crowd.run()
    print(json.dumps(crowd.report()), flush=True)
