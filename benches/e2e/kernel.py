"""What the kernel knows of a process and of this machine.

CPU time comes from the scheduler's own accounting (nanoseconds on the CPU, per thread) and memory
from `smaps_rollup` as proportional set size, so that pages shared by forked workers count once.
Both cover a process with all its descendants.
"""
from __future__ import annotations

import datetime
import os
import platform
import re
import resource
import subprocess


def family(pid: int) -> list[int]:
    """The process and all its descendants that are alive."""
    found = [pid]
    for task in _listdir(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{task}/children").split():
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Time on a CPU since each process of the family started; ended threads are not in it."""
    total = 0
    for member in family(pid):
        for task in _listdir(f"/proc/{member}/task"):
            fields = _read(f"/proc/{member}/task/{task}/schedstat").split()
            total += int(fields[0]) if fields else 0
    return total / 1e9


def thread_seconds(pid: int) -> dict[str, float]:
    """The same for one process, by the names of its threads."""
    found: dict[str, float] = {}
    for task in _listdir(f"/proc/{pid}/task"):
        name = _read(f"/proc/{pid}/task/{task}/comm").strip()
        fields = _read(f"/proc/{pid}/task/{task}/schedstat").split()
        found[name] = found.get(name, 0) + (int(fields[0]) if fields else 0) / 1e9
    return found


def kernel_share(pid: int) -> tuple[float, float]:
    """Seconds a process has spent in its own code and in the kernel, in hundredths."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def pss_kib(pid: int) -> int:
    """Proportional set size of the family."""
    total = 0
    for member in family(pid):
        found = re.search(r"^Pss:\s+(\d+) kB", _read(f"/proc/{member}/smaps_rollup"), re.M)
        total += int(found.group(1)) if found else 0
    return total


def raise_descriptor_limit() -> int:
    """Lifts the soft limit of open files to the hard one and returns it; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def machine(binaries: dict[str, str]) -> dict:
    """Everything a reader of a result needs to judge it: hardware, kernel, versions, date."""
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    model = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "uname": " ".join((platform.system(), platform.release(), platform.machine())),
        "cpu": model.group(1).strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": int(memory.group(1)) // 1024 if memory else None,
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {name: version_of(path) for name, path in binaries.items()},
    }


def version_of(binary: str) -> str:
    """The line in which a program names its version, by the flag it understands."""
    for flag in ("--version", "-v"):
        try:
            done = subprocess.run([binary, flag], stdin=subprocess.DEVNULL, timeout=10, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except (OSError, subprocess.TimeoutExpired):
            continue
        text = done.stdout.decode("utf-8", "replace")
        line = next((line for line in text.splitlines() if re.search(r"\d+\.\d+", line)), "")
        if line and "option" not in line:
            return line.strip()
    return "unknown"


def _read(path: str) -> str:
    """The file's text; empty when its process is gone."""
    try:
        with open(path) as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
