"""Clients of the websockets library with compression and fragmented messages, in a process of their own.

`deflated.py PORT COUNT` opens them and says how many each server got; they talk until a line comes. The
report says how each ended: the Close that was received, and whether the library found a fault in the stream.
"""
from __future__ import annotations

import asyncio
import collections
import json
import random
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ProtocolError

FRAGMENTS, PAUSE_S, BETWEEN_S = 3, 0.02, 0.1
SIZES = (1, 125, 126, 4000, 65536)
OPENING_AT_ONCE = 50


class Tally:
    def __init__(self):
        self.stopping, self.echoes, self.altered = False, 0, 0
        self.ends: collections.Counter = collections.Counter()
        self.faults: collections.Counter = collections.Counter()

    def ended(self, server: str, protocol) -> None:
        """By what came from the other side; a stream without a Close has no code."""
        close = protocol.close_rcvd
        said = f"{close.code} {close.reason}".strip() if close else "no Close"
        self.ends[f"{server}: {said}"] += 1
        fault = protocol.parser_exc
        if isinstance(fault, ProtocolError) or (fault and not close):
            self.faults[f"{server}: {fault!r}"] += 1


async def fragments(message: bytes):
    size = len(message) // FRAGMENTS + 1
    for part in range(FRAGMENTS):
        if part:
            await asyncio.sleep(PAUSE_S)
        yield message[part * size:][:size]


def some(dice: random.Random) -> bytes:
    """Half noise, half the same again and again, so that it can be compressed but not to nothing."""
    size = dice.choice(SIZES)
    return dice.randbytes(size // 2) + b"tide" * (size // 8) + b"!"


async def talk(socket, dice: random.Random, tally: Tally) -> None:
    while not tally.stopping:
        message = some(dice)
        await socket.send(fragments(message))
        if await socket.recv() == message:
            tally.echoes += 1
        else:
            tally.altered += 1
        await asyncio.sleep(dice.uniform(0, BETWEEN_S))


async def client(socket, number: int, tally: Tally) -> None:
    try:
        await talk(socket, random.Random(number), tally)
        await socket.close()
    except ConnectionClosed:
        await socket.wait_closed()
    tally.ended(socket.response.headers["X-Server"], socket.protocol)


async def main(port: int, count: int) -> None:
    tally, gate = Tally(), asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened():
        async with gate:
            return await connect(f"ws://127.0.0.1:{port}/ws", max_size=None, proxy=None, ping_interval=None)
    sockets = await asyncio.gather(*(opened() for _ in range(count)))
    by_server = collections.Counter(socket.response.headers["X-Server"] for socket in sockets)
    print(json.dumps({"by_server": by_server}), flush=True)
    tasks = [asyncio.ensure_future(client(socket, number, tally)) for number, socket in enumerate(sockets)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    tally.stopping = True
    await asyncio.gather(*tasks)
    print(json.dumps({"echoes": tally.echoes, "altered": tally.altered, "ends": tally.ends,
                      "faults": tally.faults}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
