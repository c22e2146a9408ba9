"""One operation after the other, each judged by the ledger before it is asked for and compared after it."""
from __future__ import annotations

import dataclasses

import audit
from api import Answer
from asks import Ask, ask
from audit import Mismatch, same
from drafts import Draft, No
from ledger import Answered, Wish
from world import World

REPEATABLE = 40


class Turns:
    def __init__(self, world: World):
        self.world, self.ledger = world, world.ledger
        self.is_full = False
        """No change can be stored."""
        self._keyed: list[tuple[Wish, Answer]] = []

    def change(self, wish: Wish) -> int:
        """Asks for it; compares answer and pools with what had to come of it. The status of the answer."""
        asked, now = ask(wish), self.world.clock.now_ms()
        known = self.ledger.keys.find(wish.key, now) if wish.key and not wish.dry else None
        if known:
            return self._again(wish, asked, known)
        try:
            draft = self.ledger.judge(wish)
        except No as no:
            self.world.counts["refused"] += 1
            return self._refused(asked, no.status)
        if wish.dry:
            return self._dry(asked, draft)
        if self.is_full:
            return self._refused(asked, 507)
        answer = self.world.ask(asked)
        self.acknowledged(wish, draft, answer)
        if wish.key:
            changed = tuple(sorted(draft.defined | draft.drained | draft.undrained))
            self.ledger.keys.insert(wish.key, Answered(draft.generation, now, changed, asked.identity))
            self._keyed = [*self._keyed, (wish, answer)][-REPEATABLE:]
        return answer.status

    def acknowledged(self, wish: Wish, draft: Draft, answer: Answer) -> None:
        """A yes, and what it says."""
        is_order = not wish.as_transaction and wish.steps[0]["op"] == "drain"
        same("status", answer.status, 201 if is_order else 200)
        if is_order:
            same("id and durability", (answer.body["id"], answer.body["durable"]), (max(draft.begun), True))
        elif wish.source != "dyups":
            changed = sorted(draft.defined | draft.drained | draft.undrained)
            found = {name: answer.body[name] for name in ("generation", "durable")}
            same("answer", {**found, "changed": sorted(answer.body["changed"])},
                 {"generation": draft.generation, "durable": True, "changed": changed})
            same("repeated", "idempotent-replayed" in answer.fields, False)
            self._tagged(wish, draft, answer)
        self.ledger.take(draft, self.world.api.caller, wish.reason)
        self.world.settle(draft.begun)
        for name in draft.defined | draft.drained | draft.undrained:
            audit.pool(self.world.api, self.ledger, name)
        if wish.steps[0]["op"] in ("set_server", "remove_server"):
            audit.server(self.world.api, self.ledger, wish.steps[0]["upstream"], wish.steps[0]["server"])

    @staticmethod
    def _tagged(wish: Wish, draft: Draft, answer: Answer) -> None:
        """The ETag of an answer is good for the next condition; what is gone has none."""
        step, tag = wish.steps[0], f'"{draft.generation}"'
        if not wish.as_transaction and step["op"] in ("delete_upstream", "end_drain", "remove_server"):
            tag = ""
        if not wish.as_transaction and step["op"] in ("drain", "set_server"):
            tag = f'"{draft.pools[step["upstream"]].since[step["server"]]}"'
        same("ETag of the answer", answer.etag or "", tag)

    def repeat(self) -> None:
        """A key again: with its request, or with another."""
        if not self._keyed:
            return
        wish, _ = self.world.chance.choice(self._keyed)
        if self.world.chance.random() < 0.2:
            wish = dataclasses.replace(wish, reason="another request")
        self.change(wish)

    def _again(self, wish: Wish, asked: Ask, known: Answered) -> int:
        if asked.identity != known.request:
            return self._refused(asked, 422)
        self.world.counts["repeated"] += 1
        answer = self.world.ask(asked)
        same("status of a repeated request", answer.status, 200)
        first = next((first for one, first in reversed(self._keyed) if one.key == wish.key), answer)
        same("repeated", answer.fields.get("idempotent-replayed"), "true")
        names = ("generation", "durable")
        same("answer to a repeated request", {name: answer.body[name] for name in names},
             {name: first.body[name] for name in names})
        same("changed of a repeated request", sorted(answer.body["changed"]), sorted(first.body["changed"]))
        self._unchanged()
        return answer.status

    def _refused(self, asked: Ask, status: int) -> int:
        answer = self.world.ask(asked)
        same("status of a refusal", answer.status, status)
        if asked.path.startswith("/api/"):
            same("kind of a refusal", answer.fields.get("content-type"), "application/problem+json")
        self._unchanged()
        return status

    def _dry(self, asked: Ask, draft: Draft) -> int:
        self.world.counts["dry runs"] += 1
        answer = self.world.ask(asked)
        same("status of a dry run", answer.status, 200)
        same("answer to a dry run", (answer.body["generation"], sorted(answer.body["changed"]),
                                     sorted(answer.body["leaves_nobody"])),
             (draft.generation, sorted(draft.defined | draft.drained | draft.undrained),
              self.ledger.nobody_left(draft)))
        self._unchanged()
        return 200

    def _unchanged(self) -> None:
        found = audit.newest(self.world.api)
        if found != self.ledger.generation:
            raise Mismatch(f"generation {found} after what must change nothing, {self.ledger.generation} before")
