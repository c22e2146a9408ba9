"""An application that leaves its pool by itself before it ends, as guides to rolling upgrades want it.

    app.py NAME ADDRESS PORT

SIGUSR2: /ping answers 501 from now on; everything else goes on. SIGTERM: no new connections; what has
begun is answered, with Connection: close; it ends once its last connection has, after 20 s at most, with
1 if it had to cut one. It serves, with its name in X-Server:

    /ping     whether it wants requests
    /held     half of its body; the rest once somebody has asked for /release
    /release  lets go of what is held
    /stats    what came, and what is open, as JSON
    /ws       a tunnel that sends back what comes
    others    the body they were sent
"""

import ctypes
import http.server
import json
import os
import signal
import socket
import socketserver
import struct
import sys
import threading
import time

GRACE = 20.0
SO_ATTACH_FILTER = 26


class Application(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 256
    daemon_threads = True

    def __init__(self, name, place):
        super().__init__(place, Conversation)
        self.name = name
        self.wanted = True
        self.stopping = False
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.counts = {"requests": 0, "open": 0, "held": 0, "tunnels": 0}

    def count(self, what, by):
        with self.lock:
            self.counts[what] += by

    def finish_request(self, request, client):
        try:
            super().finish_request(request, client)
        except OSError:
            pass  # the other side has left
        finally:
            self.count("open", -1)

    def process_request(self, request, client):
        self.count("open", 1)
        super().process_request(request, client)

    def let_nobody_in(self):
        """Drops what wants to connect from now on, until it is refused: who would come between the last
        accept and the close would be reset, with a request that nobody may send again."""
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(drop_all))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def stop(self):
        """Takes what has come so far, and nothing more. Whether everything could end."""
        self.stopping = True
        self.shutdown()
        self.let_nobody_in()
        self.socket.setblocking(False)
        while True:
            try:
                request, client = self.get_request()
            except BlockingIOError:
                break
            request.setblocking(True)
            self.process_request(request, client)
        self.socket.close()
        end = time.monotonic() + GRACE
        while self.counts["open"] and time.monotonic() < end:
            time.sleep(0.02)
        return self.counts["open"] == 0


class Conversation(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        own = {"/ping": self.ping, "/held": self.hold, "/release": self.release, "/stats": self.stats}
        if self.path == "/ws":
            self.tunnel()
        elif self.path in own:
            own[self.path]()
        else:
            self.server.count("requests", 1)
            self.answer(200, body)

    do_POST = do_GET

    def ping(self):
        if self.server.wanted:
            self.answer(200, b'{"code":0,"message":"success"}')
        else:
            self.answer(501, b'{"code":-1,"message":"active ping api is already closed"}')

    def hold(self):
        self.server.count("held", 1)
        self.head(200, 10)
        self.wfile.write(b"first")
        self.server.released.wait()
        self.wfile.write(b"later")
        self.server.count("held", -1)

    def release(self):
        self.server.released.set()
        self.answer(200, b"")

    def stats(self):
        self.answer(200, json.dumps(self.server.counts).encode())

    def tunnel(self):
        self.server.count("tunnels", 1)
        self.send_response_only(101)
        for name, value in (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("X-Server", self.server.name)):
            self.send_header(name, value)
        self.end_headers()
        while data := self.rfile.read1(65536):
            self.wfile.write(data)
        self.close_connection = True
        self.server.count("tunnels", -1)

    def answer(self, status, body):
        self.head(status, len(body))
        self.wfile.write(body)

    def head(self, status, length):
        self.send_response_only(status)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Server", self.server.name)
        if self.server.stopping:
            self.send_header("Connection", "close")
        self.end_headers()


def main(name, address, port):
    told = {signal.SIGUSR2, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    application = Application(name, (address, port))
    threading.Thread(target=application.serve_forever, args=(0.02,), daemon=True).start()
    print("port", application.server_address[1], flush=True)
    while signal.sigwait(told) == signal.SIGUSR2:
        application.wanted = False
    # What has to be said has been said.
    os._exit(0 if application.stop() else 1)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
