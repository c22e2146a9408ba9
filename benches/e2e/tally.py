"""What the clients of `chatters.py` have seen, and which of it may not be.

A Close may overtake the echo of a message that was sent around it: the server's answer was still under
way. An echo that is missing for any other reason is lost.
"""
from __future__ import annotations

import array
import collections
import statistics
import time

AROUND_NS = 500_000_000
"""A message sent so shortly before the Close may stay without its echo."""
SHOWN = 10


class Tally:
    def __init__(self, drained: str):
        self.drained, self.phase, self.excused = drained, "", False
        self.counts: collections.Counter = collections.Counter()
        self.closes: list[int] = []
        """When each Close of the drained server arrived, ns of the wall clock."""
        self.words: collections.Counter = collections.Counter()
        """Code and reason of those."""
        self.latency: dict[str, dict[int, array.array]] = {}
        """Of the others' echoes, by phase and second, in µs."""
        self.notes: list[str] = []

    def echo(self, client, sent_ns: int) -> None:
        self.counts["echoes"] += 1
        if client.server != self.drained and client.longest == 32:
            seconds = self.latency.setdefault(self.phase, {})
            found = seconds.setdefault(client.at // 10**9, array.array("I"))
            found.append(min(max(0, client.at - sent_ns) // 1000, 2**32 - 1))

    def close(self, client, code: int, reason: str) -> None:
        if client.server != self.drained:
            self._bad("closes_elsewhere", client, f"a Close, {code} {reason!r}")
            return
        self.closes.append(client.at)
        self.words[f"{code} {reason}"] += 1
        if client.parts or client.frames.within:
            self.counts["closes_within_a_message"] += 1
        self._missing(client)

    def _missing(self, client) -> None:
        """Echoes that had not come when the Close did."""
        for number, sent in client.waiting:
            if sent < client.at - AROUND_NS:
                self._bad("lost", client, f"message {number} of {(client.at - sent) / 1e6:.0f} ms before the Close")
            else:
                self.counts["unanswered_at_close"] += 1

    def altered(self, client, number: int, text: bytes) -> None:
        self._bad("altered", client, f"{len(text)} bytes {text[:12].hex()}… came for message {number}")

    def after_close(self, client, what: str) -> None:
        self._bad("after_close", client, what)

    def broke(self, client, reason: str) -> None:
        self._bad("broken", client, reason)

    def end(self, client, how: str) -> None:
        if client.closed_at:
            if how != "eof":
                self.counts["reset_after_close"] += 1
            self.counts["ended_after_close"] += 1
        elif self.excused:
            self.counts["excused"] += 1
        else:
            self._bad("ended_without_close", client, f"{how} after {client.spoken} messages")

    def report(self, clients: list) -> dict:
        """Also of what is still open: messages that had time and have no echo."""
        now = time.time_ns()
        for client in clients:
            if client.sock.fileno() >= 0 and not client.closed_at:
                late = [number for number, sent in client.waiting if sent < now - 4 * AROUND_NS]
                if late:
                    self._bad("lost", client, f"messages {late[:5]} had no echo at the end")
        open_after = sum(1 for client in clients if client.closed_at and client.sock.fileno() >= 0)
        names = ("echoes", "closes_elsewhere", "closes_within_a_message", "lost", "unanswered_at_close", "altered",
                 "after_close", "broken", "ended_after_close", "reset_after_close", "ended_without_close", "excused")
        return {**{name: self.counts[name] for name in names}, "open_after_close": open_after,
                "arrivals": sorted(self.closes), "words": dict(self.words), "notes": self.notes,
                "latency": {phase: quantiles(found) for phase, found in self.latency.items()}}

    def _bad(self, name: str, client, text: str) -> None:
        self.counts[name] += 1
        if len(self.notes) < SHOWN:
            self.notes.append(f"{name}: client {client.number} on {client.server or 'no server'}: {text}")


def quantiles(seconds: dict[int, array.array]) -> dict:
    """Of all, and the median of each second's: what a neighbour's burst can hardly change."""
    ordered = sorted(us for found in seconds.values() for us in found)
    each = [at_share(sorted(found), 0.99) for found in seconds.values()]
    return {"count": len(ordered), "p50_us": at_share(ordered, 0.5), "p99_us": at_share(ordered, 0.99),
            "p99_each_second_us": round(statistics.median(each))}


def at_share(ordered: list[int], share: float) -> int:
    return ordered[int(len(ordered) * share)]
