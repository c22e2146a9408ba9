"""Keep-alive clients that check every answer, in a process of their own.

`asking.py PORT CLIENTS PAUSE_MS FILE` asks until it hears a line: every other client by GET, the rest
by POST with bodies of 8 KiB, each request with a target and bytes of its own, of which the answer has
to hold the digest. FILE then holds every failure as a line of JSON.
"""
from __future__ import annotations

import array
import asyncio
import itertools
import json
import os
import random
import re
import struct
import sys
import time

from mirror import digest

BODY = 8192
PATTERN = os.urandom(2 * BODY)
AFTER_FAILURE_S = 0.01
PATIENCE_S = 10
"""For answers that are still out when it is over."""


class Client(asyncio.Protocol):
    """One connection, and the request that is on it."""

    def __init__(self, crowd: Crowd, posts: bool):
        self.crowd, self.posts, self.held, self.begin, self.failed = crowd, posts, b"", 0, False
        crowd.clients.add(self)

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        if self.crowd.stopping or self.transport.is_closing():
            self.transport.close()
            return
        number = next(self.crowd.numbers)
        self.target, body = b"/q/%d" % number, b""
        if self.posts:
            body = struct.pack(">Q", number) + PATTERN[number % BODY:][:BODY - 8]
        self.wanted = digest(self.target, body)
        self.held, self.begin = b"", time.monotonic_ns()
        size = b"Content-Length: %d\r\n" % len(body) if self.posts else b""
        self.transport.write(b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s"
                             % (b"POST" if self.posts else b"GET", self.target, size, body))

    def data_received(self, data):
        self.held += data
        head, found, rest = self.held.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.lower()
        if len(rest) < int(fields.partition(b"\ncontent-length:")[2].partition(b"\r")[0] or 0):
            return
        self._judge(head, rest)
        if b"\nconnection: close" in fields:
            self.transport.close()
        else:
            self._pause()

    def _judge(self, head: bytes, body: bytes) -> None:
        status = head.split(b" ", 2)[1].decode()
        if not self.begin:
            self.fail("an answer to nothing", status)
        elif status != "200":
            found = re.search(rb"request ([0-9a-f]+)", body)
            self.fail(f"status {status}", status, found.group(1).decode() if found else "")
        elif body.partition(b" ")[2] != self.wanted:
            self.fail("not the answer to what was sent", status)
        else:
            self.crowd.took[self.posts].append((time.monotonic_ns() - self.begin) / 1e6)
        self.begin = 0

    def fail(self, why: str, status: str = "", request: str = "") -> None:
        self.failed = True
        self.crowd.fail("POST" if self.posts else "GET", self.target.decode(), why, status, request)

    def _pause(self):
        """A client that failed does not ask as fast as it can be refused."""
        pause = random.uniform(0, 2 * self.crowd.pause_s) + (AFTER_FAILURE_S if self.failed else 0)
        self.failed = False
        if pause:
            asyncio.get_running_loop().call_later(pause, self.ask)
        else:
            self.ask()

    def connection_lost(self, error):
        if self.begin:
            self.fail(f"broken connection: {error or 'closed'}")
        self.crowd.clients.discard(self)
        self.crowd.again(self.posts, AFTER_FAILURE_S if self.failed else 0)


class Crowd:
    def __init__(self, port: int, pause_s: float):
        self.port, self.pause_s, self.stopping = port, pause_s, False
        self.numbers, self.clients, self.failures = itertools.count(1), set(), []
        self.took = {False: array.array("d"), True: array.array("d")}
        self.tasks: set[asyncio.Task] = set()

    def fail(self, method: str, target: str, why: str, status: str = "", request: str = "") -> None:
        self.failures.append({"method": method, "target": target, "why": why, "status": status,
                              "request": request, "at": time.time()})

    def again(self, posts: bool, after_s: float) -> None:
        """A new connection in the place of one that ended."""
        if not self.stopping:
            task = asyncio.ensure_future(self.connect(posts, after_s))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def connect(self, posts: bool, after_s: float = 0) -> None:
        await asyncio.sleep(after_s)
        while not self.stopping:
            try:
                await asyncio.get_running_loop().create_connection(lambda: Client(self, posts), "127.0.0.1", self.port)
                return
            except OSError as error:
                self.fail("POST" if posts else "GET", "", f"no connection: {error}")
                await asyncio.sleep(AFTER_FAILURE_S)

    async def finish(self) -> None:
        """Waits for the answers that are out; one that does not come has failed."""
        self.stopping, end = True, time.monotonic() + PATIENCE_S
        while any(client.begin for client in self.clients) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        for client in list(self.clients):
            if client.begin:
                client.fail("no answer")
                client.begin = 0

    def counts(self) -> dict:
        took = sorted(itertools.chain(*self.took.values()))
        failed = [failure["method"] for failure in self.failures]
        return {"gets": len(self.took[False]) + failed.count("GET"), "get_errors": failed.count("GET"),
                "posts": len(self.took[True]) + failed.count("POST"), "post_errors": failed.count("POST"),
                "p50_ms": part(took, 0.5), "p99_ms": part(took, 0.99), "slowest_ms": part(took, 1)}


def part(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0


async def main(port: int, clients: int, pause_ms: float, path: str) -> None:
    crowd = Crowd(port, pause_ms / 1e3)
    await asyncio.gather(*[crowd.connect(bool(number % 2)) for number in range(clients)])
    print(json.dumps({"clients": clients}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await crowd.finish()
    with open(path, "w") as file:
        file.writelines(json.dumps(failure) + "\n" for failure in crowd.failures)
    print(json.dumps(crowd.counts()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
