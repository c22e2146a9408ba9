"""An echo server and many clients of the websockets library, with the proxy between them.

    echo.py PROXY ADMIN CONNECTIONS

The server takes a free port and is put into the pool "app" through the dyups interface.
"""

import asyncio
import random
import sys
import urllib.request

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


def publish(admin, port):
    body = f"server 127.0.0.1:{port};".encode()
    request = urllib.request.Request(f"http://{admin}/upstream/app", data=body, method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        assert answer.read() == b"success"


async def talk(proxy, number):
    dice = random.Random(number)
    async with connect(f"ws://{proxy}/chat/{number}", max_size=None, proxy=None) as socket:
        for size in (0, 1, 125, 126, 65535, 65536, 200000):
            message = dice.randbytes(size)
            await socket.send(message)
            assert await socket.recv() == message, f"{size} bytes came back altered"
        await socket.send("grüße, 潮汐")
        assert await socket.recv() == "grüße, 潮汐"
        await asyncio.wait_for(await socket.ping(), 10)


async def main(proxy, admin, connections):
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().run_in_executor(None, publish, admin, port)
        await asyncio.wait_for(asyncio.gather(*(talk(proxy, n) for n in range(connections))), 60)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
