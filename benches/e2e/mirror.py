"""A small server that says what reached it, in a process of its own that can be killed.

`mirror.py PORT NAME` answers every request with its name, the size of the body, and a digest over
target and body, so that whoever asked can tell that this was the question.
"""
from __future__ import annotations

import asyncio
import hashlib
import sys


def digest(target: bytes, body: bytes) -> bytes:
    return b"%d %s" % (len(body), hashlib.sha1(target + b"\n" + body).hexdigest().encode())


class Connection(asyncio.Protocol):
    """Requests one after the other; their bodies have a Content-Length."""

    def __init__(self, name: bytes):
        self.name, self.held, self.target, self.wanted = name, b"", b"", -1

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.held += data
        while self._whole():
            body, self.held = self.held[:self.wanted], self.held[self.wanted:]
            text = b"%s %s" % (self.name, digest(self.target, body))
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            self.wanted = -1

    def _whole(self) -> bool:
        if self.wanted < 0:
            head, found, rest = self.held.partition(b"\r\n\r\n")
            if not found:
                return False
            self.target = head.split(b" ", 2)[1]
            self.wanted = int(head.lower().partition(b"\ncontent-length:")[2].partition(b"\r")[0] or 0)
            self.held = rest
        return len(self.held) >= self.wanted


async def main(port: int, name: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(name), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2].encode()))
