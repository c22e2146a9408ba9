"""Changes: how long does one take under load, who is still served by the old list, and how does a
proxy start that has very many pools?
"""
from __future__ import annotations

import http.client
import statistics
import time

import dyups
import origins
from churn import Plan, churn
from kernel import pss_kib
from peers import Peer, Proxy, fresh_task
from processes import Failed, ports
from work import Bench, Work

STARTING_S = 120
SERVERS_EACH = 10
CHANGES = 200


class ChangeLatency(Work):
    """For nginx the change is a reload, which answers before it is done; Haproxy has none."""
    # No ratio to nginx: a signal's round trip and a change's are not the same thing.
    name, key, repeats = "change", "", False
    about = "a pool's servers swapped under load with 2 workers; stale: served by the old list after the answer"

    def suits(self, peer: Peer) -> bool:
        return peer.kind.changes

    def run(self, bench: Bench, peer: Peer) -> dict:
        if not peer.kind.dyups:
            # Each reload leaves workers behind that finish; more of them than this would only measure forks.
            return churn(bench, peer, Plan(min(bench.posts, 10), pause_ms=500))
        figures = churn(bench, peer, Plan(bench.posts))
        durable = churn(bench, peer, Plan(bench.posts, durable=True))
        return {**figures, **{f"durable_{name}": durable[name] for name in
                              ("post_p50_us", "post_p99_us", "failed", "stale")}}


class Start(Work):
    name, key, repeats = "start", "first_answer_s", False
    about = f"very many pools of {SERVERS_EACH} servers: seconds to the first answer, then a POST's round trip"

    def run(self, bench: Bench, peer: Peer) -> dict:
        origin_port, = ports(1)
        pools = {f"pool{n}": [f"10.{n >> 8 & 255}.{n & 255}.{s + 1}:8080" for s in range(SERVERS_EACH)]
                 for n in range(bench.pools)}
        pools["u"] = [f"127.0.0.1:{origin_port}"]
        task = fresh_task(bench.fresh(f"start-{peer.name}"), pools)
        with origins.answering(task.directory / "origin", {origin_port: "a"}, bench.other_core):
            proxy = Proxy(peer, task, bench.proxy_core)
            begin = time.monotonic()
            proxy.launch()
            try:
                seconds = first_answer(proxy, begin)
                figures = {"first_answer_s": seconds, "pss_mib": pss_kib(proxy.pid) / 1024}
                return {**figures, **(post_latency(task.admin) if peer.kind.dyups else {})}
            finally:
                proxy.child.stop()


def first_answer(proxy: Proxy, begin: float) -> float:
    while time.monotonic() < begin + STARTING_S and proxy.child.running():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.task.port, timeout=5)
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return time.monotonic() - begin
        except (OSError, http.client.HTTPException):
            time.sleep(0.005)
    raise Failed(f"{proxy.peer.name}: no answer after {STARTING_S} s\n{proxy.child.tail()}")


def post_latency(admin_port: int) -> dict:
    """The first change, and the median of many, each to another pool."""
    took = []
    with dyups.Admin(admin_port) as admin:
        for number in range(CHANGES):
            begin = time.monotonic()
            admin.post(f"pool{number}", dyups.body(["10.9.9.9:8080", "10.9.9.10:8080"]))
            took.append((time.monotonic() - begin) * 1e6)
    return {"first_post_us": took[0], "post_p50_us": statistics.median(took), "post_max_us": max(took)}


WORKS = [ChangeLatency(), Start()]
