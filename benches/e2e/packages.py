"""Libraries that a bench needs and the repository does not hold: installed once, into a private folder in the
system's temporary directory.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import Failed

INSTALLING_S = 180
WS, WEBSOCKETS = "ws@8", "websockets>=15"


def node_packages() -> Path:
    """Where node finds the ws package."""
    if not shutil.which("node"):
        raise Failed("the servers are node's: install nodejs")
    folder = private("node")
    if not (folder / "node_modules" / "ws" / "package.json").exists():
        installed(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", WS])
    return folder


def python_with_websockets() -> Path:
    """A python that has the websockets library."""
    folder = private("python")
    python = folder / "bin" / "python"
    if not list(folder.glob("lib/python*/site-packages/websockets")):
        installed([sys.executable, "-m", "venv", folder])
        installed([python, "-m", "pip", "install", "--quiet", WEBSOCKETS])
    return python


def clock_library() -> Path:
    """What lets a program see another time than it is (Debian's faketime)."""
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries and os.geteuid() == 0 and shutil.which("apt-get"):
        installed(["apt-get", "install", "-y", "--no-install-recommends", "faketime"])
        libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        raise Failed("clocks are set by faketime: install it")
    return libraries[0]


def private(name: str) -> Path:
    """What others could have put there is not run."""
    folder = Path(tempfile.gettempdir()) / f"tidegate-bench-{os.geteuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Failed(f"{folder}: not a folder that only you can write; remove it")
    return folder


def installed(argv: list) -> None:
    try:
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=INSTALLING_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as reason:
        raise Failed(f"{argv[0]}: {reason}") from reason
    if done.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: {done.stdout.decode('utf-8', 'replace')[-600:]}")
