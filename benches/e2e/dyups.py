"""The dyups API as a script sees it: one keep-alive connection to the admin listener, blocking."""
from __future__ import annotations

import re
import socket

from processes import Failed


class Refused(Failed):
    """The API answered something else than yes."""


def body(servers: list[str]) -> str:
    return "".join(f"server {server};" for server in servers)


def parse_detail(text: str) -> dict[str, list[str]]:
    """`/detail` as pool → its server lines, exactly as printed."""
    pools = {}
    for block in filter(None, text.split("\n\n")):
        name, *lines = block.split("\n")
        pools[name] = lines
    return pools


class Admin:
    def __init__(self, port: int, patience_s: float = 10):
        # A plain socket: http.client would add its own tenth of a millisecond to every round trip.
        self._socket = socket.create_connection(("127.0.0.1", port), patience_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def post(self, pool: str, text: str) -> None:
        self._expect("POST", f"/upstream/{pool}", text)

    def delete(self, pool: str) -> None:
        self._expect("DELETE", f"/upstream/{pool}")

    def detail(self) -> dict[str, list[str]]:
        status, _, text = self._ask("GET", "/detail")
        if status not in (200, 204):
            raise Refused(f"GET /detail: {status} {text}")
        return parse_detail(text)

    def get(self, path: str) -> str:
        """Any page of the admin listener."""
        status, _, text = self._ask("GET", path)
        if status != 200:
            raise Refused(f"GET {path}: {status} {text.strip()}")
        return text

    def _expect(self, method: str, path: str, text: str = "") -> None:
        status, head, answer = self._ask(method, path, text)
        if (status, answer) != (200, "success"):
            raise Refused(f"{method} {path}: {status} {answer.strip()} ({reason(head)})")

    def _ask(self, method: str, path: str, text: str = "", fields: dict | None = None) -> tuple[int, str, str]:
        """Status, head and body; OSError when the other side goes away."""
        more = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items())
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n{more}\r\n"
        self._socket.sendall((head + text).encode())
        held = b""
        while b"\r\n\r\n" not in held:
            held += self._read()
        head, _, body = held.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        while length and len(body) < int(length.group(1)):
            body += self._read()
        return int(head.split(b" ", 2)[1]), head.decode("latin-1"), body.decode()

    def _read(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the admin connection was closed before the answer")
        return data


def reason(head: str) -> str:
    found = re.search(r"(?i)\nx-tidegate-reason: *([^\r\n]*)", head)
    return found.group(1) if found else "no reason given"
