"""In what two answers to the same request differ."""
from __future__ import annotations

from typing import Iterator

from exchange import Told

ANSWER_FIELDS = ("location", "retry-after", "strict-transport-security", "www-authenticate", "x-powered-by", "etag",
                 "content-range", "content-type", "vary", "upgrade", "sec-websocket-accept", "allow")
NOT_TOLD = {"connection", "content-length", "transfer-encoding", "x-request-id", "expect"}
"""What a server gets that says how, not what: each proxy's own connection and framing."""


def differences(theirs: Told, ours: Told) -> Iterator[tuple[str, tuple]]:
    pairs = {what: (getattr(theirs, what), getattr(ours, what)) for what in ("status", "cut", "coding", "certificate")}
    pairs |= {name: (theirs.fields.get(name), ours.fields.get(name)) for name in ANSWER_FIELDS}
    # nginx says no charset unless it is told to, Tidegate always does.
    kinds = [told.fields.get("content-type", "").removesuffix("; charset=utf-8") for told in (theirs, ours)]
    pairs["content-type"] = tuple(kinds)
    one, other = theirs.seen, ours.seen
    if one and other:
        pairs |= {f"the server's {what}": (one[what], other[what]) for what in ("pool", "method", "target", "body")}
        pairs |= {f"the server's {name}": pair for name, pair in told_fields(one, other)}
    else:
        pairs["body"] = (theirs.body, ours.body)
    yield from ((what, pair) for what, pair in pairs.items() if pair[0] != pair[1])


def told_fields(one: dict, other: dict) -> Iterator[tuple[str, tuple]]:
    """All that a server was told, by name."""
    def by_name(told: dict, name: str) -> list[str]:
        return [value for key, value in told["fields"] if key == name]
    names = {key for told in (one, other) for key, _ in told["fields"]} - NOT_TOLD
    return ((name, (by_name(one, name), by_name(other, name))) for name in sorted(names))
