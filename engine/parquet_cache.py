"""The row groups that were read last: kept up to a budget, each read once however many want it."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple


class GroupCacheInfo(NamedTuple):
    """What a cache of row groups holds.

    Attributes
    ----------
    num_reads : int
        Row groups that were read and decoded so far, by this process.
    num_groups : int
        In memory.
    used_bytes, budget_bytes : int
    """

    num_reads: int
    num_groups: int
    used_bytes: int
    budget_bytes: int


class _Reading:
    """A group that a thread is reading, for the others that want it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.column: Any = None


class GroupCache:
    """Keeps the pictures of row groups, as they are stored, the longest unused dropped first.

    May be used by many threads. A pickled copy and a forked child start empty.

    Parameters
    ----------
    budget_bytes : int
        The group that was read last is kept even if it alone is larger. While groups are read they
        come on top of it, one a thread.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._start_empty()
        _all_caches.add(self)

    def _start_empty(self) -> None:
        """Hold nothing: in a forked child, those who were reading are not here."""
        self._lock = threading.Lock()
        self._columns: OrderedDict[int, Any] = OrderedDict()
        self._reading: dict[int, _Reading] = {}
        self._used_bytes = self._num_reads = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupCache, (self._budget_bytes,)

    def info(self) -> GroupCacheInfo:
        """Return how much was read, and how much is in memory."""
        with self._lock:
            return GroupCacheInfo(
                self._num_reads, len(self._columns), self._used_bytes, self._budget_bytes
            )

    def get(self, group: int, read: Callable[[int], Any]) -> Any:
        """Return the column of a group: from memory, or what ``read(group)`` returns.

        Parameters
        ----------
        group : int
        read : callable
            Returns a pyarrow ChunkedArray. What it raises is raised here, and nothing is kept.
        """
        while True:
            with self._lock:
                if group in self._columns:
                    self._columns.move_to_end(group)
                    return self._columns[group]
                reading = self._reading.get(group)
                if reading is None:
                    reading = self._reading[group] = _Reading()
                    break
            reading.done.wait()
            if reading.column is not None:
                return reading.column  # if it failed there, it is our turn
        return self._read_and_keep(group, read, reading)

    def _read_and_keep(self, group: int, read: Callable[[int], Any], reading: _Reading) -> Any:
        try:
            column = read(group)
            reading.column = column
            with self._lock:
                self._num_reads += 1
                self._columns[group] = column
                self._used_bytes += column.get_total_buffer_size()
                self._drop_surplus()
            return column
        finally:
            with self._lock:
                del self._reading[group]
            reading.done.set()

    def _drop_surplus(self) -> None:
        while self._used_bytes > self._budget_bytes and len(self._columns) > 1:
            _, dropped = self._columns.popitem(last=False)
            self._used_bytes -= dropped.get_total_buffer_size()


_all_caches: "weakref.WeakSet[GroupCache]" = weakref.WeakSet()


def _after_fork() -> None:
    for cache in _all_caches:
        cache._start_empty()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
