"""The road of pictures to a CUDA device and through the warp, ordered by streams and events.

Two streams: one uploads, one computes. A thread waits for its own upload only, since it wants to
use the pinned memory again; meanwhile the device warps what came before.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cuda_memory import Block, DevicePool, PinnedPool, PinnedScratch
from .device_arrays import device_array
from .device_batch import DeviceBatch
from .minify import reduce_in_place
from .plan import Plan
from .sources import Located
from .staging import Staging

_LAUNCHING = threading.Lock()  # Numba's simulator runs one kernel at a time
SMALL_PIECE = 2**16  # bytes: tables of different batches use the same memory again
BUSY_UPLOADS = 4  # that wait for the warp, before an upload waits for one of them


class Output(NamedTuple):
    """What the warp needs to know beside the plan: the words of `warp_ragged`."""

    fill_mode: str
    cval: float
    interpolation: str
    layout: str
    target: str


class BatchPool:
    """Makes batches; see `CudaPipeline.batches`."""

    def __init__(self, cuda: Any, index: int, stream: Any, memory: DevicePool) -> None:
        self._cuda, self._index, self._stream, self._memory = cuda, index, stream, memory

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceBatch:
        """Return a batch that is still to be filled."""
        return DeviceBatch(self._cuda, self._memory, self._index, self._stream, shape, dtype)


class CudaPipeline:
    """Everything that one `Augmenter` keeps on a device.

    Parameters
    ----------
    index : int
        Of the device, as `choose_device` returned it.
    threads : int
        So many may upload at once.
    """

    def __init__(self, index: int, threads: int) -> None:
        from ..kernels import cuda

        self.cuda, self.index, self.threads = cuda, index, threads
        with cuda.using(index):
            self._uploading, self.stream = cuda.new_stream(), cuda.new_stream()
        self._uploads = DevicePool(cuda, index, threads + BUSY_UPLOADS, BUSY_UPLOADS)
        self._blocks = DevicePool(cuda, index)
        self._pinned = PinnedPool(cuda, threads + PinnedPool.MIN_BUSY)
        self.own_batches = self.batches(max_free=4)  # fresh memory may stop the whole device
        self._reading = threading.Lock()
        self._read: deque[tuple[Any, Any]] = deque()  # arrays of others that are still being read
        weakref.finalize(self, _wait_until_read, self._read).atexit = False

    def batches(self, max_free: int) -> "BatchPool":
        """Return a pool of batches, which keeps the memory of so many that nobody holds."""
        memory = DevicePool(self.cuda, self.index, max_free)
        return BatchPool(self.cuda, self.index, self.stream, memory)

    def finished(self, batch: DeviceBatch, kept: NDArray[np.bool_] | None) -> DeviceBatch:
        """Return a batch all of whose work is queued; only some rows of it, if `kept` says so."""
        with self.cuda.using(self.index):
            if kept is not None:
                batch = self._compress(batch, kept)
            batch.finish()
        return batch

    def _compress(self, batch: DeviceBatch, kept: NDArray[np.bool_]) -> DeviceBatch:
        """Copy the rows to be kept, neighbours at once."""
        rows = np.flatnonzero(kept)
        some = self.own_batches.empty((len(rows), *batch.shape[1:]), batch.dtype)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        start = 0
        for run in np.split(rows, breaks) if len(rows) else []:
            source = batch.rows(slice(int(run[0]), int(run[-1]) + 1))
            target = some.rows(slice(start, start + len(run)))
            target.copy_to_device(source, stream=self.stream)
            start += len(run)
        batch.finish()
        return some

    def locate(self, images: Any) -> tuple[Located, tuple[int, ...]]:
        """Look at pictures on the device, (n, H, W, C), whatever library they are of."""
        with self.cuda.using(self.index):
            self.let_go_what_was_read()
            array = device_array(self.cuda, images, self.index, self.stream)
            pixels = array.reshape(array.size)
        shape = tuple(int(length) for length in array.shape)
        length = shape[1] * shape[2] * shape[3]
        starts = np.arange(shape[0], dtype=np.int64) * length
        sizes = np.empty((shape[0], 2), np.int64)
        sizes[:] = shape[1:3]
        return Located(pixels, starts, sizes), shape

    @contextmanager
    def scratch(self) -> Iterator[PinnedScratch]:
        """Lend memory of the host that the device copies from by itself."""
        with self.cuda.using(self.index):
            scratch = PinnedScratch(self._pinned)
            try:
                yield scratch
            finally:
                scratch.close()

    def warp_pinned(
        self, located: Located, plan: Plan, rows: slice, output: Output, out: DeviceBatch
    ) -> None:
        """Upload pictures and queue their warp; returns when their memory may be used again.

        Parameters
        ----------
        located : Located
            In memory of `scratch`; overwritten where pictures are made smaller first.
        plan : Plan
            Of the whole batch.
        rows : slice
            Which rows of the batch the pictures are.
        output : Output
        out : DeviceBatch
            The whole batch.
        """
        factors, sizes, maps = plan.fit(rows, located)
        channels = _channels(out, output)
        if factors is not None:
            reduce_in_place(located, factors, channels)
        used = int((located.starts + sizes[:, 0] * sizes[:, 1] * channels).max())
        with self.cuda.using(self.index):
            pixels = located.pixels[:used]
            block = self._uploads.take(max(pixels.nbytes, Staging.GROUP_BYTES), self._uploading)
            uploaded = self.cuda.new_event()
            try:
                device = block.memory[: pixels.nbytes].view(pixels.dtype)
                self.cuda.copy_to_device(pixels, device, self._uploading)
                uploaded.record(self._uploading)
                uploaded.wait(self.stream)
                here = Located(device, located.starts, sizes)
                self._warp(here, maps, plan.colour_of(rows), output, out.rows(rows))
            finally:  # after an error too: the pinned memory is lent to others next
                self._release(block, self._uploads)
                uploaded.synchronize()

    def warp_device(
        self, located: Located, plan: Plan, rows: slice, output: Output, out: DeviceBatch
    ) -> None:
        """Queue the warp of pictures that lie on the device; parameters as of `warp_pinned`."""
        factors, sizes, maps = plan.fit(rows, located)
        channels = _channels(out, output)
        with self.cuda.using(self.index):
            pixels, starts, block = located.pixels, located.starts, None
            try:
                if factors is not None:
                    block, pixels, starts = self._reduce(located, factors, sizes, channels)
                here = Located(pixels, starts, sizes)
                self._warp(here, maps, plan.colour_of(rows), output, out.rows(rows))
            finally:
                if block is not None:
                    self._release(block, self._blocks)
                self._hold_until_read(located.pixels)

    def _hold_until_read(self, array: Any) -> None:
        """Keep an array of somebody else, who would use its memory again."""
        done = self.cuda.new_event()
        done.record(self.stream)
        with self._reading:
            self._read.append((done, array))

    def let_go_what_was_read(self) -> None:
        """Let others have back what has been read."""
        arrays = []
        with self._reading:
            while self._read and self.cuda.is_done(self._read[0][0]):
                arrays.append(self._read.popleft())
        del arrays  # what their libraries do then is done without the lock

    def _reduce(
        self,
        located: Located,
        factors: NDArray[np.int64],
        sizes: NDArray[np.int64],
        channels: int,
    ) -> tuple[Block, Any, NDArray[np.int64]]:
        """Queue the averaging of areas into memory of its own."""
        lengths = sizes[:, 0] * sizes[:, 1] * channels
        to = np.cumsum(lengths) - lengths
        block = self._blocks.take(int(lengths.sum()) * located.pixels.dtype.itemsize, self.stream)
        num_bytes = int(lengths.sum()) * located.pixels.dtype.itemsize
        reduced = block.memory[:num_bytes].view(located.pixels.dtype)
        with _LAUNCHING, self._tables() as upload:
            self.cuda.reduce_ragged(
                located.pixels, located.starts, located.sizes, factors, reduced, to, channels,
                stream=self.stream, upload=upload,
            )  # fmt: skip
        return block, reduced, to

    def _warp(
        self,
        located: Located,
        inverse_maps: NDArray[np.float32],
        colour: NDArray[np.float32] | None,
        output: Output,
        out: Any,
    ) -> None:
        with _LAUNCHING, self._tables() as upload:
            self.cuda.warp_ragged(
                located.pixels,
                located.starts,
                located.sizes,
                inverse_maps,
                out,
                colour=colour,
                stream=self.stream,
                upload=upload,
                **output._asdict(),
            )

    @contextmanager
    def _tables(self) -> Iterator[Callable[[NDArray[np.uint8]], Any]]:
        """Lend a function that brings what a launch is told to the device, in stream order."""
        lent: list[tuple[NDArray[np.uint8], Block]] = []

        def upload(table: NDArray[np.uint8]) -> Any:
            block = self._blocks.take(max(table.nbytes, SMALL_PIECE), self.stream)
            pinned = self._pinned.take(max(table.nbytes, SMALL_PIECE))
            lent.append((pinned, block))
            pinned[: table.nbytes] = table
            device = block.memory[: table.nbytes]
            self.cuda.copy_to_device(pinned[: table.nbytes], device, self.stream)
            return device

        try:
            yield upload
        finally:
            for pinned, block in lent:
                self._pinned.give_back(pinned, self._release(block, self._blocks))

    def _release(self, block: Block, pool: DevicePool) -> Any:
        """Give memory back that the computing stream still uses; return the event that ends it."""
        event = self.cuda.new_event()
        event.record(self.stream)
        block.after.append(event)
        pool.give_back(block)
        return event


def _wait_until_read(read: deque[tuple[Any, Any]]) -> None:
    """Let nobody have arrays back while a pipeline that has died still reads them."""
    for done, _ in read:
        done.synchronize()


def _channels(out: DeviceBatch, output: Output) -> int:
    return out.shape[3 if output.layout == "HWC" else 1]
