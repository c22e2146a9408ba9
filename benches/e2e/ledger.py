"""The book that is kept beside a running Tidegate: what its pools, drains and generations have to be after
all that was acknowledged.
"""
from __future__ import annotations

from dataclasses import dataclass

from drafts import Draft, Drain, No, Pool, takers

REMEMBERED = 10_000
"""Generations, by default."""
KEY_KEPT_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Wish:
    """A change somebody asks for, whichever way it is put into a request."""
    kind: str
    steps: tuple[dict, ...]
    source: str = "api"
    as_transaction: bool = False
    reason: str | None = None
    force: bool = False
    wanted: object = None
    """Of what it is about: `any`, `absent`, or the generations one of which it must have."""
    key: str | None = None
    dry: bool = False


@dataclass(frozen=True)
class Answered:
    """What somebody was told who asked with a key."""
    generation: int
    at_ms: int
    changed: tuple[str, ...]
    request: object


class Keys:
    """Those of the last day by the proxy's clock. The oldest make room for later ones."""

    def __init__(self):
        self._by_text: dict[str, Answered] = {}
        self._in_order: list[tuple[str, Answered]] = []

    def find(self, text: str, now_ms: int) -> Answered | None:
        found = self._by_text.get(text)
        return found if found and now_ms - found.at_ms <= KEY_KEPT_MS else None

    def insert(self, text: str, answered: Answered) -> None:
        while self._in_order and answered.at_ms - self._in_order[0][1].at_ms > KEY_KEPT_MS:
            old, was = self._in_order.pop(0)
            if self._by_text.get(old) is was:
                del self._by_text[old]
        self._by_text[text] = answered
        self._in_order.append((text, answered))


class Ledger:
    def __init__(self):
        self.generation = 0
        self.pools: dict[str, Pool] = {}
        self.drains: dict[int, Drain] = {}
        self.last_drain = 0
        self.file: dict[str, dict] = {}
        self.keys = Keys()
        self.entries: list[dict] = []
        self._past: list[dict[str, dict]] = [{}]

    @property
    def oldest(self) -> int:
        return max(1, self.generation - REMEMBERED + 1)

    def definitions(self, generation: int) -> dict[str, dict]:
        if not self.oldest <= generation <= self.generation:
            raise No(404, f"generation {generation} is not remembered")
        return self._past[generation]

    def draft(self, source: str = "api", force: bool = False) -> Draft:
        return Draft(self.generation + 1, source, dict(self.pools), dict(self.drains), self.last_drain,
                     self.definitions, force)

    def judge(self, wish: Wish) -> Draft:
        """What comes of a wish, or `No`."""
        self._check_conditions(wish)
        draft = self.draft(wish.source, wish.force or wish.dry)
        for step in wish.steps:
            draft.step(step)
        draft.end_orphans()
        if wish.source == "api" and not wish.force and not wish.dry and (left := self.nobody_left(draft)):
            raise No(409, f"nobody left in {left}")
        return draft

    def nobody_left(self, draft: Draft) -> list[str]:
        """Pools that had somebody who takes requests and have nobody then."""
        touched = draft.defined | draft.drained | draft.undrained
        both = [name for name in touched if name in self.pools and name in draft.pools]
        return sorted(name for name in both if takers(self.pools[name], name, self.drains)
                      and not takers(draft.pools[name], name, draft.drains))

    def take(self, draft: Draft, caller: str, reason: str | None = None) -> None:
        """A draft that was acknowledged is the newest generation."""
        self.generation, self.last_drain = draft.generation, draft.last_drain
        self.pools, self.drains = draft.pools, draft.drains
        self.entries.append({"generation": draft.generation, "source": draft.source, "caller": caller,
                             "reason": reason, "changed": sorted(draft.defined | draft.drained
                                                                  | draft.undrained)})
        self._past.append({name: pool.definition for name, pool in draft.pools.items()})

    def finished(self, drain: int) -> None:
        """A drain's end is a generation too."""
        draft = self.draft("drain")
        draft.drained.add(self.drains[drain].upstream)
        self.take(draft, "drain")

    def read_file(self, given: dict[str, dict], caller: str) -> bool:
        """The configuration file, at a start or a reload. Whether it made a generation."""
        draft = self.draft("file")
        news = [name for name, wanted in given.items() if self.file.get(name) != wanted]
        gone = self.file.keys() - given.keys()
        for name in news:
            draft.put(name, given[name])
        for name in gone:
            if name in draft.pools and draft.pools[name].source == "file":
                draft.delete_upstream({"upstream": name})
        draft.end_orphans()
        self.file = dict(given)
        if news or gone or not self.generation:
            self.take(draft, caller)
            return True
        return False

    def condition_on(self, wish: Wish) -> int | None:
        """The generation of what a wish is about."""
        step = wish.steps[0]
        if wish.as_transaction or step["op"] == "restore":
            return self.generation
        return self._generation_of(step)

    def _generation_of(self, step: dict) -> int | None:
        pool = self.pools.get(step["upstream"])
        if not pool or step["op"] not in ("set_server", "remove_server"):
            return pool and pool.generation
        return pool.since.get(step["server"])

    def _check_conditions(self, wish: Wish) -> None:
        asked = [(wish.wanted, self.condition_on(wish))] if wish.wanted else []
        asked += [((step["if_match"],), self._generation_of(step)) for step in wish.steps if "if_match" in step]
        for wanted, found in asked:
            holds = {"any": found is not None, "absent": found is None}
            if not (holds[wanted] if isinstance(wanted, str) else found in wanted):
                raise No(412, f"{found} is not {wanted}")
