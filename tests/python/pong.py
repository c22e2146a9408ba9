"""A WebSocket server of the websockets library on a free port, for those who know its path and word.

    pong.py PATH TOKEN
"""

import asyncio
import http
import sys

try:
    from websockets.asyncio.server import serve
except ImportError:
    print("lacking the websockets library")
    sys.exit()


async def listen(socket):
    async for _ in socket:
        pass


async def main(path, token):
    def admit(connection, request):
        if request.path != path or request.headers.get("X-Token") != token:
            return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
        return None

    async with serve(listen, "127.0.0.1", 0, process_request=admit) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main(sys.argv[1], sys.argv[2]))
