"""Whether a running Tidegate is what the ledger says."""
from __future__ import annotations

import random

from api import Api
from drafts import takers
from ledger import Ledger


class Mismatch(Exception):
    """The text says what is not as it has to be."""


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Mismatch(f"{what}:\n  is       {found}\n  has to be {wanted}")


def pool(api: Api, ledger: Ledger, name: str) -> None:
    answer, wanted = api.exchange("GET", f"/api/v1/upstreams/{name}"), ledger.pools.get(name)
    if wanted is None:
        return same(f"{name}, deleted", answer.status, 404)
    found = answer.body
    same(f"GET of {name}", answer.status, 200)
    same(f"definition of {name}", found["definition"], wanted.definition)
    same(f"generation and source of {name}", (found["generation"], found["source"], answer.etag),
         (wanted.generation, wanted.source, f'"{wanted.generation}"'))
    same(f"what the file says of {name}", found["file"], ledger.file.get(name))
    drains = [number for number, drain in ledger.drains.items() if drain.upstream == name]
    same(f"drains of {name}", sorted(found["drains"]), sorted(drains))
    serving = takers(wanted, name, ledger.drains)
    states = {one["address"]: "down" if one["down"] else "up" if one["address"] in serving else "draining"
              for one in wanted.servers}
    return same(f"states of {name}", {one["address"]: one["state"] for one in found["servers"]}, states)


def server(api: Api, ledger: Ledger, name: str, address: str) -> None:
    """That its ETag is the generation that last changed it."""
    found, known = api.exchange("GET", f"/api/v1/upstreams/{name}/servers/{address}"), ledger.pools.get(name)
    since = known and known.since.get(address)
    same(f"{address} of {name}", (found.status, found.etag), (200, f'"{since}"') if since else (404, ""))


def newest(api: Api) -> int:
    page = api.ask("GET", "/api/v1/generations?limit=1")
    return page["generations"][0]["generation"]


def whole(api: Api, ledger: Ledger, chance: random.Random) -> None:
    listed = api.ask("GET", "/api/v1/upstreams")
    same("generation", listed["generation"], ledger.generation)
    same("list of pools", {row["name"]: row["generation"] for row in listed["upstreams"]},
         {name: known.generation for name, known in ledger.pools.items()})
    same("deleted pools of the file", sorted(listed["deleted"]), sorted(ledger.file.keys() - ledger.pools.keys()))
    for name in ledger.pools:
        pool(api, ledger, name)
    drains = api.ask("GET", "/api/v1/drains")["drains"]
    same("drains", {one["id"]: (one["upstream"], one["server"], one["state"]) for one in drains},
         {number: (one.upstream, one.server, "drained") for number, one in ledger.drains.items()})
    history(api, ledger, chance.choice((1000, 1000, 400)))


def history(api: Api, ledger: Ledger, limit: int) -> None:
    """All of it, page by page."""
    generation = ledger.generation
    for entry, oldest in entries(api, limit):
        same("oldest generation", oldest, ledger.oldest)
        same("entry of the history", entry, ledger.entries[generation - 1])
        generation -= 1
    same("last generation of the history", generation + 1, ledger.oldest)


def entries(api: Api, limit: int = 1000):
    """The newest first, without their time and with pools in order, and what is said to be the oldest."""
    before = ""
    while True:
        page = api.ask("GET", f"/api/v1/generations?limit={limit}{before}")
        for entry in page["generations"]:
            del entry["at"]
            yield {**entry, "changed": sorted(entry["changed"])}, page["oldest"]
        if "next" not in page:
            return
        before = f"&before={page['next']}"
