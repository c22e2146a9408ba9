"""A server that tells what reached it, under a name for each of its ports.

`telling.py NAME=PORT...` answers with the request as JSON: the pool's name, method, target, fields and what came
as a body. What a path ends with has it do something else: `/status/N`, `/busy` (503 at the first port of a pool
that has several), `/text/N` (so many bytes), `/coded` (gzip of its own), `/elsewhere` (a redirect), `/late`
(after a second and a half), `/stream` (chunked, in pieces), `/range` (bytes of 0 to 999).
"""
from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import re
import sys

from origins import key_of, switch

LATE_S = 1.5
FIXED = "ETag: \"e\"\r\nX-Powered-By: telling\r\n"


def fields_of(head: bytes) -> list[tuple[str, str]]:
    named = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return [(name.decode("latin-1").lower(), value.strip().decode("latin-1")) for name, _, value in named]


async def body_of(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "chunked" in fields.get("transfer-encoding", ""):
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        while await reader.readline() not in (b"\r\n", b""):
            pass
        return b"".join(parts)
    return await reader.readexactly(int(fields.get("content-length", 0)))


def told(name: str, head: bytes, fields: list[tuple[str, str]], body: bytes) -> bytes:
    method, target, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
    return json.dumps({"pool": name, "method": method, "target": target, "fields": sorted(fields),
                       "body": [len(body), hashlib.sha256(body).hexdigest()[:16]]}).encode()


def plain(status: int, text: bytes, kind: str = "application/json", more: str = "") -> bytes:
    length = "" if status in (204, 304) else f"Content-Length: {len(text)}\r\n"
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: {kind}\r\n{FIXED}{more}{length}\r\n"
    return head.encode() + (b"" if status in (204, 304) else text)


def special(path: str, fields: dict[str, str], is_first: bool, text: bytes) -> bytes | None:
    """The answer that a path asks for."""
    if found := re.search(r"/status/(\d{3})$", path):
        more = "Location: https://elsewhere.example/x?y\r\n" if found[1][0] == "3" and found[1] != "304" else ""
        return plain(int(found[1]), text, more=more + 'WWW-Authenticate: Basic realm="x"\r\n' * (found[1] == "401"))
    if found := re.search(r"/text/(\d+)$", path):
        return plain(200, (b"some words and more of them. " * 40000)[:int(found[1])], "text/plain")
    if path.endswith("/image"):
        return plain(200, b"\x89PNG" * 500, "image/png")
    if path.endswith("/coded"):
        return plain(200, gzip.compress(b"words " * 500, mtime=0), "text/plain", "Content-Encoding: gzip\r\n")
    if path.endswith("/elsewhere"):
        return plain(302, b"", more="Location: /over/there\r\n")
    if path.endswith("/busy") and is_first:
        return plain(503, b"busy")
    if path.endswith("/stream"):
        head = f"HTTP/1.1 200 Told\r\nContent-Type: text/plain\r\n{FIXED}Transfer-Encoding: chunked\r\n\r\n"
        return head.encode() + b"190\r\n" + b"a" * 400 + b"\r\n2\r\nbc\r\n0\r\n\r\n"
    if path.endswith("/range") and (found := re.match(r"bytes=(\d+)-(\d+)$", fields.get("range", ""))):
        part = (b"0123456789" * 100)[int(found[1]):int(found[2]) + 1]
        return plain(206, part, "text/plain", f"Content-Range: bytes {found[1]}-{found[2]}/1000\r\n")
    return None


async def serve(name: str, is_first: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = fields_of(head)
            if (key := key_of(head)) and ("upgrade", "websocket") in fields:
                text = told(name, head, fields, b"")
                writer.write(switch(key)[:-2] + b"X-Told: " + text + b"\r\n\r\n")
                writer.write(await reader.read(4096))
                break
            named = dict(fields)
            if "100-continue" in named.get("expect", ""):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            text = told(name, head, fields, await body_of(reader, named))
            path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
            if path.endswith("/late"):
                await asyncio.sleep(LATE_S)
            answer = special(path, named, is_first, text) or plain(200, text)
            writer.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.startswith(b"HEAD ") else answer)
            await writer.drain()
    writer.close()


async def main(named: list[str]) -> None:
    seen = set()
    for one in named:
        name, _, port = one.partition("=")
        first = name not in seen and sum(other.startswith(f"{name}=") for other in named) > 1
        seen.add(name)

        async def taken(reader, writer, name=name, first=first):
            await serve(name, first, reader, writer)
        await asyncio.start_server(taken, "127.0.0.1", int(port), limit=1 << 17)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
