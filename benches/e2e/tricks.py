"""What is done to a process from outside: its clock is set, the disk under its state is filled."""
from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from pathlib import Path

import packages
from processes import Failed

CLONE_NEWNS = 0x20000
SEEN_AFTER_S = 1.2
"""faketime looks at its file once a second."""


class Clock:
    """The time a process sees, so many seconds off. May be set while it runs."""

    def __init__(self, directory: Path):
        self._library, self._file, self.offset_s = packages.clock_library(), directory / "clock", 0
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        # The monotonic clock goes on: no jump of a real clock moves it either.
        return {**os.environ, "LD_PRELOAD": str(self._library), "FAKETIME_TIMESTAMP_FILE": str(self._file),
                "FAKETIME_CACHE_DURATION": "0", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1"}

    def now_ms(self) -> int:
        return int((time.time() + self.offset_s) * 1000)

    def jump(self, offset_s: int) -> None:
        """Returns when nobody can still see the time from before."""
        self.offset_s = offset_s
        self._write()
        time.sleep(SEEN_AFTER_S)

    def _write(self) -> None:
        whole = self._file.with_suffix(".new")
        whole.write_text(f"{self.offset_s:+d}\n")
        whole.rename(self._file)


class SmallDisk:
    """A file system of its own, in memory, that can be filled to its last page. It is mounted where only this
    process and its children see it, and goes with them."""

    def __init__(self, path: Path, size: str):
        self._ballast = path / "ballast"
        path.mkdir(mode=0o700)
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise Failed("only root can mount a small disk; --no-disk goes without")
        for argv in (["mount", "--make-rprivate", "/"],
                     ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(path)]):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
            if done.returncode:
                raise Failed(f"{' '.join(argv)}: {done.stderr.strip()}; --no-disk goes without")
        self._path = path

    def fill(self) -> None:
        with open(self._ballast, "wb") as file:
            found = os.statvfs(self._path)
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize)

    def free(self) -> None:
        self._ballast.unlink()

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["umount", "--lazy", str(self._path)], capture_output=True, timeout=10, check=False)
