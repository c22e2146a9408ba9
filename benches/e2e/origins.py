"""The servers behind the proxies.

`answering` is nginx where speed matters: a fixed small body, 64 KiB, or its own name on each of
several ports. Run as a program (`origins.py PORT`) this file is a server for long connections:
it echoes WebSocket messages, answers `/wait/SECONDS` late and anything else at once.
"""
from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import frames
from peers import nginx_head, nginx_temporary
from processes import Child, Failed, Talker

SMALL = "hello world, this is a small body of some sixty-four bytes......"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answering(directory: Path, named: dict[int, str], on: set[int]) -> Child:
    """nginx on every port of `named`; `/who` answers that port's name."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "64k").write_bytes(os.urandom(65536))
    servers = "".join(f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "{SMALL}"; }}
    location = /64k {{ alias {directory}/64k; }}
    location = /who {{ return 200 "{name}"; }}
  }}""" for port, name in named.items())
    file = directory / "origin.conf"
    file.write_text(f"""{nginx_head(directory, 1)}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; {nginx_temporary(directory)}
  {servers}
}}
""")
    if not shutil.which("nginx"):
        raise Failed("the origin is nginx: install nginx-light")
    return Child(["nginx", "-c", str(file)], on, directory / "log").listens(min(named))


def everywhere(directory: Path, port: int, counting: int, on: set[int]) -> Child:
    """nginx on a port of every address of this machine, so that one process is very many servers;
    `counted(counting)` says how many connections it took."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "origin.conf"
    file.write_text(f"""{nginx_head(directory, 1)}
http {{
  access_log off; {nginx_temporary(directory)}
  server {{ listen {port} backlog=4096; keepalive_requests 100000000; location / {{ return 200 "{SMALL}"; }} }}
  server {{ listen 127.0.0.1:{counting}; location / {{ stub_status; }} }}
}}
""")
    if not shutil.which("nginx"):
        raise Failed("the origin is nginx: install nginx-light")
    return Child(["nginx", "-c", str(file)], on, directory / "log").listens(counting)


def counted(counting: int) -> int:
    """Connections that `everywhere` has accepted, this one among them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{counting}/", timeout=10) as page:
        return int(page.read().split(b"requests")[1].split()[0])


def patient(port: int, on: set[int], log: Path) -> Child:
    """This file as a program."""
    return Talker("origins.py", [port], on, log).listens(port)


def echo(port: int, on: set[int], log: Path, kind: str = "tcp") -> Child:
    """A port that echoes bytes, or frames, at little cost."""
    return Talker("echoes.py", [kind, port, "a"], on, log).listens(port)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode("latin-1")
            key = key_of(head)
            if key:
                writer.write(switch(key))
                await echo_frames(reader, writer)
                return
            if target.startswith("/wait/"):
                await asyncio.sleep(float(target[len("/wait/"):]))
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(SMALL)}\r\n\r\n{SMALL}".encode())
    writer.close()


async def echo_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends each message back unmasked until the client goes; a Close is answered in kind."""
    decoder = frames.Decoder()
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            for opcode, payload in decoder.feed(data):
                writer.write(frames.encode(payload, opcode, masked=False))
            await writer.drain()
    writer.close()


def switch(key: bytes) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def key_of(head: bytes) -> bytes:
    """Of a handshake; empty when it is none."""
    return field(head, b"sec-websocket-key")


def field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096, limit=65536)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
