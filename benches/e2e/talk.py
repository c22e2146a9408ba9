"""WebSocket clients that talk and check every byte that comes back, in a process of their own.

`talk.py PORT COUNT` opens the tunnels, says `{"open": n}` and talks until it hears a line: each
message carries its tunnel, its number and bytes that follow from both, and the next is sent when it
is back. Then it waits for what is outstanding and reports what was closed, altered or lost.
"""
from __future__ import annotations

import asyncio
import json
import struct
import sys
import time

import frames
from hold import UPGRADE, address

AT_ONCE = 200
PATIENCE_S = 20
PATTERN = bytes(range(256)) * 8


def message(tunnel: int, number: int) -> bytes:
    """1 to 1,024 bytes beyond its label; size and bytes differ from message to message."""
    mixed = tunnel * 7919 + number * 104729
    start = mixed % 251
    return struct.pack(">II", tunnel, number) + PATTERN[start:start + 1 + mixed % 1024]


class Tunnel(asyncio.Protocol):
    def __init__(self, number: int, tally: Tally):
        self.number, self.tally = number, tally
        self.decoder, self.sent, self.outstanding, self.head = frames.Decoder(), 0, b"", b""
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(UPGRADE)

    def data_received(self, data):
        if not self.opened.done():
            data = self._handshake(data)
        for opcode, payload in self.decoder.feed(data):
            self._judge(opcode, payload)

    def _handshake(self, data: bytes) -> bytes:
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            return b""
        if b" 101 " in head:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(ConnectionError(head.decode("latin-1")))
        return rest

    def _judge(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.BINARY and payload == self.outstanding:
            self.tally.messages += 1
            self.tally.bytes += len(payload)
            self.outstanding = b""
            self.say()
        else:
            self.tally.altered += 1
            self.tally.note(f"tunnel {self.number}: opcode {opcode}, {len(payload)} bytes are not what was sent")

    def say(self) -> None:
        if not self.tally.stopping:
            self.outstanding = message(self.number, self.sent)
            self.sent += 1
            self.transport.write(frames.encode(self.outstanding))

    def connection_lost(self, error):
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed before the 101"))
        elif not self.tally.done:
            self.tally.closed += 1
            self.tally.note(f"tunnel {self.number} closed after {self.sent} messages: {error}")


class Tally:
    def __init__(self):
        self.messages = self.bytes = self.closed = self.altered = 0
        self.stopping = self.done = False
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if len(self.notes) < 10:
            self.notes.append(text)


async def opened(port: int, count: int, tally: Tally) -> list[Tunnel]:
    gate, loop = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()

    async def one(number):
        async with gate:
            _, tunnel = await loop.create_connection(lambda: Tunnel(number, tally), "127.0.0.1", port,
                                                     local_addr=address(number))
            await tunnel.opened
            return tunnel
    return await asyncio.gather(*[one(number) for number in range(count)])


async def outstanding(tunnels: list[Tunnel]) -> int:
    """Bytes sent that have not come back, after everything had time to."""
    end = time.monotonic() + PATIENCE_S
    while any(t.outstanding for t in tunnels) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return sum(len(t.outstanding) for t in tunnels)


async def main(port: int, count: int) -> None:
    tally = Tally()
    tunnels = await opened(port, count, tally)
    print(json.dumps({"open": len(tunnels)}), flush=True)
    for tunnel in tunnels:
        tunnel.say()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    tally.stopping = True
    lost, tally.done = await outstanding(tunnels), True
    print(json.dumps({"tunnels": count, "closed": tally.closed, "altered": tally.altered, "lost_bytes": lost,
                      "messages": tally.messages, "mib": round(tally.bytes / 2**20, 1),
                      "silent": sum(1 for t in tunnels if t.sent < 2), "notes": tally.notes}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
