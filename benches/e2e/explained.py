"""Failed POSTs laid beside Tidegate's access log and the times at which servers were killed.

A POST may fail when it had been written to a server that was then killed: nobody knows what became of
it there, and nginx does not send it again either. The log must say just that: its last attempt broke
off, at that server, at that time. Any other failure is not explained.
"""
from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from outages import Outage

BROKEN_OFF = ("failed", "stale")
GOOD = b'"outcome":"answered"}],"status":200,'
TARGET = re.compile(rb'"uri":"([^"]*)"')


class AccessLog:
    """What of the access log is worth a look: everything but good answers. The file is rotated and
    thinned all the time, as it would become very large."""

    def __init__(self, path: Path, pid: int):
        self._path, self._aside, self._pid = path, path.with_suffix(".1"), pid
        self._lines: dict[bytes, bytes] = {}

    def thin(self) -> None:
        """What was put aside the last time is no longer written to."""
        self._keep(self._aside)
        self._path.rename(self._aside)
        os.kill(self._pid, signal.SIGUSR1)

    def record(self, target: str) -> dict | None:
        """Of a request, whose target is its own; the process must have ended."""
        self._keep(self._aside)
        self._keep(self._path)
        line = self._lines.get(target.encode())
        return json.loads(line) if line else None

    def _keep(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as lines:
            for line in lines:
                found = TARGET.search(line)
                if found and GOOD not in line:
                    self._lines[found.group(1)] = line
            path.unlink()


@dataclass(frozen=True)
class Explained:
    by_outcome: dict[str, int]
    lines: list[str]
    """One for each, as logged."""
    unexplained: list[str]
    """What the client saw, and the log line, if there is one."""


def explained(failures: list[dict], log: AccessLog, outages: list[Outage]) -> Explained:
    result = Explained({outcome: 0 for outcome in BROKEN_OFF}, [], [])
    for failure in failures:
        record = log.record(failure["target"])
        line = json.dumps(record) if record else "not in the access log, or answered by 200 there"
        if record and says_why(failure, record, outages):
            result.by_outcome[record["attempts"][-1]["outcome"]] += 1
            result.lines.append(line)
        else:
            result.unexplained.append(f"{failure['method']} {failure['target']}: {failure['why']}: {line}")
    return result


def says_why(failure: dict, record: dict, outages: list[Outage]) -> bool:
    attempts = record["attempts"]
    if record["status"] != 502 or record["request_id"] != failure["request"] or not attempts:
        return False
    begin = moment(record["time"])
    end = begin + record["seconds"]
    last = attempts[-1]
    return last["outcome"] in BROKEN_OFF and any(o.touches(last["server"], begin, end) for o in outages)


def moment(text: str) -> float:
    found = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    return found.replace(tzinfo=datetime.timezone.utc).timestamp()
