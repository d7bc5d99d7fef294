"""How much memory this process may still take: the machine's, capped by its control groups."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class _Controller(NamedTuple):
    """Where a version of Linux' control groups says what about memory."""

    root: str
    limit: str
    usage: str
    cached: tuple[str, str]


_V2 = _Controller("", "memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = _Controller(
    "memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes can be used without swapping; None where the system does not tell.

    Memory that holds cached files counts as free. Where there is no /proc, it is half of the
    machine's memory, whoever uses it.

    Parameters
    ----------
    root : Path
        Where `proc` and `sys` lie.
    """
    free = _free_of_machine(root)
    return None if free is None else max(0, min([free, *_free_of_groups(root)]))


def _free_of_machine(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable:" in line)
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError, AttributeError):
        return None


def _free_of_groups(root: Path) -> Iterator[int]:
    """Yield what each control group that this process is in, and each above it, leaves."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            controller = _V1 if controllers else _V2
            folder = root / "sys/fs/cgroup" / controller.root
            yield from _free_below(folder, path.strip("/"), controller)


def _free_below(top: Path, path: str, controller: _Controller) -> Iterator[int]:
    for folder in (top / path, *(top / path).parents):
        try:
            limit = (folder / controller.limit).read_text().strip()
            used = int((folder / controller.usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if limit != "max":
                yield int(limit) - used + sum(int(stat[name]) for name in controller.cached)
        except (OSError, ValueError, KeyError):
            pass  # not of this container, or the topmost, which has no limit
        if folder == top:
            return
