"""One client that asks again and again, one request at a time, and keeps how long each took.

`quiet.py PORT [CA]`: over one connection, with TLS if there is a CA. The line `phase NAME` begins a phase;
`stop` asks for the report: of each phase the requests, and the median over its windows of their p99.
"""
from __future__ import annotations

import json
import select
import socket
import ssl
import statistics
import sys
import time

PAUSE_S, WINDOW_S, PATIENCE_S = 0.002, 2.0, 10
ASKED = b"GET /quiet HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Quiet:
    def __init__(self, port: int, authority: str):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if authority:
            tls = ssl.create_default_context(cafile=authority)
            self.sock = tls.wrap_socket(self.sock, server_hostname="im.example.com")
        self.phases: dict[str, dict[int, list[float]]] = {}
        self.failed: list[str] = []

    def ask(self) -> float:
        begin = time.perf_counter()
        self.sock.sendall(ASKED)
        heard = b""
        while not heard.endswith(b"small\n"):
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError(f"closed after {heard[:60]!r}")
            heard += data
        if b" 200 " not in heard[:16]:
            raise ConnectionError(f"answered {heard[:60]!r}")
        return time.perf_counter() - begin

    def report(self) -> dict:
        phases = {}
        for name, windows in self.phases.items():
            # The last is not whole; one that hardly saw a request says nothing.
            whole = [sorted(found) for _, found in sorted(windows.items())][:-1] or [[0.0]]
            p99 = [found[len(found) * 99 // 100] for found in whole]
            p50 = [found[len(found) // 2] for found in whole]
            worst = max(map(max, whole))
            phases[name] = {"requests": sum(map(len, whole)), "p50_us": round(1e6 * statistics.median(p50)),
                            "p99_us": round(1e6 * statistics.median(p99)), "worst_ms": round(1e3 * worst, 1),
                            "windows_p99_us": [round(1e6 * one) for one in p99]}
        return {"phases": phases, "failed": self.failed}


def main(port: int, authority: str = "") -> None:
    quiet, phase, begin = Quiet(port, authority), "", 0.0
    print(json.dumps({"ready": True}), flush=True)
    while True:
        if select.select([sys.stdin], [], [], PAUSE_S)[0]:
            word, _, phase = sys.stdin.readline().strip().partition(" ")
            begin = time.monotonic()
            if word != "phase":
                break
        if phase and not quiet.failed:
            try:
                took = quiet.ask()
            except OSError as reason:
                quiet.failed.append(f"{phase}: {reason}")
                continue
            window = int((time.monotonic() - begin) / WINDOW_S)
            quiet.phases.setdefault(phase, {}).setdefault(window, []).append(took)
    print(json.dumps(quiet.report()), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
