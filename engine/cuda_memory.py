"""Memory of a CUDA device that is used again, in the order of streams.

Nothing here waits for the whole device, with one exception: memory that went to a consumer who did
not say on which stream it works, or has destroyed that stream.
"""

import threading
import weakref
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
    readers : dict of int to stream
        By their numbers, who may have queued more since. A stream of our own is kept alive; of
        another library's there is but the number (None).
    has_unknown_reader : bool
        Somebody may read it on a stream that we were not told.
    """

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.after: list[Any] = []
        self.readers: dict[int, Any] = {}
        self.has_unknown_reader = False


_pools: "weakref.WeakSet[DevicePool]" = weakref.WeakSet()
_pools_lock = threading.Lock()


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
    min_busy : int
        A block that is still being read is handed out only if there are so many of them: to wait
        for it, even on the device, is to do one after the other what could overlap.
    """

    def __init__(self, cuda: Any, index: int, max_free: int = 8, min_busy: int = 1) -> None:
        self._cuda, self._index, self._min_busy = cuda, index, min_busy
        self._free: deque[Block] = deque(maxlen=max_free)
        self._lock = threading.Lock()
        with _pools_lock:
            _pools.add(self)

    def take(self, num_bytes: int, stream: Any) -> Block:
        """Return memory that may be written to in the order of `stream`.

        Raises
        ------
        DeviceMemoryError
            What any pool of the device keeps unused is let go first.
        """
        block = self._find(num_bytes)
        if block is None:
            return Block(self._allocate(num_bytes))
        if block.has_unknown_reader or not self._waits_for_readers(block, stream):
            self._cuda.wait_for_device()
        for event in block.after:
            event.wait(stream)
        return Block(block.memory)

    def give_back(self, block: Block) -> None:
        """Take back a block that nobody will use from now on, but for what is queued.

        Takes no lock: the collector may call it on any thread, in the middle of `take` too.
        """
        if len(self._free) < (self._free.maxlen or 0):
            self._free.append(block)
            return
        with self._cuda.using(self._index):  # CUDA frees on a thread that has a device only
            self._free.append(block)

    def let_go(self) -> None:
        """Free what is unused."""
        with self._lock:
            self._free.clear()

    def _find(self, num_bytes: int) -> Block | None:
        """Take a free block of the right size: one that is done with, else the oldest."""
        with self._lock:  # nobody else makes the queue shorter
            blocks = [self._free.popleft() for _ in range(len(self._free))]
            fitting = [block for block in blocks if num_bytes <= block.memory.size <= 2 * num_bytes]
            found = next((block for block in fitting if self._is_ready(block)), None)
            if found is None and len(fitting) >= self._min_busy:
                found = fitting[0]
            self._free.extendleft(block for block in reversed(blocks) if block is not found)
        return found

    def _is_ready(self, block: Block) -> bool:
        told = not block.has_unknown_reader and not block.readers
        return told and all(self._cuda.is_done(event) for event in block.after)

    def _waits_for_readers(self, block: Block, stream: Any) -> bool:
        """Let work that readers queued before they let go come first; False: one cannot tell."""
        for pointer, reader in block.readers.items():
            event = self._cuda.new_event()
            try:
                event.record(self._cuda.foreign_stream(pointer) if reader is None else reader)
            except Exception:  # its library has destroyed the stream, which ends no work
                return False
            event.wait(stream)
        return True

    def _allocate(self, num_bytes: int) -> Any:
        try:
            return self._cuda.device_empty(num_bytes)
        except self._cuda.OutOfMemoryError:
            with _pools_lock:
                pools = [pool for pool in _pools if pool._index == self._index]
            for pool in pools:
                pool.let_go()
        try:
            return self._cuda.device_empty(num_bytes)
        except self._cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{num_bytes / 1e6:.1f} MB are needed at once on cuda:{self._index}, which has "
                f"{self._cuda.free_bytes() / 1e6:.1f} MB left.",
                "Use a smaller batch, or a smaller dtype than float32; if TensorFlow runs in this "
                "process, switch its memory growth on (docs/cuda.md): it takes all by default.",
            ) from error


class PinnedPool:
    """Host memory that a device copies from by itself; a piece is lent to one user at a time.

    Parameters
    ----------
    cuda : module
        `fusewarp.kernels.cuda`.
    max_free : int
        So many unused pieces are kept; the oldest are let go.
    """

    MIN_BUSY = 16  # of a size that are copied from, before `take` waits for one of them

    def __init__(self, cuda: Any, max_free: int = 2 * MIN_BUSY) -> None:
        self._cuda, self._max_free = cuda, max_free
        self._free: list[tuple[NDArray[np.uint8], Any]] = []
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Return memory of at least so many bytes, which nothing copies from any more."""
        with self._lock:
            found = self._find(num_bytes)
        if found is None:
            return self._allocate(num_bytes)
        piece, copied = found
        if copied is not None:
            copied.synchronize()
        return piece

    def _allocate(self, num_bytes: int) -> NDArray[np.uint8]:
        try:
            pinned: NDArray[np.uint8] = self._cuda.pinned_empty(num_bytes)
        except self._cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{num_bytes / 1e6:.1f} MB of the host's memory cannot be pinned for uploads.",
                "Use fewer threads or a smaller batch, or raise the limit of locked memory.",
            ) from error
        return pinned

    def give_back(self, piece: NDArray[np.uint8], copied: Any = None) -> None:
        """Take back a piece; `copied` is the event after which nothing copies from it."""
        with self._lock:
            self._free.append((piece, copied))
            _, dropped = self._free.pop(0) if len(self._free) > self._max_free else (None, None)
        if dropped is not None:
            dropped.synchronize()

    def _find(self, num_bytes: int) -> tuple[NDArray[np.uint8], Any] | None:
        fitting = [
            at
            for at, (piece, _) in enumerate(self._free)
            if num_bytes <= piece.size <= 2 * num_bytes
        ]
        ready = [at for at in fitting if self._is_ready(self._free[at][1])]
        if not ready and len(fitting) < self.MIN_BUSY:
            return None
        return self._free.pop((ready or fitting)[0])

    def _is_ready(self, copied: Any) -> bool:
        return copied is None or bool(self._cuda.is_done(copied))


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
