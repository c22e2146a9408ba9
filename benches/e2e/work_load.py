"""Requests as fast as one core can ask: what does one cost the proxy?

The proxy has a core to itself and wrk shares the other with the origin, so the proxy is never the
one that waits for the CPU, and its own CPU time per request is what is compared.
"""
from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import origins
from kernel import cpu_seconds, pss_kib
from peers import Peer, fresh_task
from processes import Child, Failed, ports
from work import Bench, Work

WARM_S = 1
CALM, BURST = 100, 1000
UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Answers:
    """What wrk saw."""
    count: int
    bad: int
    p50_us: float
    p99_us: float


def wrk(bench: Bench, port: int, path: str, connections: int, seconds: int, script: Path | None = None) -> Answers:
    if not shutil.which("wrk"):
        raise Failed("the load generator is wrk: install it")
    url = f"http://127.0.0.1:{port}{path}"
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *(["-s", script] if script else []), url]
    with Child(argv, bench.other_core, bench.directory / "wrk.log", stdout=subprocess.PIPE) as child:
        text = child.process.communicate(timeout=seconds + 30)[0].decode()
    done = re.search(r"(\d+) requests in", text)
    if not done:
        raise Failed(f"wrk said nothing of requests\n{text}{child.tail()}")
    quantiles = {k: float(v) * UNITS[u] for k, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)}
    return Answers(int(done.group(1)), _bad(text), quantiles.get("50", 0), quantiles.get("99", 0))


def _bad(text: str) -> int:
    """Answers that are not 2xx, and connections that failed."""
    status = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return (int(status.group(1)) if status else 0) + sum(map(int, sockets.groups()) if sockets else [])


class Load(Work):
    key = "cpu_us"

    def __init__(self, name: str, about: str, path: str, connections: int):
        self.name, self.about, self.path, self.connections = name, about, path, connections

    def run(self, bench: Bench, peer: Peer) -> dict:
        origin_port, = ports(1)
        task = fresh_task(bench.fresh(f"{self.name}-{peer.name}"), {"u": [f"127.0.0.1:{origin_port}"]})
        with origins.answering(task.directory / "origin", {origin_port: "a"}, bench.other_core), \
                peer.start(task, bench.proxy_core) as proxy:
            wrk(bench, task.port, self.path, self.connections, WARM_S)
            before = cpu_seconds(proxy.pid)
            seen = wrk(bench, task.port, self.path, self.connections, bench.seconds)
            spent = cpu_seconds(proxy.pid) - before
            return {"cpu_us": spent / max(seen.count, 1) * 1e6, "rps": seen.count / bench.seconds,
                    "p50_us": seen.p50_us, "p99_us": seen.p99_us, "bad": seen.bad,
                    "pss_mib": pss_kib(proxy.pid) / 1024}


class MemoryAfterBurst(Work):
    """Steady load, ten times the load with large bodies, the same steady load again."""
    name, key, repeats = "memory_after_burst", "after_over_before", False
    about = f"memory under {CALM} connections after a burst of {BURST} with 64 KiB bodies, over what it was before"

    def run(self, bench: Bench, peer: Peer) -> dict:
        origin_port, = ports(1)
        task = fresh_task(bench.fresh(f"{self.name}-{peer.name}"), {"u": [f"127.0.0.1:{origin_port}"]})
        with origins.answering(task.directory / "origin", {origin_port: "a"}, bench.other_core), \
                peer.start(task, bench.proxy_core) as proxy:
            before = self._calm(bench, task.port, proxy.pid)
            wrk(bench, task.port, "/64k", BURST, bench.seconds)
            peak = pss_kib(proxy.pid)
            # Idle connections to the origin time out and allocators give back on their own clocks.
            time.sleep(4 * bench.settle)
            after = self._calm(bench, task.port, proxy.pid)
        return {"before_mib": before / 1024, "burst_mib": peak / 1024, "after_mib": after / 1024,
                "after_over_before": after / before}

    @staticmethod
    def _calm(bench: Bench, port: int, pid: int) -> int:
        wrk(bench, port, "/", CALM, bench.seconds)
        time.sleep(bench.settle)
        return pss_kib(pid)


WORKS = [
    Load("http", "HTTP/1.1 keep-alive, small body, 64 connections", "/", 64),
    Load("http1000", "the same, 1,000 connections", "/", 1000),
    Load("body64k", "HTTP/1.1 keep-alive, 64 KiB body, 64 connections", "/64k", 64),
    MemoryAfterBurst(),
]
