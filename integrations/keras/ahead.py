"""The next batches, begun while the last one is used, without changing a single draw.

Keras draws from NumPy's global generator, whose state anybody may change between two batches. So
batches ahead are drawn from a copy of it, as if nobody did; when one is asked for, it is handed out
only if the global state and all settings are still those it was begun with, and the state after its
draws becomes the global one. Otherwise it is thrown away and made anew. With a `seed` every batch
seeds the generator itself, and the state before it does not matter.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_MOST_MISSES = 3  # in a row; then somebody draws between the batches, and ahead is for nothing
_PAUSE = 32  # batches, after which it is tried again
_VALUES = (bool, int, float, str, bytes, np.generic)
_NOTHING = -2  # stands for the request before the first one
_SMALL = 4096  # elements of an array that somebody may change in place


@dataclass
class Position:
    """Where an iterator is: what its draws depend on besides the random state.

    Attributes
    ----------
    batch_index : int
    total_batches_seen : int
    index_array : (n,) integers or None
        The order of the epoch.
    """

    batch_index: int
    total_batches_seen: int
    index_array: NDArray[np.intp] | None

    def equals(self, other: Position) -> bool:
        """Compare; the order by identity, since a new one is drawn for each epoch."""
        return (self.batch_index, self.total_batches_seen) == (
            other.batch_index,
            other.total_batches_seen,
        ) and self.index_array is other.index_array


class Batch(Protocol):
    """A batch that has been begun."""

    def is_current(self) -> bool:
        """Return whether its samples are still those of its place in the order."""

    def cancel(self) -> None:
        """Give it up."""


@dataclass
class Begun:
    """A batch that has been begun for `index` (None: the next one), and what it rests on.

    `start_state` is None where a seed makes the state before the batch's draws irrelevant.
    """

    index: int | None
    settings: list[Any]
    start: Position
    start_state: dict[str, Any] | None
    end: Position
    end_state: dict[str, Any]
    batch: Any


# ``begin(index, position, rng)`` draws from `rng`, moves `position` on, and begins a batch.
Begin = Callable[[int | None, Position, Any], Batch]


class Ahead:
    """Begins batches ahead of their request.

    Whoever holds this object begins the batches, and is passed in anew each time: kept here, it
    would be a cycle, and the memory of the batches would wait for the garbage collector.
    """

    def __init__(self) -> None:
        self._queue: deque[Begun] = deque()
        self._rng = np.random.RandomState()
        self._rng_state: dict[str, Any] | None = None
        self._misses = 0
        self._pause = 0
        self._last: int | None = _NOTHING
        self._streak = 0
        self._pid = os.getpid()

    def take(
        self,
        begin: Begin,
        index: int | None,
        position: Position,
        settings: list[Any],
        is_seeded: bool,
    ) -> Begun:
        """Return the batch asked for, begun before or now; the global generator moves on by it."""
        state = None if is_seeded else global_state()
        begun = self._matching(index, position, settings, state)
        if begun is None:
            begun = self._start(begin, index, position, settings, state)
        np.random.set_state(begun.end_state)
        return begun

    def go_on(self, begin: Begin, after: Begun, length: int, depth: int) -> None:
        """Begin the `depth` batches that will follow, if the requests so far have a pattern."""
        self._count_streak(after.index)
        if self._streak < (1 if after.index is None else 2) or self._is_pausing():
            return
        last = self._queue[-1] if self._queue else after
        while len(self._queue) < depth:
            index = None if last.index is None else last.index + 1
            if index is not None and index >= length:
                return
            state = None if last.start_state is None else last.end_state
            last = self._start(begin, index, last.end, last.settings, state)
            self._queue.append(last)

    def _is_pausing(self) -> bool:
        if self._pause == 0 and self._misses >= _MOST_MISSES:
            self._pause, self._misses = _PAUSE, 0
        self._pause = max(0, self._pause - 1)
        return self._pause > 0

    def _count_streak(self, index: int | None) -> None:
        """Count requests that went on from the one before; a look at one batch begins nothing.

        Keras looks at batches 0 and 1 before it fits, in another order then: hence two of them.
        """
        if index is None:
            goes_on = self._last is None
        else:
            goes_on = self._last is not None and index == self._last + 1
        self._streak = self._streak + 1 if goes_on else 0
        self._last = index

    def drop(self) -> None:
        """Give up all batches ahead; in a forked child, whose parent makes them, forget them."""
        dropped, self._queue = self._queue, deque()
        if os.getpid() == self._pid:
            for begun in dropped:
                begun.batch.cancel()
        self._pid = os.getpid()

    def _matching(
        self,
        index: int | None,
        position: Position,
        settings: list[Any],
        state: dict[str, Any] | None,
    ) -> Begun | None:
        if not self._queue:
            return None
        begun = self._queue[0]
        if (
            os.getpid() == self._pid
            and begun.index == index
            and begun.start.equals(position)
            and begun.batch.is_current()
            and same_settings(begun.settings, settings)
            and same_state(begun.start_state, state)
        ):
            self._misses = 0
            return self._queue.popleft()
        self._misses += 1
        self.drop()
        return None

    def _start(
        self,
        begin: Begin,
        index: int | None,
        position: Position,
        settings: list[Any],
        state: dict[str, Any] | None,
    ) -> Begun:
        if state is not None and state is not self._rng_state:
            self._rng.set_state(state)
        end = Position(position.batch_index, position.total_batches_seen, position.index_array)
        self._rng_state = None  # should `begin` be interrupted
        batch = begin(index, end, self._rng)
        self._rng_state = self._rng.get_state(legacy=False)
        return Begun(index, settings, position, state, end, self._rng_state, batch)


def global_state() -> dict[str, Any]:
    """Return the state of NumPy's global legacy generator."""
    state: dict[str, Any] = np.random.get_state(legacy=False)
    return state


def uses_mersenne_twister() -> bool:
    """Return whether NumPy's global generator is the one a copy is made of here."""
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    return isinstance(generator, np.random.MT19937)


def same_state(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Compare two states of the legacy generator; None is any, of an iterator with a seed."""
    if one is None or other is None:
        return one is other
    return (
        one["has_gauss"] == other["has_gauss"]
        and one["state"]["pos"] == other["state"]["pos"]
        and np.array_equal(one["state"]["key"], other["state"]["key"])
        and (not one["has_gauss"] or one["gauss"] == other["gauss"])
    )


def settings_of(
    thing: Any, *, is_deep: bool = False, volatile: frozenset[str] = frozenset()
) -> list[Any]:
    """Return an object's attributes, to be compared later by `same_settings`.

    With `is_deep`, lists and small arrays are copied: somebody may change them in place.
    """
    attributes = vars(thing) if hasattr(thing, "__dict__") else {}
    return [
        (name, _frozen(value) if is_deep else value)
        for name, value in attributes.items()
        if name not in volatile
    ]


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, np.ndarray) and value.size <= _SMALL:
        return (value.shape, value.dtype.str, value.tobytes())
    return value


def same_settings(one: Any, other: Any) -> bool:
    """Compare settings: numbers and words by value, lists by their elements, else by identity."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_settings, one, other))
    return isinstance(one, _VALUES) and bool(one == other)
