"""Keep-alive clients that write down who answered each request, in a process of their own.

`traffic.py PORT CLIENTS FILE` sends `GET /who` without pause until it hears a line. FILE then holds,
for each request, begin and end on the monotonic clock (ns, the same for all processes) and the first
letter of the answer, so that the changer's times can be laid beside them.
"""
from __future__ import annotations

import array
import asyncio
import json
import sys
import time

REQUEST = b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n"
FAILED = 0
RECONNECT_S = 0.01


class Records:
    """Three columns; `read` gives back what `write` stored."""

    def __init__(self):
        self.begin, self.end, self.who = array.array("q"), array.array("q"), array.array("B")

    def add(self, begin: int, who: int) -> None:
        self.begin.append(begin)
        self.end.append(time.monotonic_ns())
        self.who.append(who)

    def write(self, path: str) -> None:
        with open(path, "wb") as file:
            for column in (self.begin, self.end, self.who):
                column.tofile(file)

    @classmethod
    def read(cls, path: str, count: int) -> Records:
        records = cls()
        with open(path, "rb") as file:
            for column in (records.begin, records.end, records.who):
                column.fromfile(file, count)
        return records


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, crowd: Crowd):
        self.crowd, self.held, self.begin = crowd, b"", 0

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        if self.crowd.stopping:
            self.transport.close()
        else:
            self.begin = time.monotonic_ns()
            self.transport.write(REQUEST)

    def data_received(self, data):
        self.held += data
        head, found, rest = self.held.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.lower()
        if len(rest) < int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0):
            return
        good = fields.startswith(b"http/1.1 200 ") and rest
        self.crowd.records.add(self.begin, rest[0] if good else FAILED)
        self.held, self.begin = b"", 0
        if b"connection: close" in fields:
            self.transport.close()
        else:
            self.ask()

    def connection_lost(self, _error):
        if self.begin:
            self.crowd.records.add(self.begin, FAILED)
        self.crowd.again()


class Crowd:
    def __init__(self, port: int):
        self.port, self.records, self.stopping, self.refused = port, Records(), False, 0
        self.tasks: set[asyncio.Task] = set()

    def again(self) -> None:
        """A new connection in the place of one that ended."""
        if not self.stopping:
            task = asyncio.ensure_future(self.connect())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopping:
            try:
                await loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
                return
            except OSError:
                self.refused += 1
                await asyncio.sleep(RECONNECT_S)


async def main(port: int, clients: int, path: str) -> None:
    crowd = Crowd(port)
    await asyncio.gather(*[crowd.connect() for _ in range(clients)])
    print(json.dumps({"clients": clients}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    crowd.stopping = True
    await asyncio.sleep(1)
    crowd.records.write(path)
    print(json.dumps({"requests": len(crowd.records.who), "refused": crowd.refused}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
