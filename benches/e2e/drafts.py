"""What the operations of a change make of pools and drains, as the interface promises: plain values in,
plain values out, or a refusal.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

SERVER = {"weight": 1, "max_conns": 0, "max_fails": 1, "fail_timeout": "10s", "backup": False, "down": False}
ABSENT_WHEN = {"slow_start": "0s", "tags": {}}
"""What a definition does not show: that it is not asked for."""


class No(Exception):
    """It is refused, with that status."""

    def __init__(self, status: int, why: str):
        super().__init__(f"{status}, {why}")
        self.status = status


@dataclass(frozen=True)
class Pool:
    definition: dict
    generation: int
    """That last changed it."""
    source: str
    since: dict[str, int]
    """The generation that last changed each server."""

    @property
    def servers(self) -> list[dict]:
        return self.definition.get("servers", [])

    def server(self, address: str) -> dict | None:
        return next((server for server in self.servers if server["address"] == address), None)


@dataclass(frozen=True)
class Drain:
    upstream: str
    server: str


def server(given: dict) -> dict:
    """In full, as it is shown."""
    whole = {**SERVER, **given}
    return {key: value for key, value in whole.items() if key not in ABSENT_WHEN or value != ABSENT_WHEN[key]}


def definition(given: dict) -> dict:
    return {**given, "servers": [server(one) for one in given["servers"]]} if "servers" in given else dict(given)


def check(wanted: dict) -> None:
    servers = wanted.get("servers", [])
    backups = [one for one in servers if one["backup"]]
    if servers and len(backups) == len(servers):
        raise No(400, "nothing but backup servers")
    if backups and wanted.get("balance") == "ip_hash":
        raise No(400, "backup servers under ip_hash")


@dataclass
class Draft:
    """The next generation while it is being made."""
    generation: int
    source: str
    pools: dict[str, Pool]
    drains: dict[int, Drain]
    last_drain: int
    past: Callable[[int], dict[str, dict]]
    """Definitions of an earlier generation."""
    force: bool = False
    defined: set[str] = field(default_factory=set)
    drained: set[str] = field(default_factory=set)
    undrained: set[str] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    """Drains that it began, or began anew."""

    def step(self, step: dict) -> None:
        getattr(self, step["op"])(step)

    def known(self, name: str) -> Pool:
        if name not in self.pools:
            raise No(404, f"no pool {name}")
        return self.pools[name]

    def listed(self, step: dict) -> Pool:
        pool = self.known(step["upstream"])
        if not pool.server(step["server"]):
            raise No(404, f"no server {step['server']}")
        return pool

    def put(self, name: str, wanted: dict) -> None:
        check(wanted)
        before = self.pools.get(name)
        since = {}
        for one in wanted.get("servers", []):
            address = one["address"]
            same = before and before.server(address) == one
            since[address] = before.since[address] if same else self.generation
        source = "file" if self.source == "file" else "api"
        self.pools[name] = Pool(wanted, self.generation, source, since)
        self.defined.add(name)

    def put_upstream(self, step: dict) -> None:
        self.put(step["upstream"], definition(step["definition"]))

    def delete_upstream(self, step: dict) -> None:
        self.known(step["upstream"])
        del self.pools[step["upstream"]]
        self.defined.add(step["upstream"])

    def relist(self, step: dict, servers: list[dict]) -> None:
        self.put(step["upstream"], {**self.pools[step["upstream"]].definition, "servers": servers})

    def add_servers(self, step: dict) -> None:
        listed = list(self.known(step["upstream"]).servers)
        for one in step["servers"]:
            one = server({"address": one} if isinstance(one, str) else one)
            if any(other["address"] == one["address"] for other in listed):
                raise No(409, f"{one['address']} is there already")
            listed.append(one)
        self.relist(step, listed)

    def set_server(self, step: dict) -> None:
        listed = self.listed(step).servers
        self.relist(step, [server({**one, **step["set"]}) if one["address"] == step["server"] else one
                           for one in listed])

    def remove_server(self, step: dict) -> None:
        listed = self.listed(step).servers
        self.relist(step, [one for one in listed if one["address"] != step["server"]])

    def merge(self, step: dict) -> None:
        """A POST of dyups: servers and method, no check, the rest as it was."""
        before = self.pools.get(step["upstream"])
        kept = {key: value for key, value in before.definition.items() if key != "check"} if before else {}
        if all(one.get("backup") for one in step["definition"]["servers"]):
            raise No(500, "nothing but backup servers")
        try:
            self.put(step["upstream"], {**kept, **definition(step["definition"])})
        except No as no:
            raise No(500, str(no)) from no

    def restore(self, step: dict) -> None:
        was = self.past(step["generation"])
        for name in self.pools.keys() - was.keys():
            self.delete_upstream({"upstream": name})
        for name, wanted in was.items():
            if name not in self.pools or self.pools[name].definition != wanted:
                self.put(name, wanted)

    def drain(self, step: dict) -> None:
        wanted = Drain(step["upstream"], step["server"])
        known = next((number for number, drain in self.drains.items() if drain == wanted), None)
        if known is None:
            takers = self.takers(self.listed(step), wanted.upstream)
            if takers == [wanted.server] and not self.force:
                raise No(409, "nobody else takes requests")
            known = max(self.generation, self.last_drain + 1)
        self.last_drain = max(known, self.last_drain)
        self.drains[known] = wanted
        self.drained.add(wanted.upstream)
        self.begun.add(known)

    def end_drain(self, step: dict) -> None:
        if step["id"] not in self.drains:
            raise No(404, f"no drain {step['id']}")
        self.undrained.add(self.drains.pop(step["id"]).upstream)
        self.begun.discard(step["id"])

    def takers(self, pool: Pool, name: str) -> list[str]:
        """Addresses of a pool's servers that take requests."""
        return takers(pool, name, self.drains)

    def end_orphans(self) -> None:
        """A drain ends with its server."""
        for number, drain in list(self.drains.items()):
            if drain.upstream not in self.pools or not self.pools[drain.upstream].server(drain.server):
                del self.drains[number]
                self.begun.discard(number)


def takers(pool: Pool, name: str, drains: dict[int, Drain]) -> list[str]:
    out = {drain.server for drain in drains.values() if drain.upstream == name}
    return [one["address"] for one in pool.servers
            if not one["down"] and one["weight"] and one["address"] not in out]
