"""Rows of the kernel alone, pictures and output on the device; a copy there is the floor."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.codes import FILL_CODES, INTERPOLATION_CODES
from ...kernels.cuda_table import mixes_channels, table_bytes, view_table, write_table
from ..contract import Entry, Runner, Table
from ..work import crops, scale_colour
from .gpu_clock import Queue
from .gpu_work import GpuWork, entry, maps_from, moved_bytes, repeated
from .kernel import FILL_MODES, mixing_colour

MOST_IN_RING = 16
OUTPUTS, FILLS, SOURCES = "other outputs", "fill modes, to float16", "other sources, to float16"
INTERPOLATION, COLOUR, COPIES = "interpolation", "colour", "floors, copies on the device"


@dataclass(frozen=True)
class Case:
    """What one row does; the words of `warp_ragged`."""

    key: str
    name: str
    group: str = ""
    channels: int = 3
    dtype: str = "float16"
    layout: str = "HWC"
    fill_mode: str = "nearest"
    interpolation: str = "bilinear"
    is_mixed: bool = False
    is_resized: bool = False
    note: str = ""
    quick: bool = False

    def source_size(self, work: GpuWork) -> tuple[int, int]:
        """Return height and width of a source."""
        return work.tile_size if self.is_resized else (work.side, work.side)

    def traffic(self, work: GpuWork) -> int:
        """Return the bytes that a picture must move; tables, 136 a picture, are left out."""
        return moved_bytes(self.source_size(work), work.side, self.channels, self.dtype)

    @property
    def floor(self) -> str:
        """What its floor is named after: cases that move as much share one."""
        return f"{'resized' if self.is_resized else 'same size'}, {self.channels} x {self.dtype}"


CASES = (
    Case("float16", "uint8 to float16, HWC", quick=True),
    Case("float16.chw", "uint8 to float16, CHW", layout="CHW", quick=True),
    Case("float32", "to float32, HWC", OUTPUTS, dtype="float32", quick=True),
    Case("float32.chw", "to float32, CHW", OUTPUTS, dtype="float32", layout="CHW"),
    Case("uint8", "to uint8, HWC", OUTPUTS, dtype="uint8", quick=True),
    Case("uint8.chw", "to uint8, CHW", OUTPUTS, dtype="uint8", layout="CHW"),
    Case("nearest", "nearest, to float16, HWC", INTERPOLATION, interpolation="nearest", quick=True),
    *(Case(f"fill.{mode}", mode, FILLS, fill_mode=mode) for mode in FILL_MODES),
    Case("channels.1", "1 channel", SOURCES, channels=1),
    Case("channels.4", "4 channels", SOURCES, channels=4),
    Case(
        "ragged",
        "500 x 375, resized and augmented in one launch",
        SOURCES,
        is_resized=True,
        note="ragged road, all of one size; the kernel alone, so it aliases where it reduces",
        quick=True,
    ),
    Case("matrix", "full 3 x 4 colour matrix, to float16", COLOUR, is_mixed=True, quick=True),
)


def ring_length(bytes_a_launch: int, ring_bytes: int) -> int:
    """Return how many sets of buffers are used in turn."""
    return min(MOST_IN_RING, max(1, math.ceil(ring_bytes / bytes_a_launch)))


def _sources(work: GpuWork, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """Return a batch of sources, (batch_size, H, W, C) uint8."""
    height, width = size
    images = crops(work.batch_size, max(height, width))[:, :height, :width]
    return np.ascontiguousarray(images[..., np.arange(channels) % 3])


def _colour(case: Case, count: int) -> NDArray[np.float32] | None:
    if case.is_mixed:
        return repeated(mixing_colour()[0], count)
    return None if case.dtype == "uint8" else scale_colour(count, case.channels)


def _table(case: Case, work: GpuWork, colour: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """Return what a launch is told of its pictures, as `warp_ragged` would upload it."""
    count, (height, width) = work.batch_size, case.source_size(work)
    block = np.empty(table_bytes(count, case.channels), np.uint8)
    write_table(
        block,
        np.arange(count, dtype=np.int64) * (height * width * case.channels),
        np.tile(np.array([height, width], np.int64), (count, 1)),
        maps_from((height, width), work),
        colour,
        channels=case.channels,
        out_size=(work.side, work.side),
        fill_code=FILL_CODES[case.fill_mode],
    )
    return block


@functools.cache
def _on_device(work: GpuWork, size: tuple[int, int], channels: int, number: int) -> Any:
    """Bring a batch of sources to the device, (any,) uint8, once for all rows with as many."""
    cuda = Queue(work).cuda
    return cuda.to_device(_sources(work, size, channels).reshape(-1))


def _launch(case: Case, work: GpuWork, queue: Queue, pixels: Any, out: Any) -> Callable[[], None]:
    """Return what launches the warp of a batch of sources."""
    cuda, count = queue.cuda, work.batch_size
    colour = _colour(case, count)
    table = view_table(cuda.to_device(_table(case, work, colour)), count, case.channels)
    kind = cuda.Kind(
        channels=case.channels,
        is_whole=True,
        target=case.dtype,
        fill_mode=FILL_CODES[case.fill_mode],
        interpolation=INTERPOLATION_CODES[case.interpolation],
        is_mixed=mixes_channels(colour),
        is_planar=case.layout == "CHW",
        is_in_fours=cuda.can_go_in_fours(work.side, out),
    )
    size, cval = (work.side, work.side), np.float32(0)
    return lambda: cuda.launch(table, pixels, out, kind, size, cval, queue.stream)


def build_case(case: Case, work: GpuWork) -> Runner:
    """Make a row of the kernel's launches."""
    queue, a_picture, source_size = Queue(work), case.traffic(work), case.source_size(work)
    dtype = np.dtype(case.dtype)
    length = ring_length(a_picture * work.batch_size, work.ring_bytes)
    out_bytes = work.batch_size * work.side**2 * case.channels * dtype.itemsize
    with queue.using():
        launches = [
            _launch(
                case, work, queue, _on_device(work, source_size, case.channels, number),
                out.view(dtype),
            )
            for number, out in enumerate(queue.buffers(length, out_bytes))
        ]  # fmt: skip
        queue.cuda.wait_for_device()  # uploads do not run on the queue's stream
    return queue.runner(launches, work.batch_size, a_picture)


