"""Rows of fusewarp on a GPU: the `Augmenter`, the `Loader`, and the floors of uploads and files."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ...engine import ArraySource, Augmenter, FolderSource, Loader
from ..contract import ALL_THREADS, Builder, Entry, Peer, Runner, Table
from ..work import POLICY
from .floors import decode_only
from .gpu_clock import Queue
from .gpu_kernel import CASES, copy_entry, kernel_entries
from .gpu_work import BYTES, GpuWork, entry, float_traffic, picture_bytes

INSTALL = "pip install 'fusewarp[cuda]'"
SHRINK = 8  # sides of the areas whose means are a batch's reduction
REDUCED = f"batches reduced to means of {SHRINK} x {SHRINK} on the device"


def make_augmenter(work: GpuWork, dtype: str = "float32") -> Augmenter:
    """Return an augmenter of the common ranges and size, on the device."""
    size, threads = (work.side, work.side), work.threads[-1]
    return Augmenter(POLICY, size=size, dtype=dtype, device=work.device, threads=threads)


def _applied(augmenter: Augmenter, batches: list[Any], queue: Queue) -> Callable[[int], int]:
    """Augment batches in turn; each batch is let go when the next one is there."""
    ids = np.arange(len(batches[0]))

    def run(laps: int) -> int:
        for lap in range(laps):
            augmenter.apply(batches[lap % len(batches)], ids, lap)
        with queue.using():
            queue.cuda.wait_for_device()
        return laps * len(ids)

    return run


def apply_on_device(dtype: str) -> Builder:
    """Describe `Augmenter.apply` of pictures that lie on the device."""

    def build(work: GpuWork, threads: int) -> Runner:
        queue = Queue(work)
        with queue.using():
            batches = [queue.cuda.to_device(part) for part in _parts(work)]
        figures = float_traffic(work, dtype)
        return Runner(
            _applied(make_augmenter(work, dtype), batches, queue), figures=lambda: figures
        )

    return build


def apply_with_upload(dtype: str) -> Builder:
    """Describe `Augmenter.apply` of arrays in the host's memory."""

    def build(work: GpuWork, threads: int) -> Runner:
        run = _applied(make_augmenter(work, dtype), _parts(work), Queue(work))
        return Runner(run, figures=upload_figures(work))

    return build


def _parts(work: GpuWork) -> list[Any]:
    """Cut the pictures into batches."""
    starts = range(0, work.pictures - work.batch_size + 1, work.batch_size)
    return [work.images[start : start + work.batch_size] for start in starts]


def upload_figures(work: GpuWork) -> Callable[[], dict[str, float]]:
    """Return the figures of rows that upload pictures as they are."""
    figures = {BYTES: float(picture_bytes(work))}
    return lambda: figures


def pinned_copy(work: GpuWork, threads: int) -> Runner:
    """Copy the same bytes from pinned memory of the host to the device, and do nothing else."""
    queue = Queue(work)

    def copy(part: Any) -> Callable[[], None]:
        pinned = queue.cuda.pinned_empty(part.nbytes)
        pinned[:] = part.reshape(-1)
        target = queue.cuda.device_empty(part.nbytes)
        return lambda: queue.cuda.copy_to_device(pinned, target, queue.stream)

    with queue.using():
        launches = [copy(part) for part in _parts(work)]
    return queue.runner(launches, work.batch_size, picture_bytes(work))


