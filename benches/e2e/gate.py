"""What the programs that hold the product to a promise share: options, a place to work, a verdict
and an exit code.

Each plays its promise against a running proxy and prints what it counted; `storm`, `tunnels` and
`crash` do so as JSON. The exit code is 0 only when every count that must be zero is.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Callable, TypeVar

import kernel
import peers
import report
from processes import Failed, cores, guard
from work import Bench

T = TypeVar("T")
BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "tidegate"


def parser(about: str) -> argparse.ArgumentParser:
    a = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--tidegate", metavar="PATH", default=str(BINARY), help="default: target/release/tidegate")
    a.add_argument("binary", nargs="?", metavar="TIDEGATE", help="the same as --tidegate PATH")
    a.add_argument("--limit", type=int, default=600, help="give up after so many seconds (default 600)")
    return a


def comparable(a: argparse.ArgumentParser) -> argparse.ArgumentParser:
    a.add_argument("--peer", metavar="NAME[:KIND]=BINARY", help="play it against this proxy instead, e.g. nginx=nginx")
    return a


def play(o: argparse.Namespace, game: Callable[[Bench, peers.Peer], dict], zero: tuple[str, ...]) -> None:
    """Runs the game, prints its counts, and ends the process with the verdict."""
    asked = getattr(o, "peer", None)
    counts = within(o, lambda bench: game(bench, peers.named(asked) if asked else tidegate(o)))
    bad = [name for name in zero if counts[name]]
    print(json.dumps({**counts, "verdict": verdict(bad)}, indent=1))
    sys.exit(bool(bad))


def tidegate(o: argparse.Namespace) -> peers.Peer:
    return peers.named(f"tidegate={o.binary or o.tidegate}")


def told(o: argparse.Namespace, work: str, counts: dict, faults: list[str], peer: peers.Peer | None = None) -> None:
    """Prints what was counted and what of it is not as promised, saves it if asked, and ends."""
    peer = peer or tidegate(o)
    print("\n".join(f"{name}: {json.dumps(value)}" for name, value in counts.items()))
    if getattr(o, "save", None):
        sizes = {name: value for name, value in vars(o).items() if isinstance(value, (int, float))}
        machine = kernel.machine({peer.name: peer.binary})
        print(f"saved: {report.save(o.save, machine, sizes, {work: {peer.name: [{**counts, 'faults': faults}]}})}")
    print("\n".join(["", "not as promised:", *(f"  {fault}" for fault in faults)] if faults else ["", "as promised"]))
    sys.exit(bool(faults))


def verdict(bad: list[str]) -> str:
    return "not zero: " + ", ".join(bad) if bad else "as promised"


def within(o: argparse.Namespace, measure: Callable[[Bench], T]) -> T:
    """Gives it a place to work, and ends the process with the reason when it cannot go on."""
    guard(o.limit)
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-gate-") as directory:
            return measure(bench(Path(getattr(o, "logs", None) or directory)))
    except (Failed, OSError) as reason:
        sys.exit(f"{Path(sys.argv[0]).name}: {reason or repr(reason)}")


def logged(a: argparse.ArgumentParser) -> argparse.ArgumentParser:
    a.add_argument("--logs", metavar="DIR", help="keep configurations and logs there, a new directory")
    return a


def bench(directory: Path) -> Bench:
    """Only the place and the cores matter to a game; sizes are its own options."""
    proxy, other, both = cores()
    return Bench(directory, seconds=0, settle=0, tunnels=0, idle=0, waiting=0, wait=0, posts=0, pools=0,
                 descriptors=kernel.raise_descriptor_limit(), proxy_core=proxy, other_core=other, both_cores=both)
