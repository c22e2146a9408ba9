"""Bytes in one direction as fast as a proxy takes them, at as little cost as a script can have.

`bulk.py source PORT COUNT` sends from a file in memory with sendfile, which copies nothing;
`bulk.py sink PORT` lets the kernel throw away what arrives (MSG_TRUNC). So the proxy, which has to copy,
is the one that is busy. Each line on stdin is answered with `{"bytes": n}`, how many have passed.
"""
from __future__ import annotations

import json
import os
import socket
import sys

from poller import READ, WRITE, Poller, commands, listen

CHUNK = 1 << 20
ROOM = memoryview(bytearray(CHUNK))


class Pump:
    def __init__(self):
        self.poller, self.bytes = Poller(), 0
        commands(self.poller, lambda _line: print(json.dumps({"bytes": self.bytes}), flush=True))

    def source(self, port: int, count: int) -> None:
        file = os.memfd_create("bulk")
        os.write(file, os.urandom(CHUNK))
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            self.poller.add(sock.fileno(), self._sender(sock, file), WRITE)
        print(json.dumps({"open": count}), flush=True)

    def _sender(self, sock: socket.socket, file: int):
        def ready(_mask: int) -> None:
            self.bytes += os.sendfile(sock.fileno(), file, 0, CHUNK)
        return ready

    def sink(self, port: int) -> None:
        listen(self.poller, port, self._accepted)

    def _accepted(self, sock: socket.socket) -> None:
        sock.setblocking(False)

        def ready(_mask: int) -> None:
            taken = sock.recv_into(ROOM, CHUNK, socket.MSG_TRUNC)
            self.bytes += taken
            if not taken:
                self.poller.remove(sock.fileno())
                sock.close()
        self.poller.add(sock.fileno(), ready, READ)

    def run(self) -> None:
        while True:
            self.poller.turn(60)


if __name__ == "__main__":
    pump = Pump()
    if sys.argv[1] == "source":
        pump.source(int(sys.argv[2]), int(sys.argv[3]))
    else:
        pump.sink(int(sys.argv[2]))
    pump.run()
