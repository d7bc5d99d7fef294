"""What all sources of shards do alike: open each, find a row's place, select, tell defects."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .shard_store import is_remote
from .sources import checked_ids, select_fields
from .threads import available_threads, run_slices

_REMOTE_THREADS = 16  # they wait for the store, not for a core
_SHOWN = 3  # defects in a message

_Opened = TypeVar("_Opened")
_Source = TypeVar("_Source", bound=Any)


def open_each(
    shards: Sequence[str], open_shard: Callable[[str], _Opened], threads: int | None
) -> list[_Opened]:
    """Return what ``open_shard(path)`` returns for each shard, in their order.

    Parameters
    ----------
    shards : sequence of str
    open_shard : callable
        Called from several threads.
    threads : int, optional
        Default: all that the process may use; at least 16 where shards lie in a store.
    """
    opened: list[Any] = [None] * len(shards)

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            opened[i] = open_shard(shards[i])

    if threads is None and any(map(is_remote, shards)):
        threads = max(_REMOTE_THREADS, available_threads())
    run_slices(work, len(shards), threads)
    return opened


def place_of(row: int | np.int64, starts: NDArray[np.int64]) -> int:
    """Return the run that a row is in; runs without any begin where the next does."""
    return int(np.searchsorted(starts, row, side="right")) - 1


def block_sizes(rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many neighbours of `rows` lie in one run, (k,) int64."""
    runs = np.searchsorted(starts, rows, side="right")
    ends = np.flatnonzero(np.diff(runs)) + 1
    sizes: NDArray[np.int64] = np.diff(np.concatenate([[0], ends, [len(runs)]]))
    return sizes.astype(np.int64)


def select_rows(source: _Source, sample_ids: ArrayLike) -> _Source:
    """Return a source of some `_rows` of another, with which it shares all that is open."""
    ids = checked_ids(sample_ids, len(source))
    selected = object.__new__(type(source))
    selected.__dict__.update(source.__dict__)  # copy.copy would pickle, and open the files anew
    selected._rows = source._rows[ids]
    select_fields(selected, ids)
    return selected


def defective(what: str, defects: list[tuple[str, str]], num_whole: int) -> ValueError:
    """Return the error that tells what is wrong with the first records or rows."""
    shown = "; ".join(f"{name} {message}" for name, message in defects[:_SHOWN])
    more = f"; and {len(defects) - _SHOWN} more" if len(defects) > _SHOWN else ""
    return ValueError(
        f"{len(defects)} of {len(defects) + num_whole} {what} lack something: {shown}{more}. "
        f'Write those shards anew; on_error="skip" leaves such {what} out and lists them in '
        "`skipped`."
    )
