"""Clients that hold connections open, in a process of their own.

`hold.py websocket|tcp|keepalive|waiting PORT COUNT SECONDS` opens them, says `{"open": n}`, and goes on
when it hears a line: `waiting` then collects its answers and says `{"answered": n}`; all others end.
Connections come from several loopback addresses, so that no address runs out of ports.
"""
from __future__ import annotations

import asyncio
import json
import sys

import frames

AT_ONCE = 200
PER_ADDRESS = 2000
UPGRADE = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
MESSAGE, ROUNDS = b"x" * 200, 3


def address(number: int) -> tuple[str, int]:
    return f"127.0.0.{2 + number // PER_ADDRESS}", 0


async def websocket(port: int, number: int, _seconds: float):
    """A tunnel that has carried a few messages."""
    ends = await connect(port, number)
    await ask(ends, UPGRADE, b" 101 ")
    reader, writer = ends
    for _ in range(ROUNDS):
        writer.write(frames.encode(MESSAGE))
        await reader.readexactly(4 + len(MESSAGE))
    return ends


async def tcp(port: int, number: int, _seconds: float):
    """The same without anything around the bytes."""
    ends = await connect(port, number)
    for _ in range(ROUNDS):
        ends[1].write(MESSAGE)
        await ends[0].readexactly(len(MESSAGE))
    return ends


async def keepalive(port: int, number: int, _seconds: float):
    """A connection that has had one answer."""
    ends = await connect(port, number)
    head = await ask(ends, request("/"), b" 200 ")
    await body(ends, head)
    return ends


async def waiting(port: int, number: int, seconds: float):
    """A request whose answer is `seconds` away."""
    ends = await connect(port, number)
    ends[1].write(request(f"/wait/{seconds}"))
    return ends


async def connect(port: int, number: int):
    return await asyncio.open_connection("127.0.0.1", port, local_addr=address(number), limit=4096)


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: hold\r\nAccept: */*\r\n\r\n".encode()


async def ask(ends, text: bytes, wanted: bytes) -> bytes:
    ends[1].write(text)
    return await answer(ends, wanted)


async def answer(ends, wanted: bytes) -> bytes:
    head = await ends[0].readuntil(b"\r\n\r\n")
    if wanted not in head.split(b"\r\n")[0] + b" ":
        raise ConnectionError(f"answered {head[:80]!r}, wanted{wanted.decode()}")
    return head


async def body(ends, head: bytes) -> None:
    length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
    await ends[0].readexactly(int(length))


async def collect(held: list) -> int:
    """How many of the waiting requests are answered well."""
    async def one(ends):
        await body(ends, await answer(ends, b" 200 "))
    done = await asyncio.gather(*[one(ends) for ends in held], return_exceptions=True)
    return sum(1 for result in done if result is None)


async def main(kind: str, port: int, count: int, seconds: float) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    opening = {"websocket": websocket, "tcp": tcp, "keepalive": keepalive, "waiting": waiting}[kind]

    async def one(number):
        async with gate:
            return await opening(port, number, seconds)
    held = await asyncio.gather(*[one(number) for number in range(count)])
    print(json.dumps({"open": len(held)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if kind == "waiting":
        print(json.dumps({"answered": await collect(held)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
