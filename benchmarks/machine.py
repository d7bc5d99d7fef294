"""Where figures come from: processor, memory, versions, commit, load."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from ..engine.threads import available_threads
from .peers import versions

BUSY = 0.5  # load average, per core, from which a run says that the machine was busy


def describe_machine() -> dict[str, Any]:
    """Describe this machine, ready for JSON."""
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": available_threads(),
        "memory_gib": _memory_gib(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": _commit(),
        "load": load,
        "busy": bool(load and load[0] > BUSY * (os.cpu_count() or 1)),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def file_name(machine: dict[str, Any]) -> str:
    """Return a file name for this machine's figures, without a suffix."""
    words = re.sub(r"[^a-z0-9]+", "-", str(machine["cpu"]).lower()).strip("-")
    return f"{words}-{machine['cores']}-cores"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(pages * size / 2**30, 1)


def _commit() -> str | None:
    """Return the commit of the checkout that runs, with a mark where it was changed since."""
    here = Path(__file__).resolve()
    if _git("ls-files", "--error-unmatch", here.name) is None:
        return None  # installed below somebody else's repository
    return _git("describe", "--always", "--dirty", "--abbrev=12")


def _git(*words: str) -> str | None:
    command = ("git", "-C", str(Path(__file__).resolve().parent), *words)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
