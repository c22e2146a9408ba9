"""An echo server and many clients of the websockets library, with the proxy between them.

    echo.py PROXY ADMIN CONNECTIONS [CA NAME]

The server takes a free port and is put into the pool "app" through the dyups interface. With CA, a file,
the clients speak TLS and want a certificate for NAME.
"""

import asyncio
import random
import ssl
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


def means(proxy, ca=None, name=None):
    """What to connect with, in plain text or by TLS."""
    if ca is None:
        return {"uri": f"ws://{proxy}/chat"}
    host, port = proxy.split(":")
    context = ssl.create_default_context(cafile=ca)
    return {"uri": f"wss://{name}:{port}/chat", "host": host, "port": int(port), "ssl": context}


async def talk(means, number):
    dice = random.Random(number)
    async with connect(**means, max_size=None, proxy=None) as socket:
        for size in (0, 1, 125, 126, 65535, 65536, 200000):
            message = dice.randbytes(size)
            await socket.send(message)
            assert await socket.recv() == message, f"{size} bytes came back altered"
        await socket.send("grüße, 潮汐")
        assert await socket.recv() == "grüße, 潮汐"
        await asyncio.wait_for(await socket.ping(), 10)


async def main(means, admin, connections):
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().run_in_executor(None, publish, admin, port)
        await asyncio.wait_for(asyncio.gather(*(talk(means, n) for n in range(connections))), 60)


asyncio.run(main(means(sys.argv[1], *sys.argv[4:]), sys.argv[2], int(sys.argv[3])))
