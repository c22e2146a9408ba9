"""A server of one large body, in a process of its own, and the client that must get it whole.

`sized.py PORT BYTES` answers every request with so many bytes, a block of its own again and again. On a
line it says how many connections it was asked over.
"""
from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time

BLOCK = random.Random(7).randbytes(1 << 20)
PIECE = 1 << 16
AGAIN = BLOCK + BLOCK[:PIECE]


class Server:
    def __init__(self, port: int, size: int):
        self.size, self.connections = size, 0
        self.door = socket.create_server(("127.0.0.1", port), backlog=64)

    def run(self) -> None:
        while True:
            sock, _ = self.door.accept()
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            if not read_head(sock)[0]:
                return
            self.connections += 1
            sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {self.size}\r\n\r\n".encode())
            left = self.size
            while left:
                sock.sendall(BLOCK[:left])
                left -= min(left, len(BLOCK))


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """A head, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(PIECE)
        if not more:
            return b"", b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


class Download(threading.Thread):
    """Reads the body at a steady pace, and looks at every byte."""

    def __init__(self, port: int, path: str, size: int, seconds: float):
        super().__init__(daemon=True)
        self.port, self.path, self.size, self.seconds = port, path, size, seconds
        self.taken, self.fault = 0, ""

    def run(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 30) as sock:
                sock.sendall(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head, rest = read_head(sock)
                if b" 200 " not in head.split(b"\r\n")[0]:
                    raise ConnectionError(f"answered {head[:80]!r}")
                self._take(sock, rest)
        except OSError as reason:
            self.fault = f"after {self.taken} of {self.size} bytes: {reason!r}"

    def _take(self, sock: socket.socket, data: bytes) -> None:
        begin = time.monotonic()
        while True:
            start = self.taken % len(BLOCK)
            if data != AGAIN[start:start + len(data)]:
                raise ConnectionError("other bytes than were sent")
            self.taken += len(data)
            if self.taken >= self.size:
                return
            time.sleep(max(0, begin + self.seconds * self.taken / self.size - time.monotonic()))
            data = sock.recv(min(PIECE, self.size - self.taken))
            if not data:
                raise ConnectionError("it ends")


def main(port: int, size: int) -> None:
    server = Server(port, size)
    threading.Thread(target=server.run, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps({"connections": server.connections}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
