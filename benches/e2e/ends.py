"""What a process may meet: kill -9 with changes in flight, a restart, another file, a full disk, a clock that
jumps.
"""
from __future__ import annotations

import contextlib
import datetime
import http.client
import threading
import time
from dataclasses import dataclass, field

import audit
from api import Answer, Api
from asks import ask
from audit import Mismatch, same
from drafts import No
from ledger import Wish
from meanwhile import Meanwhile
from processes import Failed
from turns import Turns
from world import POOLS, World

MOST_CALLERS, POOLS_EACH, LONGEST_CHAIN = 8, 3, 25
LONGEST_MS = 12
"""Before a kill: by then a few changes of each caller were answered."""
FURTHEST_S = 30 * 24 * 3600
CHANGES_WHEN_FULL = 15
PAD = "x" * 900
"""A reason that does not fit the rest of a page for long."""


@dataclass
class Caller:
    """Asks for one change after the other until the process dies under it."""
    chain: list[Wish]
    api: Api
    answers: list[Answer] = field(default_factory=list)
    found: int = 0
    """Changes of its chain that were there after the restart."""

    def work(self, begin: threading.Barrier) -> None:
        begin.wait(10)
        with contextlib.suppress(OSError):
            for wish in self.chain:
                asked = ask(wish)
                self.answers.append(self.api.exchange(asked.method, asked.path, asked.text, dict(asked.fields)))


def kill(world: World) -> None:
    """In the middle of changes. What was answered has to be there, of the rest each wholly or not at all."""
    count = world.chance.randint(1, MOST_CALLERS)
    names = world.chance.sample(POOLS, count * POOLS_EACH)
    label = f"kill {world.counts['kills']}"
    chains = [world.wishes.chain(names[POOLS_EACH * n:POOLS_EACH * (n + 1)], LONGEST_CHAIN, f"{label} caller {n}")
              for n in range(count)]
    if count == 1 and world.chance.random() < 0.5:
        back = world.chance.randint(world.ledger.oldest, world.ledger.generation)
        chains = [[Wish("restore", ({"op": "restore", "generation": back},), reason=label, force=True)]]
    callers = [Caller(chain, Api(world.proxy.task.admin)) for chain in chains]
    begin = threading.Barrier(count + 1)
    threads = [threading.Thread(target=caller.work, args=(begin,), daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    begin.wait(10)
    time.sleep(world.chance.uniform(0, LONGEST_MS) / 1e3)
    by_name = {caller.api.caller: caller for caller in callers}
    world.trace.append(f"{label}: {count} callers")
    world.kill()
    for thread in threads:
        thread.join(20)
    adopt(world, by_name)


def adopt(world: World, callers: dict[str, Caller]) -> None:
    """Starts it again, and takes over into the ledger what of the changes in flight was made."""
    world.start()
    news = []
    for entry, _ in audit.entries(world.api, 200):
        if entry["generation"] <= world.ledger.generation:
            break
        news.append(entry)
    for entry in reversed(news):
        caller = callers.get(entry["caller"])
        if not caller or caller.found >= len(caller.chain):
            raise Mismatch(f"nobody asked for {entry}")
        wish = caller.chain[caller.found]
        try:
            draft = world.ledger.judge(wish)
        except No as no:
            raise Mismatch(f"{entry} is there after a kill, though {no}") from no
        world.ledger.take(draft, entry["caller"], wish.reason)
        same("a change made before a kill", entry, world.ledger.entries[-1])
        answer = caller.answers[caller.found] if caller.found < len(caller.answers) else None
        if answer and "generation" in answer.body:
            same("generation as it was acknowledged", entry["generation"], answer.body["generation"])
        caller.found += 1
    for caller in callers.values():
        told(world, caller)
    audit.whole(world.api, world.ledger, world.chance)


def told(world: World, caller: Caller) -> None:
    """Whether all that it was told is there, and at most the one it was waiting for besides."""
    same("refusals of good changes", [str(answer) for answer in caller.answers if answer.status != 200], [])
    waiting = caller.found - len(caller.answers)
    if waiting not in (0, 1):
        raise Mismatch(f"{caller.found} changes are there of a caller that was told of {len(caller.answers)}")
    world.counts["in flight, acknowledged"] += len(caller.answers)
    if len(caller.answers) < len(caller.chain):
        world.counts["in flight, made" if waiting else "in flight, not made"] += 1


def restart(world: World) -> None:
    """An orderly one, at times with another file."""
    world.trace.append("restart")
    world.stop()
    if world.chance.random() < 0.3:
        world.rewrite_file()
    world.start()
    audit.whole(world.api, world.ledger, world.chance)


def reload(world: World) -> None:
    world.rewrite_file()
    world.reload()
    audit.whole(world.api, world.ledger, world.chance)


def jump(world: World, turns: Turns) -> None:
    world.clock.jump(world.chance.randint(-FURTHEST_S, FURTHEST_S))
    world.trace.append(f"the clock is {world.clock.offset_s} s off")
    turns.change(padded(world, "after a jump"))
    at = world.api.ask("GET", "/api/v1/generations?limit=1")["generations"][0]["at"]
    seen = datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    if abs(seen - world.clock.now_ms() / 1000) > 60:
        raise Failed(f"the clock did not jump to {world.clock.offset_s} s: {at}")


def full_disk(world: World, turns: Turns) -> None:
    """No change is taken and nothing else is worse; afterwards all is as before."""
    world.trace.append("the disk is full")
    world.disk.fill()
    connection = http.client.HTTPConnection("127.0.0.1", world.proxy.task.port, timeout=10)
    with contextlib.closing(connection), Meanwhile(0.005, lambda: served(connection)) as traffic:
        fill_up(world, turns)
        for _ in range(CHANGES_WHEN_FULL):
            turns.change(world.wishes.any())
        audit.whole(world.api, world.ledger, world.chance)
    world.counts["requests while full"] += traffic.done
    if world.chance.random() < 0.4:
        world.kill()
        world.start()
        world.counts["kills while full"] += 1
        turns.is_full = False
        fill_up(world, turns)
        audit.whole(world.api, world.ledger, world.chance)
    world.disk.free()
    turns.is_full = False
    world.trace.append("the disk has room again")
    same("status once there is room", turns.change(padded(world, "room again")), 200)
    audit.whole(world.api, world.ledger, world.chance)


def fill_up(world: World, turns: Turns) -> None:
    """Changes, as long as the page that was begun takes them."""
    for _ in range(20):
        wish = padded(world, PAD)
        draft, answer = world.ledger.judge(wish), world.ask(ask(wish))
        if answer.status == 507:
            turns.is_full = True
            same("generation after a 507", audit.newest(world.api), world.ledger.generation)
            return
        turns.acknowledged(wish, draft, answer)
    raise Mismatch("changes are taken though the disk is full")


def padded(world: World, reason: str) -> Wish:
    step = {"op": "put_upstream", "upstream": world.chance.choice(POOLS),
            "definition": {"servers": [{"address": "10.9.0.1:8080"}]}}
    return Wish("put", (step,), reason=reason, force=True)


def served(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise Failed(f"a request was answered {answer.status} while the disk was full")
