"""MQTT 3.1.1 packets, as much as a client needs that publishes with QoS 1 and may subscribe."""
from __future__ import annotations

import struct
from typing import Iterator

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
CLEAN, KEEPALIVE_S = 0x02, 120


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, digit = size >> 7, size & 0x7F
        length += bytes([digit | (0x80 if size else 0)])
        if not size:
            return bytes([first]) + length + body


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def connect(client: str) -> bytes:
    return packet(0x10, text("MQTT") + struct.pack(">BBH", 4, CLEAN, KEEPALIVE_S) + text(client))


def publish(topic: str, number: int, payload: bytes, again: bool) -> bytes:
    return packet(0x32 | (0x08 if again else 0), text(topic) + struct.pack(">H", number) + payload)


def subscribe(number: int, topic: str) -> bytes:
    return packet(0x82, struct.pack(">H", number) + text(topic) + b"\x00")


class Packets:
    """Bytes in; kind and body of whole packets out."""

    def __init__(self):
        self._held = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._held += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> tuple[int, bytes] | None:
        held, size = self._held, 0
        for at in range(1, min(len(held), 5)):
            size |= (held[at] & 0x7F) << 7 * (at - 1)
            if not held[at] & 0x80:
                break
        else:
            return None
        if len(held) < at + 1 + size:
            return None
        self._held = held[at + 1 + size:]
        return held[0] >> 4, held[at + 1:at + 1 + size]
