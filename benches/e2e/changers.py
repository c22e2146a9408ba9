"""Somebody who changes pools at a steady pace, in a process of its own.

`changers.py ADMIN NUMBER OF POOLS HOT SHARE RATE SERVERS...` owns every OF-th pool from NUMBER on. SHARE of its
changes are of hot pools, the first HOT. It changes from the line `go` until the line `rest`, and then says what it
did.
"""
from __future__ import annotations

import json
import random
import select
import sys
import time

from api import Api

PREFIX = "pool"


class Changer:
    def __init__(self, port: int, number: int, of: int, pools: int, hot: int, share: float, servers: list[str]):
        self.port, self.servers, self.share, self.place = port, servers, share, number / of
        self.hot, self.cold = range(number, hot, of), range(hot + number, pools, of)
        self.listed: dict[str, list[str]] = {}
        self.failed, self.note, self.took_us = 0, "", []

    def work(self, rate: float) -> dict:
        """At its pace until it is told to rest. One that is late does not wait, so that it catches up."""
        # While it rested, a connection would have been closed as idle.
        self.api = Api(self.port)
        # All of them began at once; in step they would be bursts, not so many a second.
        begin, done = time.monotonic() + self.place / rate, 0
        self.failed, self.note, self.took_us = 0, "", []
        while not select.select([sys.stdin], [], [], max(0, begin + done / rate - time.monotonic()))[0]:
            self._change()
            done += 1
        sys.stdin.readline()
        return {"done": done, "seconds": time.monotonic() - begin, "failed": self.failed, "note": self.note,
                "took_us": self.took_us}

    def _change(self) -> None:
        name = f"{PREFIX}{random.choice(self.hot if self.hot and random.random() < self.share else self.cold)}"
        listed = self.listed.setdefault(name, self.servers[:2])
        method, path, body = random.choice((self._weight, self._put, self._exchange, self._dyups))(name, listed)
        begin = time.monotonic()
        answer = self.api.exchange(method, path, body if isinstance(body, str) else json.dumps(body))
        self.took_us.append(round((time.monotonic() - begin) * 1e6))
        if answer.status != 200:
            self.failed, self.note = self.failed + 1, f"{method} {path}: {answer}"

    def _weight(self, name: str, listed: list[str]) -> tuple:
        path = f"/api/v1/upstreams/{name}/servers/{random.choice(listed)}"
        return "PATCH", path, {"weight": random.randint(1, 9)}

    def _put(self, name: str, listed: list[str]) -> tuple:
        listed[:] = random.sample(self.servers, random.randint(1, 3))
        return "PUT", f"/api/v1/upstreams/{name}", {"servers": [{"address": server} for server in listed]}

    def _exchange(self, name: str, listed: list[str]) -> tuple:
        """One server goes and another comes, in one step."""
        going, coming = random.choice(listed), random.choice([one for one in self.servers if one not in listed])
        listed[listed.index(going)] = coming
        return "POST", "/api/v1/transactions", {"operations": [
            {"op": "add_servers", "upstream": name, "servers": [coming]},
            {"op": "remove_server", "upstream": name, "server": going}]}

    def _dyups(self, name: str, listed: list[str]) -> tuple:
        listed[:] = random.sample(self.servers, 2)
        return "POST", f"/upstream/{name}", " ".join(f"server {server};" for server in listed)


def main(port: str, number: str, of: str, pools: str, hot: str, share: str, rate: str, *servers: str) -> None:
    changer = Changer(int(port), int(number), int(of), int(pools), int(hot), float(share), list(servers))
    print(json.dumps({"ready": True}), flush=True)
    while sys.stdin.readline():
        print(json.dumps(changer.work(float(rate))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
