"""WebSocket frames read by somebody who lets nothing pass (RFC 6455 §5): who masks, reserved bits, the
order of fragments, control frames. What a proxy puts into a stream, or leaves out, shows here.
"""
from __future__ import annotations

from typing import Iterator, NamedTuple

from frames import CLOSE, CONTINUATION, apply_mask

KNOWN = (0, 1, 2, 8, 9, 10)


class Broken(Exception):
    """The other side does not speak RFC 6455; the text says how."""


class Frame(NamedTuple):
    fin: bool
    opcode: int
    payload: bytes


class Frames:
    """Bytes in, whole frames out."""

    def __init__(self, masked: bool):
        self._masked, self._held = masked, b""
        self.within = False
        """Whether a message has begun whose end has not come."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._held += data
        while (frame := self._next()) is not None:
            yield frame

    @property
    def partial(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._held)

    def _next(self) -> Frame | None:
        held = self._held
        if len(held) < 2:
            return None
        self._look(held[0], held[1])
        size, at = held[1] & 0x7F, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(held) < at:
                return None
            size = int.from_bytes(held[2:at], "big")
        body = at + (4 if self._masked else 0)
        if len(held) < body + size:
            return None
        payload, self._held = held[body:body + size], held[body + size:]
        if self._masked:
            payload = apply_mask(payload, held[at:body])
        return self._in_order(Frame(bool(held[0] & 0x80), held[0] & 0x0F, payload))

    def _look(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 or opcode not in KNOWN:
            raise Broken(f"a frame begins with {first:#04x}")
        if bool(second & 0x80) != self._masked:
            raise Broken("a frame is masked" if second & 0x80 else "a frame is not masked")
        if opcode >= CLOSE and (not first & 0x80 or second & 0x7F > 125):
            raise Broken("a control frame is fragmented or too long")

    def _in_order(self, frame: Frame) -> Frame:
        if frame.opcode >= CLOSE:
            return frame
        if self.within != (frame.opcode == CONTINUATION):
            raise Broken(f"opcode {frame.opcode} {'within' if self.within else 'outside'} a message")
        self.within = not frame.fin
        return frame


def close_of(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close; 1005 stands for none."""
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise Broken("a Close has one byte")
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "backslashreplace")
