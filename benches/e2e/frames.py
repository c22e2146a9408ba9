"""WebSocket frames (RFC 6455 §5.2), as much as an echo and its judge need: no extensions, and a
decoder that takes each frame for a message; `strict.py` reads with more care."""
from __future__ import annotations

import os
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def encode(payload: bytes, opcode: int = BINARY, masked: bool = True, fin: bool = True) -> bytes:
    bit = 0x80 if masked else 0
    first = (0x80 if fin else 0) | opcode
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", first, bit | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + apply_mask(payload, key)


def apply_mask(payload: bytes, key: bytes) -> bytes:
    """XOR by one big number: the only quick way without a library."""
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


class Decoder:
    """Bytes in, whole frames out."""

    def __init__(self):
        self._held = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self._held += data
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def _next(self) -> tuple[int, bytes] | None:
        held = self._held
        if len(held) < 2:
            return None
        size, at = held[1] & 0x7F, 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if len(held) < at + wide:
                return None
            size, at = int.from_bytes(held[at:at + wide], "big"), at + wide
        body = at + (4 if held[1] & 0x80 else 0)
        if len(held) < body + size:
            return None
        payload = held[body:body + size]
        if body != at:
            payload = apply_mask(payload, held[at:body])
        self._held = held[body + size:]
        return held[0] & 0x0F, payload
