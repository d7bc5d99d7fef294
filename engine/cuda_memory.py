"""Memory of a CUDA device that is used again, in the order of streams.

Nothing here waits for the whole device, with one exception: a batch that went to a consumer who
did not say on which stream it works.
"""

import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .devices import DeviceError


class DeviceMemoryError(DeviceError, MemoryError):
    """The device has not as much memory left as a batch needs."""


class Block:
    """A piece of device memory, and what has to happen before it may be written to again.

    Attributes
    ----------
    memory : (bytes,) uint8 device array
    after : list of events
        Of the streams that still read it.
    has_unknown_reader : bool
        Somebody may read it on a stream that we were not told.
    """

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.after: list[Any] = []
        self.readers: set[int] = set()
        self.has_unknown_reader = False


class DevicePool:
    """Hands out blocks of one device, and takes them back.

    Parameters
    ----------
    cuda : module
        `fusewarp.kernels.cuda`.
    index : int
        Of the device.
    max_free : int
        So many unused blocks are kept; the oldest are let go.
    """

    def __init__(self, cuda: Any, index: int, max_free: int = 8) -> None:
        self._cuda, self._index = cuda, index
        self._free: deque[Block] = deque(maxlen=max_free)
        self._lock = threading.Lock()

    def take(self, num_bytes: int, stream: Any) -> Block:
        """Return memory that may be written to in the order of `stream`.

        Raises
        ------
        DeviceMemoryError
            What is kept unused is let go first.
        """
        block = self._find(num_bytes)
        if block is None:
            return Block(self._allocate(num_bytes))
        if block.has_unknown_reader:
            self._cuda.wait_for_device()
        for reader in block.readers:  # work that a reader queued before it let go comes first
            event = self._cuda.new_event()
            event.record(self._cuda.foreign_stream(reader))
            event.wait(stream)
        for event in block.after:
            event.wait(stream)
        return Block(block.memory)

    def give_back(self, block: Block) -> None:
        """Take back a block that nobody will use from now on, but for what is queued."""
        with self._lock:
            self._free.append(block)

    def _find(self, num_bytes: int) -> Block | None:
        """Take the oldest free block of the right size: its work is the likeliest to be done."""
        with self._lock:
            for block in self._free:
                if num_bytes <= block.memory.size <= 2 * num_bytes:
                    self._free.remove(block)
                    return block
        return None

    def _allocate(self, num_bytes: int) -> Any:
        try:
            return self._cuda.device_empty(num_bytes)
        except self._cuda.OutOfMemoryError:
            with self._lock:
                self._free.clear()
        try:
            return self._cuda.device_empty(num_bytes)
        except self._cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{num_bytes / 1e6:.0f} MB are needed at once on cuda:{self._index}, which has "
                f"{self._cuda.free_bytes() / 1e6:.0f} MB left.",
                "Use a smaller batch, or a smaller dtype than float32; if TensorFlow runs in this "
                "process, switch its memory growth on (docs/cuda.md): it takes all by default.",
            ) from error


class PinnedPool:
    """Host memory that a device copies from by itself; a piece is lent to one user at a time."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._free: deque[tuple[NDArray[np.uint8], Any]] = deque(maxlen=16)
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Return memory of at least so many bytes, which nothing copies from any more."""
        with self._lock:
            places = [
                at
                for at, (piece, _) in enumerate(self._free)
                if num_bytes <= piece.size <= 2 * num_bytes
            ]
            found = self._free[places[0]] if places else None
            if found is not None:
                del self._free[places[0]]
        if found is None:
            pinned: NDArray[np.uint8] = self._cuda.pinned_empty(num_bytes)
            return pinned
        piece, copied = found
        if copied is not None:
            copied.synchronize()
        return piece

    def give_back(self, piece: NDArray[np.uint8], copied: Any = None) -> None:
        """Take back a piece; `copied` is the event after which nothing copies from it."""
        with self._lock:
            self._free.append((piece, copied))


class PinnedScratch:
    """Does for `Staging` what `buffers.Scratch` does, in memory that a device copies from."""

    def __init__(self, pool: PinnedPool) -> None:
        self._pool = pool
        self._piece: NDArray[np.uint8] = np.empty(0, np.uint8)

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Return uninitialised memory: the same as at the last call, if that was large enough."""
        if num_bytes > self._piece.size:
            self.close()
            self._piece = self._pool.take(num_bytes)
        return self._piece[:num_bytes]

    def close(self) -> None:
        """Give the memory back."""
        if self._piece.size:
            self._pool.give_back(self._piece)
            self._piece = np.empty(0, np.uint8)
