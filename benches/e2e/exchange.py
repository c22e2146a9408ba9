"""One request as raw bytes over one connection, and the answer as it can be compared."""
from __future__ import annotations

import gzip
import hashlib
import json
import socket
import ssl
from dataclasses import dataclass, field

PATIENCE_S = 8


@dataclass(frozen=True)
class Asked:
    name: str
    raw: bytes
    door: str = "https"
    """Or http: which listener."""
    server_name: str | None = "chat.im.example.com"
    times: int = 1
    """Over so many connections, one after the other."""
    at_once: int = 0
    """Over so many connections that begin together; the statuses are compared."""


@dataclass
class Told:
    """An answer: `seen` is what a server says it got; `cut` that there was no whole answer."""
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    coding: str = ""
    certificate: str = ""
    cut: bool = False

    @property
    def seen(self) -> dict | None:
        text = self.fields.get("x-told", "") or self.body.decode("latin-1")
        return json.loads(text) if text.startswith('{"pool"') else None


def connect(port: int, asked: Asked, trust: ssl.SSLContext) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    if asked.door == "https":
        sock = trust.wrap_socket(sock, server_hostname=asked.server_name)
    return sock


def exchange(port: int, asked: Asked, trust: ssl.SSLContext) -> Told:
    with connect(port, asked, trust) as sock:
        certificate = ""
        if asked.door == "https":
            certificate = hashlib.sha256(sock.getpeercert(True)).hexdigest()[:12]
        try:
            sock.sendall(asked.raw)
        except OSError:
            pass  # refused in the middle of the body; the answer says so
        told = answer_of(sock, asked.raw.startswith(b"HEAD "))
    told.certificate = certificate
    return told


def answer_of(sock: socket.socket, to_head: bool) -> Told:
    heard = Heard(sock)
    told = Told()
    while told.status // 100 in (0, 1) and told.status != 101:
        head = heard.until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1."):
            return Told(cut=True)
        lines = head.decode("latin-1").split("\r\n")
        told.status = int(lines[0].split(" ")[1])
        told.fields = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            told.fields[name.lower()] = value.strip()
    if not to_head and told.status not in (101, 204, 304):
        told.body, told.cut = body_of(heard, told.fields)
    told.coding = told.fields.get("content-encoding", "")
    if told.coding == "gzip" and told.body and not told.cut:
        told.body = gzip.decompress(told.body)
    return told


def body_of(heard: Heard, fields: dict[str, str]) -> tuple[bytes, bool]:
    """And whether it ended too early."""
    if "chunked" in fields.get("transfer-encoding", ""):
        body = b""
        while line := heard.until(b"\r\n"):
            size = int(line.split(b";")[0], 16)
            body += heard.exactly(size + 2)[:size]
            if not size:
                return body, False
        return body, True
    if "content-length" in fields:
        wanted = int(fields["content-length"])
        body = heard.exactly(wanted)
        return body, len(body) < wanted
    return heard.exactly(1 << 30), False


class Heard:
    """What a socket says, until it ends or has been silent for too long."""

    def __init__(self, sock: socket.socket):
        self._sock, self._held = sock, b""
        sock.settimeout(PATIENCE_S)

    def until(self, mark: bytes) -> bytes:
        while mark not in self._held and self._more():
            pass
        head, found, rest = self._held.partition(mark)
        self._held = rest if found else b""
        return head + found

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size and self._more():
            pass
        part, self._held = self._held[:size], self._held[size:]
        return part

    def _more(self) -> bool:
        try:
            data = self._sock.recv(65536)
        except OSError:
            return False
        self._held += data
        return bool(data)
