"""Bytes through open connections: what do very many of them cost the proxy, and what does a small message?

As with requests, the proxy has a core to itself and everything else shares the other; what is compared is
the proxy's own CPU time.
"""
from __future__ import annotations

import time

import origins
from kernel import cpu_seconds
from peers import Peer, fresh_task
from processes import Talker, ports
from work import Bench, Work

OPENING_S = 30
WARM_S = 1
CONNECTIONS, TUNNELS = 8, 64


class Bulk(Work):
    name, key = "tcp_bulk", "mib_per_cpu_s"
    about = f"bytes from client to server on {CONNECTIONS} TCP connections; more is better"

    def run(self, bench: Bench, peer: Peer) -> dict:
        port, = ports(1)
        task = fresh_task(bench.fresh(f"{self.name}-{peer.name}"), {"u": [f"127.0.0.1:{port}"]}, protocol="tcp")
        log = task.directory
        with Talker("bulk.py", ["sink", port], bench.other_core, log / "sink.log").listens(port) as sink, \
                peer.start(task, bench.proxy_core) as proxy, \
                Talker("bulk.py", ["source", task.port, CONNECTIONS], bench.other_core, log / "source.log") as source:
            source.hear(OPENING_S)
            count, spent, took = measured(proxy.pid, sink, "bytes", bench.seconds)
        mib = count / 2**20
        return {"mib_per_cpu_s": mib / spent, "mib_per_s": mib / took, "cores": spent / took, "gib": mib / 1024}


class PingPong(Work):
    name, key = "ws_pingpong", "cpu_us"
    about = f"WebSocket messages of 32 bytes there and back on {TUNNELS} tunnels; CPU for one message one way"

    def run(self, bench: Bench, peer: Peer) -> dict:
        port, = ports(1)
        task = fresh_task(bench.fresh(f"{self.name}-{peer.name}"), {"u": [f"127.0.0.1:{port}"]})
        with origins.echo(port, bench.other_core, task.directory / "origin.log", "websocket"), \
                peer.start(task, bench.proxy_core) as proxy, \
                Talker("pingpong.py", [task.port, TUNNELS], bench.other_core, task.directory / "play.log") as players:
            players.hear(OPENING_S)
            trips, spent, took = measured(proxy.pid, players, "trips", bench.seconds)
        return {"cpu_us": spent / max(2 * trips, 1) * 1e6, "messages_per_s": 2 * trips / took, "cores": spent / took}


def measured(pid: int, counter: Talker, name: str, seconds: float) -> tuple[int, float, float]:
    """What was counted, the proxy's CPU seconds, and the time it took, after a while of the same."""
    time.sleep(WARM_S)
    first, before, begin = asked(counter, name), cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    last, spent, took = asked(counter, name), cpu_seconds(pid) - before, time.monotonic() - begin
    return last - first, spent, took


def asked(counter: Talker, name: str) -> int:
    counter.say("count")
    return counter.hear(OPENING_S)[name]


WORKS = [Bulk(), PingPong()]
