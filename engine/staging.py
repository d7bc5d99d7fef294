"""Pictures that are read one by one, side by side in scratch memory until one warp takes them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .buffers import Scratch
from .cuda_memory import PinnedScratch
from .decode import Extent
from .sources import Located


class Staging:
    """Collects pictures of neighbouring rows of a batch and hands them on in groups.

    Parameters
    ----------
    warp : callable
        ``warp(located, rows)`` writes the pictures into these rows of the batch, and may
        overwrite where they were.
    scratch : Scratch
        Where they are collected.
    dtype : dtype
        Of all pictures.
    """

    GROUP_BYTES = 5 * 2**20  # nine of 500 x 375: still in a cache, and few calls for each picture

    def __init__(
        self,
        warp: Callable[[Located, slice], None],
        scratch: Scratch | PinnedScratch,
        dtype: DTypeLike,
    ) -> None:
        self._warp, self._scratch, self._dtype = warp, scratch, np.dtype(dtype)
        self._memory = self._take(0)
        self._next_row, self._used = 0, 0
        self._starts: list[int] = []
        self._sizes: list[tuple[int, ...]] = []
        self._extents: list[Extent] = []

    def room(self, num_elements: int) -> NDArray[Any]:
        """Return memory for the next picture; those collected are warped if it is short."""
        if self._used + num_elements > self._memory.size:
            self.flush()
            if num_elements > self._memory.size:
                self._memory = self._take(num_elements)
        return self._memory[self._used : self._used + num_elements]

    def add(self, row: int, image: NDArray[Any], extent: Extent) -> None:
        """Collect the picture of a row, which has been written to what `room` returned last."""
        start = self._used
        if row != self._next_row:  # one between could not be read
            self.flush()
            self._next_row = row
        self._starts.append(start)
        self._sizes.append(image.shape[:2])
        self._extents.append(extent)
        self._next_row = row + 1
        self._used = start + image.size

    def copy(self, row: int, image: NDArray[Any], extent: Extent | None = None) -> None:
        """Collect a picture that lies elsewhere."""
        room = self.room(image.size).reshape(image.shape)
        room[...] = image
        self.add(row, room, image.shape[:2] if extent is None else extent)

    def gather(self, first_row: int, located: Located, channels: int) -> None:
        """Collect the pictures of neighbouring rows, which lie elsewhere in memory."""
        extents = located.sizes if located.extents is None else located.extents
        lengths = (located.sizes[:, 0] * located.sizes[:, 1] * channels).tolist()
        for at, (start, length) in enumerate(zip(located.starts.tolist(), lengths, strict=True)):
            image = located.pixels[start : start + length].reshape(*located.sizes[at], channels)
            height, width = extents[at].tolist()
            self.copy(first_row + at, image, (height, width))

    def flush(self) -> None:
        """Warp what has been collected."""
        if self._starts:
            located = Located(
                self._memory,
                np.array(self._starts, np.int64),
                np.array(self._sizes, np.int64),
                np.array(self._extents, np.float64),
            )
            self._warp(located, slice(self._next_row - len(self._starts), self._next_row))
        self._used = 0
        self._starts, self._sizes, self._extents = [], [], []

    def _take(self, num_elements: int) -> NDArray[Any]:
        num_bytes = max(num_elements * self._dtype.itemsize, self.GROUP_BYTES)
        return self._scratch.take(num_bytes).view(self._dtype)
