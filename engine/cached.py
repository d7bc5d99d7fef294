"""Decoded pictures kept in memory: each is read and decoded once, later epochs find it there."""

import math
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .buffers import ALIGNMENT, empty_aligned
from .decode import Extent, Room
from .memory import available_memory
from .sources import Located, Source


class CacheInfo(NamedTuple):
    """What a cache holds.

    Attributes
    ----------
    num_cached, num_samples : int
        Pictures in memory, and of the source.
    used_bytes, budget_bytes : int
    """

    num_cached: int
    num_samples: int
    used_bytes: int
    budget_bytes: int


class _Picture(NamedTuple):
    image: NDArray[Any]
    extent: Extent  # height and width of what it shows
    in_room: bool  # it lies in the memory that the caller gave


class CachedSource:
    """A source that keeps the pictures of another one in memory, up to a budget.

    A picture is kept when it is read first; what finds no room is read anew each time, as what
    cannot be read is. Pictures that the source itself has in memory, or mapped, are left there.

    Beside the budget it takes 40 bytes for each sample. A pickled copy starts empty; a forked child
    keeps what was there, and what it adds is its own.

    Parameters
    ----------
    source : Source
    min_size : (height, width)
        The smallest size that is useful: passed on to the source's `read`, always the same.
    budget_bytes : int, optional
        Default: half of the memory that is available now to this process, its control groups'
        limits included. Pages are taken from the system when they are filled.

    Raises
    ------
    ValueError
        If the budget is negative, or not given where the available memory cannot be found out.
    MemoryError
        If the system refuses the budget.
    """

    def __init__(
        self, source: Source, min_size: tuple[int, int] = (0, 0), budget_bytes: int | None = None
    ) -> None:
        self._source, self._min_size = source, min_size
        self._budget_bytes = _checked_budget(budget_bytes)
        self.labels, self.weights = source.labels, source.weights
        self.channels, self.dtype = source.channels, source.dtype
        self.image_size = source.image_size
        self._arena = empty_aligned((self._most_bytes() // self.dtype.itemsize,), self.dtype)
        self._starts = np.zeros(len(source), np.int64)
        self._extents = np.zeros((len(source), 2), np.float64)
        self._sizes = np.zeros((len(source), 2), np.int64)  # a height of 0: not there (yet)
        self._used = self._num_cached = 0
        self._forget_threads()
        _all_caches.add(self)

    def _most_bytes(self) -> int:
        """Return what the arena may ever need: less than the budget if the source is small."""
        if self.image_size is None:
            return self._budget_bytes
        image_bytes = math.prod(self.image_size) * self.channels * self.dtype.itemsize
        return min(self._budget_bytes, len(self._source) * (image_bytes + ALIGNMENT))

    def _forget_threads(self) -> None:
        """Start with nothing being read: in a forked child, those who were reading are not here."""
        self._lock = threading.Lock()
        self._reading: dict[int, threading.Event] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedSource, (self._source, self._min_size, self._budget_bytes)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def names(self) -> Sequence[str]:
        """The source's names."""
        return self._source.names

    def info(self) -> CacheInfo:
        """Return how much is cached."""
        used = self._used * self.dtype.itemsize
        return CacheInfo(self._num_cached, len(self), used, self._budget_bytes)

    def locate(self, sample_ids: NDArray[np.int64]) -> Located | None:
        """Tell where these pictures lie if all of them are in memory, else None."""
        locate = getattr(self._source, "locate", None)
        located: Located | None = None if locate is None else locate(sample_ids)
        if located is not None:
            return located
        sizes = self._sizes[sample_ids]
        if not sizes[:, 0].all():
            return None
        starts, extents = self._starts[sample_ids], self._extents[sample_ids]
        return Located(self._arena, starts, sizes, extents)

    def read(self, sample_id: int, min_size: Extent = (0, 0)) -> NDArray[Any]:
        """Return one picture: from memory, or read, and kept if there is room.

        Parameters
        ----------
        sample_id : int
        min_size : (height, width)
            Ignored: what is kept is of the cache's own `min_size`.

        Returns
        -------
        (H, W, C) array
            Read-only where it lies in the cache.
        """
        return self._get(sample_id, self._fresh_room).image

    def read_into(
        self, sample_id: int, min_size: Extent, room: Room
    ) -> tuple[NDArray[Any], Extent] | None:
        """Write one picture into the memory that ``room(number of elements)`` returns.

        Parameters
        ----------
        sample_id, min_size
            As for `read`.
        room : callable

        Returns
        -------
        image, extent
            The (H, W, C) picture where it was written, and the height and width of what it shows.
            None if the picture is not what the source promises: `read` gives it as it is.
        """
        image, extent, in_room = self._get(sample_id, room)
        if not self._is_as_promised(image):
            return None
        if not in_room:
            written = room(image.size).reshape(image.shape)
            written[...] = image
            image = written
        return image, extent

    def _get(self, sample_id: int, room: Room) -> _Picture:
        while True:
            cached = self._cached(sample_id)
            if cached is not None:
                return cached
            being_read = self._claim(sample_id)
            if being_read is None:
                return self._read_and_keep(sample_id, room)
            being_read.wait()  # if it fails there, or finds no room, it is our turn

    def _cached(self, sample_id: int) -> _Picture | None:
        height, width = self._sizes[sample_id].tolist()
        if height == 0:
            return None
        start, shape = int(self._starts[sample_id]), (height, width, self.channels)
        image = self._arena[start : start + math.prod(shape)].reshape(shape)
        image.flags.writeable = False
        extent_height, extent_width = self._extents[sample_id].tolist()
        return _Picture(image, (extent_height, extent_width), in_room=False)

    def _claim(self, sample_id: int) -> threading.Event | None:
        """Make this thread the reader of a sample; or return what to wait for, if another is."""
        with self._lock:
            being_read = self._reading.get(sample_id)
            if being_read is None:
                self._reading[sample_id] = threading.Event()
            return being_read

    def _read_and_keep(self, sample_id: int, room: Room) -> _Picture:
        try:
            picture = self._cached(sample_id)  # another thread may have kept it before our claim
            if picture is None:
                picture = self._read_source(sample_id, room)
                self._keep(sample_id, picture.image, picture.extent)
            return picture
        finally:
            with self._lock:
                self._reading.pop(sample_id).set()

    def _read_source(self, sample_id: int, room: Room) -> _Picture:
        """Read as a loader would: into `room` if the source can."""
        read_into = getattr(self._source, "read_into", None)
        decoded = None if read_into is None else read_into(sample_id, self._min_size, room)
        if decoded is not None:
            return _Picture(decoded[0], decoded[1], in_room=True)
        image = self._source.read(sample_id, self._min_size)
        return _Picture(image, (image.shape[0], image.shape[1]), in_room=False)

    def _fresh_room(self, num_elements: int) -> NDArray[Any]:
        return np.empty(num_elements, self.dtype)

    def _is_as_promised(self, image: NDArray[Any]) -> bool:
        return image.ndim == 3 and image.shape[2] == self.channels and image.dtype == self.dtype

    def _keep(self, sample_id: int, image: NDArray[Any], extent: Extent) -> None:
        if not self._is_as_promised(image) or image.size == 0:
            return
        step = ALIGNMENT // self.dtype.itemsize
        with self._lock:
            start = -(-self._used // step) * step
            if start + image.size > self._arena.size:
                return
            self._used = start + image.size
        self._arena[start : start + image.size] = image.reshape(-1)
        self._starts[sample_id], self._extents[sample_id] = start, extent
        self._sizes[sample_id] = image.shape[:2]  # last: from here on it is found
        with self._lock:
            self._num_cached += 1


_all_caches: "weakref.WeakSet[CachedSource]" = weakref.WeakSet()


def _after_fork() -> None:
    for cache in _all_caches:
        cache._forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _checked_budget(budget_bytes: Any) -> int:
    if budget_bytes is None:
        available = available_memory()
        if available is None:
            raise ValueError(
                "The available memory cannot be found out here; give `cache_bytes` a number."
            )
        return available // 2
    whole = isinstance(budget_bytes, int | np.integer) and not isinstance(budget_bytes, bool)
    if not whole or budget_bytes < 0:
        raise ValueError(f"`cache_bytes` must be a number of bytes or None, got {budget_bytes!r}.")
    return int(budget_bytes)
