"""A server that accepts and never answers: how soon does it leave rotation?

The state is read from /metrics every 10 ms. Without traffic only probes can find out. With traffic
whose read time-out is short, requests find out first; how much sooner the server then leaves is
counted from the first scrape that shows a request timed out on it.
"""
from __future__ import annotations

import random
import time

from dyups import Admin
from outages import Server, servers
from peers import Peer, fresh_task
from processes import Failed, Talker
from scrape import Page
from work import Bench

EVERY_S = 0.01
PATIENCE_S = 15
CHECK = {"type": "http", "interval": "200ms", "timeout": "200ms", "fall": 2}
TIMED_OUT = "tidegate_upstream_attempts_total"
CLIENTS = 8


class Watcher:
    """Looks at one server again and again."""

    def __init__(self, admin: Admin, server: Server):
        self._admin, self.address = admin, server.address

    def page(self) -> Page:
        return Page(self._admin.get("/metrics"))

    def until(self, what: str, reached) -> float:
        """When a scrape first showed it."""
        end = time.monotonic() + PATIENCE_S
        while not reached(self.page()):
            if time.monotonic() > end:
                raise Failed(f"{self.address}: {what} has not come after {PATIENCE_S} s")
            time.sleep(EVERY_S)
        return time.monotonic()

    def until_up(self) -> None:
        self.until("rotation", lambda page: page.state(self.address) == "up")

    def until_out(self) -> float:
        return self.until("the end of rotation", lambda page: page.state(self.address) != "up")

    def timeouts(self, page: Page) -> float:
        return page.total(TIMED_OUT, server=self.address, outcome="timeout")


def quiet(bench: Bench, peer: Peer, rounds: int) -> list[float]:
    """Without traffic: milliseconds from the stop."""
    directory = bench.fresh("quiet")
    with servers(3, directory, bench.both_cores) as who:
        task = fresh_task(directory, {"u": [s.address for s in who]}, workers=2, check=CHECK)
        with peer.start(task, bench.both_cores) as proxy, Admin(task.admin) as admin:
            del proxy
            return [one_quiet(admin, who[number % 3]) for number in range(rounds)]


def one_quiet(admin: Admin, server: Server) -> float:
    watcher = steady(admin, server)
    begin = time.monotonic()
    server.hang()
    try:
        return (watcher.until_out() - begin) * 1e3
    finally:
        server.wake()


def busy(bench: Bench, peer: Peer, rounds: int, max_fails: int) -> dict:
    """With traffic: milliseconds from the stop and from the first failure, and what clients saw."""
    directory = bench.fresh(f"busy-{max_fails}")
    with servers(3, directory, bench.both_cores) as who:
        task = fresh_task(directory, {"u": [s.address for s in who]}, workers=2, check=CHECK,
                          read_timeout="200ms", server={"max_fails": max_fails})
        asking = [task.port, CLIENTS, 5, directory / "failures"]
        with peer.start(task, bench.both_cores), Admin(task.admin) as admin, \
                Talker("asking.py", asking, bench.both_cores, directory / "asking.log") as crowd:
            crowd.hear(30)
            times = [one_busy(admin, who[number % 3]) for number in range(rounds)]
            crowd.say("stop")
            seen = crowd.hear(60)
    return {"from_stop": [t[0] for t in times], "from_failure": [t[1] for t in times],
            "requests": seen["gets"] + seen["posts"], "get_errors": seen["get_errors"]}


def one_busy(admin: Admin, server: Server) -> tuple[float, float]:
    watcher = steady(admin, server)
    before = watcher.timeouts(watcher.page())
    begin = time.monotonic()
    server.hang()
    try:
        # It may have left at the same moment, and in the same scrape.
        failed = watcher.until("a failure", lambda page: watcher.timeouts(page) > before
                               or page.state(server.address) != "up")
        out = watcher.until_out()
        return (out - begin) * 1e3, max(0, out - failed) * 1e3
    finally:
        server.wake()


def steady(admin: Admin, server: Server) -> Watcher:
    """In rotation, and at no particular moment of its check."""
    watcher = Watcher(admin, server)
    watcher.until_up()
    time.sleep(random.uniform(0.5, 0.9))
    watcher.until_up()
    return watcher
