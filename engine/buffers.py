"""Memory that is used again: aligned batch buffers, and scratch for what lies between."""

import math
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64  # bytes; TensorFlow takes such a buffer without copying it


class _Lease:
    """The base of every view of a pooled buffer: it dies with the last of them.

    NumPy collapses chains of views to the first object that is not an array, which is this one;
    an array in its place would be skipped, and the memory reused under a living view.
    """

    def __init__(self, block: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]):
        address = block.ctypes.data
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (address + -address % ALIGNMENT, False),
            "version": 3,
        }
        self._block = block


class BufferPool:
    """Hands out uninitialised aligned arrays, reusing the memory of those that were let go.

    Fresh memory costs a page fault every 4 KiB, which for a float32 batch is comparable to the
    warp itself.

    Parameters
    ----------
    max_free : int
        So many unused buffers are kept; more are returned to the system.
    """

    def __init__(self, max_free: int = 4) -> None:
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=max_free)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialised C-contiguous array whose first byte is 64-byte aligned."""
        dtype = np.dtype(dtype)
        num_bytes = math.prod(shape) * dtype.itemsize + ALIGNMENT
        block = self._take(num_bytes)
        lease = _Lease(block, shape, dtype)
        weakref.finalize(lease, self._free.append, block).atexit = False
        return np.asarray(lease)

    def _take(self, num_bytes: int) -> NDArray[np.uint8]:
        try:
            block = self._free.popleft()
        except IndexError:
            return np.empty(num_bytes, np.uint8)
        return block if block.nbytes == num_bytes else np.empty(num_bytes, np.uint8)


def empty_aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return a fresh uninitialised C-contiguous array whose first byte is 64-byte aligned."""
    return BufferPool(max_free=0).empty(shape, dtype)


class Scratch:
    """One block of memory that is written anew at each use.

    Fresh memory costs a JPEG decoder two thirds of its own time in page faults.
    """

    MOST_KEPT = 2**26  # bytes; a larger piece is let go by whoever asked for it

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Return uninitialised memory: the same as at the last call, if that was large enough."""
        if num_bytes > self.MOST_KEPT:
            return np.empty(num_bytes, np.uint8)
        if num_bytes > self._block.size:
            self._block = np.empty(num_bytes, np.uint8)
        return self._block[:num_bytes]


_free_scratch: deque[Scratch] = deque()


@contextmanager
def borrowed_scratch() -> Iterator[Scratch]:
    """Lend a `Scratch`: the one returned last, which is still in the cache, if there is one.

    As many exist as were ever in use at once. They do not belong to threads: a source that iterates
    a loader of its own inside a slice of another must find other memory.
    """
    try:
        scratch = _free_scratch.pop()
    except IndexError:
        scratch = Scratch()
    try:
        yield scratch
    finally:
        _free_scratch.append(scratch)