def build_copy(a_picture: int, work: GpuWork) -> Runner:
    """Make a row of copies on the device: what is read and what is written are half each."""
    queue = Queue(work)
    half = max(1, a_picture * work.batch_size // 2)

    def copy(source: Any, target: Any) -> Callable[[], None]:
        return lambda: target.copy_to_device(source, stream=queue.stream)

    with queue.using():
        length = ring_length(2 * half, work.ring_bytes)
        buffers = queue.buffers(2 * length, half)
    launches = [copy(*buffers[place : place + 2]) for place in range(0, 2 * length, 2)]
    return queue.runner(launches, work.batch_size, a_picture)


def case_entry(case: Case) -> Entry:
    """Return the row of a case."""
    return entry(
        "kernel",
        case.key,
        case.name,
        lambda work, threads: build_case(case, work),
        "ours",
        group=case.group,
        note=case.note,
        quick=case.quick,
    )


def copy_entry(case: Case, table: Table = "kernel", group: str = COPIES) -> Entry:
    """Return the floor of a case, and of all that move as much."""
    return entry(
        table,
        f"copy.{case.floor}",
        f"copy of as many bytes as {case.floor}",
        lambda work, threads: build_copy(case.traffic(work), work),
        "floor",
        group=group,
        quick=case.quick,
    )


def kernel_entries() -> tuple[Entry, ...]:
    """Return the rows of the table "kernel", floors first."""
    floors: dict[str, Case] = {}
    for case in sorted(CASES, key=lambda case: not case.quick):  # a quick case has a quick floor
        floors.setdefault(case.floor, case)
    return (*map(copy_entry, floors.values()), *map(case_entry, CASES))
