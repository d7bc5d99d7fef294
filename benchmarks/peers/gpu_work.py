"""The work that all rows on a GPU share, and the bytes that it must move."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...engine import Augmenter
from ..contract import Builder, Entry, Kind, Table
from ..work import POLICY, SIDE, Images, Maps, Work, crops

GPU_TABLES: tuple[Table, ...] = ("kernel", "device", "upload", "loader")
TILE_SIZE = (375, 500)  # height and width of the pictures that differ from the output in size
BYTES = "bytes_a_picture"  # the figure that a row's GB/s and its floor are found by


@dataclass(frozen=True)
class GpuWork(Work):
    """How much each row does, on which device.

    Attributes
    ----------
    side : int
        Of outputs, and of the pictures that are not resized.
    tile_size : (height, width)
        Of the pictures that are.
    index : int
        Of the device.
    ring_bytes : int
        Kernels and copies go round buffers of at least so much in all, several times what the
        caches of a card hold: what is measured is its memory.
    ramp_seconds : float
        Each turn begins with so much of the row's own work, not timed: a card that had nothing
        to do has slowed its clocks.
    """

    side: int = SIDE
    tile_size: tuple[int, int] = TILE_SIZE
    index: int = 0
    ring_bytes: int = 2**29
    ramp_seconds: float = 0.1

    @property
    def device(self) -> str:
        """The device, as `Augmenter` takes it."""
        return f"cuda:{self.index}"

    @property
    def images(self) -> Images:
        """(pictures, side, side, 3) uint8."""
        return crops(self.pictures, self.side)

    @property
    def batch(self) -> Images:
        """The first of `images`: as many as a batch has."""
        return self.images[: self.batch_size]


def moved_bytes(source_size: tuple[int, int], side: int, channels: int, dtype: DTypeLike) -> int:
    """Return what a picture costs at least: its uint8 source read once, its output written once."""
    height, width = source_size
    return (height * width + side * side * np.dtype(dtype).itemsize) * channels


def picture_bytes(work: GpuWork) -> int:
    """Return the bytes of one uint8 picture, which an upload has to move."""
    return work.side * work.side * 3


def float_traffic(work: GpuWork, dtype: DTypeLike = "float32") -> dict[str, float]:
    """Return the figure of rows from pictures on the device to floats there."""
    return {BYTES: moved_bytes((work.side, work.side), work.side, 3, dtype)}


def maps_from(source_size: tuple[int, int], work: GpuWork) -> Maps:
    """Return the inverse maps, (batch_size, 2, 3) float32, of sources of one size."""
    plan = Augmenter(POLICY).plan(
        np.arange(work.batch_size),
        0,
        size=(work.side, work.side),
        channels=3,
        source_dtype=np.uint8,
    )
    return plan.inverse_maps(slice(None), source_size)


def repeated(one: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return `count` copies of an array along a new first axis, C-contiguous."""
    return np.ascontiguousarray(np.broadcast_to(one, (count, *one.shape)))


def entry(
    table: Table, key: str, name: str, build: Builder, kind: Kind = "peer", **more: Any
) -> Entry:
    """Return a row that runs once, with one thread, unless `threads` says otherwise."""
    return Entry(table, key, name, build, kind, threads=more.pop("threads", 1), **more)
