"""A Tidegate with a state directory, the ledger beside it, and one connection to its API."""
from __future__ import annotations

import collections
import dataclasses
import random
import signal
import time
from pathlib import Path

import audit
from api import Answer, Api
from asks import Ask
from drafts import definition
from ledger import Ledger
from peers import Peer, Proxy, fresh_task
from processes import Failed
from tricks import Clock, SmallDisk
from wishes import Wishes
from work import Bench

POOLS = [f"p{n}" for n in range(30)]
FROM_FILE = POOLS[:6]
ALWAYS = "u"
"""A pool of the file that nobody changes: traffic goes to it."""
STOPPING_S, SETTLING_S = 30, 20


class World:
    def __init__(self, bench: Bench, peer: Peer, origin_port: int, seed: int):
        self.chance, self.seed = random.Random(seed), seed
        self.trace: collections.deque[str] = collections.deque(maxlen=20)
        self.counts: collections.Counter = collections.Counter()
        self.directory: Path = bench.fresh("truth")
        pools = {ALWAYS: [f"127.0.0.1:{origin_port}"], **{name: self.some_servers() for name in FROM_FILE}}
        task = fresh_task(self.directory, pools, workers=2, durable=True)
        self.disk: SmallDisk | None = None
        self.clock = Clock(self.directory)
        self.proxy = Proxy(peer, task, bench.both_cores, environment=self.clock.environment)
        self.ledger = Ledger()
        self.wishes = Wishes(self.chance, self.ledger, POOLS)
        self.api: Api | None = None

    def some_servers(self) -> list[str]:
        return [f"10.8.0.{n}:80" for n in self.chance.sample(range(1, 10), self.chance.randint(1, 4))]

    def start(self) -> None:
        self.proxy.__enter__()
        self.ledger.read_file(self._file(), "start")
        self.api = Api(self.proxy.task.admin, patience_s=30)

    def kill(self) -> None:
        if not self.proxy.child.running():
            raise Failed(f"it ended by itself\n{self.proxy.child.tail()}")
        self.proxy.child.kill()
        self.api = None

    def stop(self) -> None:
        """As an init system would."""
        self.api = None
        self.proxy.child.stop(STOPPING_S)
        if self.proxy.child.process.returncode == -signal.SIGKILL:
            raise Failed(f"it did not stop within {STOPPING_S} s\n{self.proxy.child.tail()}")

    def ask(self, asked: Ask) -> Answer:
        self.trace.append(str(asked))
        answer = self.api.exchange(asked.method, asked.path, asked.text, dict(asked.fields))
        self.trace[-1] += f" -> {answer}"
        return answer

    def rewrite_file(self) -> None:
        """Another configuration: pools come, go or have other servers."""
        pools = dict(self.proxy.task.pools)
        for name in self.chance.sample(POOLS[:10], self.chance.randint(1, 3)):
            if name in pools and self.chance.random() < 0.3:
                del pools[name]
            else:
                pools[name] = self.some_servers()
        if pools == self.proxy.task.pools:
            pools[FROM_FILE[0]] = [*pools.get(FROM_FILE[0], []), f"10.8.1.{self.chance.randint(1, 250)}:80"]
        self.proxy.task = dataclasses.replace(self.proxy.task, pools=pools)
        self.trace.append(f"another file: {pools}")

    def reload(self) -> None:
        """SIGHUP, until it has had its effect."""
        self.proxy.reload()
        if self.ledger.read_file(self._file(), "SIGHUP"):
            self.until(lambda: audit.newest(self.api) >= self.ledger.generation, "the reload's generation")

    def settle(self, begun: set[int]) -> None:
        """Until servers without tunnels were found empty, each of which makes a generation."""
        for number in begun:
            self.until(lambda n=number: "finished" in self.api.ask("GET", f"/api/v1/drains/{n}"), f"drain {number}")
        left = {number: self.ledger.drains[number].upstream for number in begun}
        if left:
            page = self.api.ask("GET", f"/api/v1/generations?limit={len(left)}")
            for entry in reversed(page["generations"]):
                ended = next((number for number, name in left.items() if [name] == entry["changed"]), None)
                if ended is None:
                    raise audit.Mismatch(f"no drain ends by {entry}")
                del left[ended]
                self.ledger.finished(ended)

    def until(self, holds, what: str) -> None:
        end = time.monotonic() + SETTLING_S
        while not holds():
            if time.monotonic() > end:
                raise audit.Mismatch(f"{what} did not come within {SETTLING_S} s")
            time.sleep(0.003)

    def _file(self) -> dict[str, dict]:
        return {name: definition({"servers": [{"address": server} for server in servers]})
                for name, servers in self.proxy.task.pools.items()}
