"""Random changes of pools: most of them good, some that must be refused."""
from __future__ import annotations

import random

from drafts import Draft, No, takers
from ledger import Ledger, Wish

METHODS = ("round_robin", "least_conn", "random_two", "ip_hash", "ewma")
MOST_SERVERS = 6
ADDRESSES = [f"10.9.0.{n}:8080" for n in range(1, 10)]
"""Few, so that changes meet. Nobody ever asks them."""

KINDS = {"put": 18, "delete": 4, "add": 10, "set": 14, "remove": 8, "transaction": 14, "dyups_post": 10,
         "dyups_delete": 2, "restore": 4, "drain": 2, "end_drain": 2}
ALONE = ("restore", "drain", "end_drain")
"""What touches more than its caller's own pools, or goes on after its answer."""


class Wishes:
    def __init__(self, chance: random.Random, ledger: Ledger, names: list[str]):
        self.chance, self.ledger, self.names, self._number = chance, ledger, names, 0

    def any(self) -> Wish:
        """One of any kind, on whatever terms."""
        kind = self.chance.choices(list(KINDS), KINDS.values())[0]
        wish = self._of(kind, self.ledger.draft(), self.names)
        if wish.source != "api":
            return wish
        terms = {"force": self._is(0.5), "dry": self._is(0.1) and kind not in ("drain", "end_drain")}
        if kind not in ("drain", "end_drain"):
            self._number += 1
            terms["reason"] = f"reason {self._number}" if self._is(0.7) else None
            terms["key"] = f"key {self._number} {self.chance.random()}" if self._is(0.15) else None
            terms["wanted"] = self._condition(wish) if self._is(0.2) else None
        return Wish(**{**wish.__dict__, **terms})

    def chain(self, names: list[str], length: int, label: str) -> list[Wish]:
        """Good ones that build on each other and touch nothing but these pools; each has a reason of its own."""
        draft, made = self.ledger.draft(force=True), []
        while len(made) < length:
            kind = self.chance.choices([kind for kind in KINDS if kind not in ALONE],
                                       [share for kind, share in KINDS.items() if kind not in ALONE])[0]
            wish = self._of(kind, draft, names, good=True)
            try:
                trial = self.ledger.draft(force=True)
                trial.pools = dict(draft.pools)
                for step in wish.steps:
                    trial.step(step)
            except No:
                continue
            draft.pools = trial.pools
            reason = f"{label} {len(made)}" if wish.source == "api" else None
            made.append(Wish(**{**wish.__dict__, "force": True, "reason": reason}))
        return made

    def _is(self, share: float) -> bool:
        return self.chance.random() < share

    def _of(self, kind: str, draft: Draft, names: list[str], good: bool = False) -> Wish:
        name = self.chance.choice(names)
        if kind == "transaction":
            return self._transaction(draft, names, good)
        if kind == "dyups_post":
            return Wish(kind, ({"op": "merge", "upstream": name, "definition": self._dyups_definition()},), "dyups")
        if kind == "dyups_delete":
            return Wish(kind, ({"op": "delete_upstream", "upstream": name},), "dyups")
        return Wish(kind, (self._step(kind, name, draft),))

    def _step(self, kind: str, name: str, draft: Draft) -> dict:
        about = {"upstream": name}
        if kind == "put":
            return {"op": "put_upstream", **about, "definition": self._definition()}
        if kind == "delete":
            return {"op": "delete_upstream", **about}
        if kind == "add":
            return {"op": "add_servers", **about, "servers": self._joining(name, draft)}
        if kind == "restore":
            return {"op": "restore", "generation": self._generation()}
        if kind == "end_drain":
            return {"op": "end_drain", "id": self.chance.choice([*draft.drains, 10**9])}
        about["server"] = self._server_of(name, draft)
        if kind == "set":
            return {"op": "set_server", **about, "set": self._setting()}
        return {"op": "remove_server" if kind == "remove" else "drain", **about}

    def _transaction(self, draft: Draft, names: list[str], good: bool) -> Wish:
        """Steps that go together, but for one that may spoil all."""
        steps, tried = [], self.ledger.draft(force=True)
        tried.pools, tried.drains = dict(draft.pools), dict(draft.drains)
        kinds = ["put", "delete", "add", "set", "remove"] + ([] if good else ["drain", "end_drain"])
        count, attempts = self.chance.randint(1, 6), 20
        while len(steps) < count and (attempts := attempts - 1):
            step = self._step(self.chance.choice(kinds), self.chance.choice(names), tried)
            if step["op"] not in ("end_drain", "drain") and not good and self._is(0.05):
                step["if_match"] = self._some_generation(step["upstream"])
            try:
                tried.step(step)
            except No:
                if good or not self._is(0.1):
                    continue
            steps.append(step)
        if not steps:
            steps = [{"op": "put_upstream", "upstream": names[0], "definition": {}}]
        return Wish("transaction", tuple(steps), as_transaction=True)

    def _condition(self, wish: Wish) -> object:
        is_now, choice = self.ledger.condition_on(wish), self.chance.random()
        if wish.steps[0]["op"] == "put_upstream" and choice < 0.2:
            return "absent"
        if choice < 0.3:
            return "any"
        stale = (self.chance.randint(1, 10**6),)
        return stale if is_now is None or choice < 0.5 else (is_now, *stale) if choice < 0.6 else (is_now,)

    def _some_generation(self, name: str) -> int:
        pool = self.ledger.pools.get(name)
        return pool.generation if pool and self._is(0.8) else 1

    def _generation(self) -> int:
        oldest, newest = self.ledger.oldest, self.ledger.generation
        far = self.chance.randint(oldest, newest)
        near = max(oldest, newest - int(self.chance.expovariate(1 / 20)))
        return newest + 5 if self._is(0.03) else near if self._is(0.7) else far

    def _server_of(self, name: str, draft: Draft) -> str:
        pool = draft.pools.get(name)
        listed = [one["address"] for one in pool.servers] if pool else []
        return self.chance.choice(listed if listed and self._is(0.95) else ADDRESSES)

    def _definition(self) -> dict:
        made = {"servers": self._servers(self.chance.randint(1, MOST_SERVERS))}
        if self._is(0.5):
            made["balance"] = self.chance.choice(METHODS)
        if self._is(0.3):
            made["keepalive"] = self.chance.randint(0, 99)
        if self._is(0.2):
            made["timeouts"] = {"read": f"{self.chance.randint(1, 50)}s"}
        if self._is(0.2):
            made["next"] = {"tries": self.chance.randint(1, 5)}
        if self._is(0.05):
            del made["servers"]
        return made

    def _dyups_definition(self) -> dict:
        servers = [{key: value for key, value in one.items() if key in ("address", "weight", "backup", "down")}
                   for one in self._servers(self.chance.randint(1, MOST_SERVERS))]
        for one in servers:
            one["weight"] = one.get("weight") or 1
        return {"servers": servers, "balance": self.chance.choice(("round_robin", "least_conn", "ip_hash"))}

    def _servers(self, count: int) -> list[dict]:
        return [{"address": address, **self._setting()} for address in self.chance.sample(ADDRESSES, count)]

    def _joining(self, name: str, draft: Draft) -> list:
        pool = draft.pools.get(name)
        free = [address for address in ADDRESSES if not pool or not pool.server(address)]
        chosen = self.chance.sample(ADDRESSES if self._is(0.1) or not free else free, 1)
        return [address if self._is(0.5) else {"address": address, **self._setting()} for address in chosen]

    def _setting(self) -> dict:
        every = {"weight": lambda: self.chance.choice((0, 1, 2, 5, 9)),
                 "max_conns": lambda: self.chance.randint(0, 99),
                 "max_fails": lambda: self.chance.randint(0, 3),
                 "fail_timeout": lambda: f"{self.chance.randint(1, 50)}s",
                 "slow_start": lambda: self.chance.choice(("0s", "5s")), "backup": lambda: self._is(0.2),
                 "down": lambda: self._is(0.3),
                 "tags": lambda: self.chance.choice(({}, {"version": str(self.chance.randint(1, 9))}))}
        return {key: every[key]() for key in self.chance.sample(list(every), self.chance.choice((0, 1, 1, 2, 3)))}
