"""How a wish is put into a request, and what is to be answered."""
from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

from ledger import Wish

ROOT = "/api/v1"
METHODS = {"put_upstream": "PUT", "delete_upstream": "DELETE", "add_servers": "POST", "set_server": "PATCH",
           "remove_server": "DELETE", "drain": "POST", "end_drain": "DELETE", "restore": "POST"}


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    text: str
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> tuple:
        """What a key stands for."""
        return self.method, self.path, self.text

    def __str__(self) -> str:
        return f"{self.method} {self.path} {dict(self.fields)} {self.text[:400]}"


def ask(wish: Wish) -> Ask:
    if wish.source == "dyups":
        return dyups(wish.steps[0])
    said = {name: value for name, value in (("reason", wish.reason), ("force", wish.force)) if value}
    if wish.as_transaction:
        method, path, body = "POST", "/transactions", {"operations": wish.steps, **said}
    else:
        method, path, body = single(wish.steps[0], said)
    query = ["dry_run=true"] if wish.dry else []
    if body is None:
        query += [f"{name}={quote(text(value))}" for name, value in said.items()]
    target = ROOT + path + ("?" + "&".join(query) if query else "")
    return Ask(method, target, "" if body is None else json.dumps(body), tuple(fields(wish)))


def fields(wish: Wish):
    if wish.key:
        yield "Idempotency-Key", wish.key
    if wish.wanted == "absent":
        yield "If-None-Match", "*"
    elif wish.wanted:
        yield "If-Match", "*" if wish.wanted == "any" else ", ".join(f'"{one}"' for one in wish.wanted)


def single(step: dict, said: dict) -> tuple[str, str, dict | None]:
    """Method, path and body of a resource's own request; no body: what is said goes into the query."""
    op = step["op"]
    if op == "restore":
        return METHODS[op], f"/generations/{step['generation']}/restore", said
    if op == "drain":
        return METHODS[op], "/drains", {"upstream": step["upstream"], "server": step["server"], **said}
    if op == "end_drain":
        return METHODS[op], f"/drains/{step['id']}", {}
    path = f"/upstreams/{step['upstream']}"
    if op == "put_upstream":
        return METHODS[op], path, {**step["definition"], **said}
    if op == "delete_upstream":
        return METHODS[op], path, None
    if op == "add_servers":
        return METHODS[op], f"{path}/servers", {"servers": step["servers"], **said}
    path = f"{path}/servers/{step['server']}"
    return (METHODS[op], path, None) if op == "remove_server" else (METHODS[op], path, {**step["set"], **said})


def dyups(step: dict) -> Ask:
    path = f"/upstream/{step['upstream']}"
    if step["op"] == "delete_upstream":
        return Ask("DELETE", path, "")
    wanted = step["definition"]
    method = "" if wanted["balance"] == "round_robin" else f"{wanted['balance']}; "
    return Ask("POST", path, method + " ".join(f"server {line(one)};" for one in wanted["servers"]))


def line(server: dict) -> str:
    words = [server["address"], f"weight={server['weight']}"]
    return " ".join(words + [word for word in ("backup", "down") if server.get(word)])


def text(value: object) -> str:
    return "true" if value is True else str(value)
