"""Connections that only stay: how much memory does the proxy keep for each?

Memory is compared with the proxy's own before its first request, so what is allocated once counts
too, spread over all of them. The client and the origin are processes of ours.
"""
from __future__ import annotations

import time

import origins
from kernel import pss_kib
from peers import Peer, fresh_task
from processes import Talker, ports
from work import Bench, Work, grown_kib

OPENING_S = 120


class Held(Work):
    key, repeats = "kib_each", False

    def __init__(self, name: str, about: str, kind: str, size: str, each: int):
        self.name, self.about, self.kind, self.size, self.each = name, about, kind, size, each

    def run(self, bench: Bench, peer: Peer) -> dict:
        origin_port, = ports(1)
        count = bench.connections(getattr(bench, self.size), self.each)
        task = fresh_task(bench.fresh(f"{self.name}-{peer.name}"), {"u": [f"127.0.0.1:{origin_port}"]},
                          protocol="tcp" if self.kind == "tcp" else "http")
        origin = origins.echo if self.kind == "tcp" else origins.patient
        with origin(origin_port, bench.other_core, task.directory / "origin.log"), \
                peer.start(task, bench.proxy_core) as proxy:
            time.sleep(0.5)
            base = pss_kib(proxy.pid)
            arguments = [self.kind, task.port, count, bench.wait]
            with Talker("hold.py", arguments, bench.other_core, task.directory / "hold.log") as clients:
                opened = clients.hear(OPENING_S)["open"]
                time.sleep(bench.settle)
                each = grown_kib(proxy.pid, base, opened)
                clients.say("go on")
                figures = {"kib_each": each, "count": opened, "base_mib": base / 1024}
                return {**figures, **self._after(bench, clients)}

    def _after(self, bench: Bench, clients: Talker) -> dict:
        """Whether the waiting ones got their answers: memory saved by dropping them is no merit."""
        if self.kind != "waiting":
            return {}
        return {"answered": clients.hear(bench.wait + OPENING_S)["answered"]}


WORKS = [
    Held("ws", "idle WebSocket tunnels after some traffic", "websocket", "tunnels", 2),
    Held("tcp_idle", "idle TCP tunnels after some traffic", "tcp", "tunnels", 2),
    Held("keepalive_idle", "idle client connections after one request", "keepalive", "idle", 1),
    Held("waiting", "requests waiting for their server", "waiting", "waiting", 2),
]
