"""Clients of the websockets library that talk, compressed, while their server is drained.

    drain.py PROXY ADMIN CONNECTIONS [CA NAME]

The server takes a free port and becomes the pool "app". Each client and each server must see an end in
good order, with the drain's code and reason; every message that a client could send must have come. With CA, a
file, the clients speak TLS and want a certificate for NAME.
"""

import asyncio
import collections
import json
import random
import ssl
import sys
import urllib.request

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

GOODBYE = (1012, "moving house")
heard = collections.Counter()
ends = []


def call(admin, method, path, body):
    url = f"http://{admin}{path}"
    request = urllib.request.Request(url, data=body.encode(), method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return answer.read().decode()


async def chat(socket):
    """Echoes, some of it in fragments, and keeps how it ended."""
    dice = random.Random()
    try:
        while True:
            message = await socket.recv()
            heard[message.split(" ", 1)[0]] += 1
            half = len(message) // 2
            await socket.send([message[:half], message[half:]] if dice.random() < 0.5 else message)
    except ConnectionClosed as end:
        ends.append(("server", end))


def means(proxy, ca=None, name=None):
    """What to connect with, in plain text or by TLS."""
    if ca is None:
        return {"uri": f"ws://{proxy}/chat"}
    host, port = proxy.split(":")
    context = ssl.create_default_context(cafile=ca)
    return {"uri": f"wss://{name}:{port}/chat", "host": host, "port": int(port), "ssl": context}


async def talk(means, number, running):
    dice = random.Random(number)
    async with connect(**means, proxy=None) as socket:
        assert any(one.name == "permessage-deflate" for one in socket.protocol.extensions)
        sent = 0
        try:
            while True:
                message = f"{number} " + "tide " * dice.randrange(2_000)
                await socket.send(message)
                sent += 1
                running.set()
                assert await socket.recv() == message, "a message came back altered"
        except ConnectionClosed as end:
            ends.append(("client", end))
            return sent


async def main(means, admin, connections):
    async with serve(chat, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        away = asyncio.get_running_loop().run_in_executor
        await away(None, call, admin, "POST", "/upstream/app", f"server {address};")
        running = [asyncio.Event() for _ in range(connections)]
        talks = [asyncio.create_task(talk(means, n, running[n])) for n in range(connections)]
        await asyncio.gather(*(event.wait() for event in running))
        order = {"upstream": "app", "server": address, "rate": "100/s", "reason": GOODBYE[1], "force": True}
        await away(None, call, admin, "POST", "/api/v1/drains", json.dumps(order))
        sent = await asyncio.gather(*talks)
        while len(ends) < 2 * connections:
            await asyncio.sleep(0.01)
    for side, end in ends:
        assert end.rcvd is not None, f"{side} got no Close: {end!r}"
        assert (end.rcvd.code, end.rcvd.reason) == GOODBYE, f"{side} got {end.rcvd}"
        assert end.sent is not None and end.sent.code == GOODBYE[0], f"{side} sent {end.sent}"
        assert end.rcvd_then_sent, f"{side} thought that it was first"
    for number, count in enumerate(sent):
        assert heard[str(number)] == count, f"client {number} sent {count}, {heard[str(number)]} came"


asyncio.run(asyncio.wait_for(main(means(sys.argv[1], *sys.argv[4:]), sys.argv[2], int(sys.argv[3])), 60))
