"""The JSON API as a script sees it: one keep-alive connection, blocking."""
from __future__ import annotations

import json
import time
from dataclasses import dataclass

from dyups import Admin, Refused
from processes import Failed


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    """By lower-case name."""
    body: dict

    @property
    def etag(self) -> str:
        return self.fields.get("etag", "")

    def __str__(self) -> str:
        return f"{self.status} {json.dumps(self.body)[:600]}"


class Api(Admin):
    @property
    def caller(self) -> str:
        """What the other side calls us."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def exchange(self, method: str, path: str, text: str = "", fields: dict | None = None) -> Answer:
        """Whatever is answered; what is no JSON becomes the detail of a problem."""
        status, head, text = self._ask(method, path, text, fields)
        named = (line.partition(":") for line in head.split("\r\n")[1:])
        return Answer(status, {name.lower(): value.strip() for name, _, value in named}, parsed(text))

    def ask(self, method: str, path: str, wanted: dict | None = None) -> dict:
        """The answer's JSON; `Refused` with what a problem document says."""
        answer = self.exchange(method, path, json.dumps(wanted) if wanted is not None else "")
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path} {json.dumps(wanted or {})[:600]}: {answer.status}, {said(answer.body)}")
        return answer.body


def parsed(text: str) -> dict:
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return {"detail": text.strip()[:300]}


def said(problem: dict) -> str:
    errors = "; ".join(f"{e.get('field')}: {e.get('reason')}" for e in problem.get("errors", []))
    return " ".join(filter(None, (problem.get("title", ""), problem.get("detail", ""), errors))) or "no reason given"


@dataclass(frozen=True)
class Reading:
    """A drain as the proxy tells it, and when; the count is of some moment while it was asked for."""
    at: float
    took: float
    state: str
    closed: int
    left: int
    cut: int
    remaining: int


class Drain:
    """One drain that was asked for."""

    def __init__(self, api: Api, wanted: dict):
        self._api, self.wanted = api, wanted
        self.id = api.ask("POST", "/api/v1/drains", wanted).get("id", "")
        if not self.id:
            raise Failed("POST /api/v1/drains: the answer has no id")

    def on(self, api: Api) -> Drain:
        """The same one, over another connection."""
        self._api = api
        return self

    def read(self) -> Reading:
        begin = time.time()
        found = self._api.ask("GET", f"/api/v1/drains/{self.id}")
        took = time.time() - begin
        try:
            counts = [int(found[name]) for name in ("closed", "left", "cut")]
            return Reading(begin + took / 2, took, found["state"], *counts, int(found["remaining"]["tunnels"]))
        except (KeyError, TypeError) as missing:
            raise Failed(f"GET /api/v1/drains/{self.id}: no {missing} in {json.dumps(found)[:600]}") from missing

    def listed(self) -> bool:
        """Whether the list of all drains has it."""
        found = self._api.ask("GET", "/api/v1/drains")
        return any(drain.get("id") == self.id for drain in listing(found, "drains"))

    def change(self, **what: object) -> None:
        self._api.ask("PATCH", f"/api/v1/drains/{self.id}", what)

    def until(self, state: str, patience_s: float) -> Reading:
        end = time.monotonic() + patience_s
        while (now := self.read()).state != state:
            if time.monotonic() > end:
                raise Failed(f"the drain is not {state} after {patience_s:.0f} s but {now}")
            time.sleep(0.05)
        return now


def listing(found: object, name: str) -> list[dict]:
    """A list that stands alone or under its name."""
    return found if isinstance(found, list) else found.get(name, [])