class Means:
    """Reduces batches on the device, each byte read once: a consumer that costs next to nothing."""

    def __init__(self, work: GpuWork) -> None:
        self._queue = Queue(work)
        self.is_simulated: bool = self._queue.cuda.is_simulated()
        self._side = work.side
        self._tables: dict[int, Any] = {}
        self._reduced: Any = None

    def add(self, batch: Any) -> int:
        """Queue the reduction of an (n, side, side, 3) float32 batch; return n."""
        queue, count = self._queue, len(batch)
        length, short = self._side**2 * 3, -(-self._side // SHRINK)
        each = np.arange(count, dtype=np.int64)

        def upload(table: Any) -> Any:  # the same for all batches of a length
            if count not in self._tables:
                self._tables[count] = queue.cuda.to_device(table)
            return self._tables[count]

        with queue.using():
            array = batch.read_by(queue.stream)
            queue.cuda.reduce_ragged(
                array.reshape(array.size),
                each * length,
                np.full((count, 2), self._side, np.int64),
                np.full((count, 2), SHRINK, np.int64),
                self._room(count * short**2 * 3),
                each * short**2 * 3,
                3,
                stream=queue.stream,
                upload=upload,
            )
        return count

    def wait(self) -> None:
        """Block until all reductions are done."""
        with self._queue.using():
            self._queue.stream.synchronize()

    def _room(self, count: int) -> Any:
        """Return memory for so many means, the same at each call."""
        if self._reduced is None or self._reduced.size < count:
            self._reduced = self._queue.cuda.device_empty(4 * count).view(np.float32)
        return self._reduced


def loader_row(
    make_source: Callable[[GpuWork], Any],
    has_bytes: bool,
    decode_on: Literal["host", "device"] = "host",
) -> Builder:
    """Describe whole epochs of a loader on the device, each batch reduced there."""

    def build(work: GpuWork, threads: int) -> Runner:
        means = Means(work)
        ahead = 0 if means.is_simulated else 2  # the simulator runs one kernel at a time
        options: dict[str, Any] = {"prefetch": ahead, "decode_on": decode_on}
        loader = Loader(make_source(work), make_augmenter(work), work.batch_size, **options)

        def run(laps: int) -> int:
            loader.epochs = laps
            pictures = sum(means.add(batch.images) for batch in loader)
            means.wait()
            return pictures

        def decoded() -> dict[str, float]:
            info = loader.decoder_info()
            return {} if info is None else {"decoded on the host": float(info.on_host)}

        return Runner(run, figures=upload_figures(work) if has_bytes else decoded)

    return build


def array_source(work: GpuWork) -> ArraySource:
    """Return the source of pictures in memory."""
    return ArraySource(work.images)


def folder_source(work: GpuWork) -> FolderSource:
    """Return the source of JPEGs."""
    return FolderSource(work.tiles)


def _ours(table: Table, key: str, name: str, build: Builder, note: str, **more: Any) -> Entry:
    return entry(table, key, name, build, "ours", note=note, threads=ALL_THREADS, **more)


def _pinned(table: Table, group: str = "") -> Entry:
    note = "cuMemcpyHtoDAsync of a batch at a time"
    return entry(
        table, "pinned", "copy from pinned memory only", pinned_copy,
        "floor", note=note, quick=True, group=group,
    )  # fmt: skip


FLOATS = {case.dtype: case for case in reversed(CASES)}
ENTRIES = (
    *kernel_entries(),
    copy_entry(FLOATS["float32"], "device", ""),
    copy_entry(FLOATS["float16"], "device", ""),
    *(
        _ours("device", f"apply.{dtype}", f"fusewarp Augmenter.apply, {dtype}",
              apply_on_device(dtype), "parameters drawn, table uploaded, output allocated",
              quick=dtype == "float32")
        for dtype in ("float32", "float16")
    ),
    _pinned("upload"),
    *(
        _ours("upload", f"apply.{dtype}", f"fusewarp Augmenter.apply, {dtype}",
              apply_with_upload(dtype), "from pageable memory, through pinned staging",
              quick=dtype == "float32")
        for dtype in ("float32", "float16")
    ),
    _pinned("loader", "arrays"),
    _ours("loader", "arrays", "fusewarp Loader", loader_row(array_source, True),
          f"float32; {REDUCED}", group="arrays", quick=True),
    entry("loader", "decode", "read and decode only", decode_only, "floor", group="JPEGs",
          note="simplejpeg on the CPU, at full size", threads=ALL_THREADS, quick=True),
    _ours("loader", "jpeg", "fusewarp Loader", loader_row(folder_source, False),
          f"float32; decoded on the CPU at a useful size; {REDUCED}", group="JPEGs", quick=True),
)  # fmt: skip

PEER = Peer(
    name="fusewarp on a GPU",
    packages=("numba-cuda",),
    install=INSTALL,
    process="native",
    entries=ENTRIES,
)
