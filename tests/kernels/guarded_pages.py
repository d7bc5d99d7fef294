"""Run by `test_vector.py` in a process of its own: arrays that touch pages nobody may touch.

Source and target once end where a forbidden page begins, once begin where one ends; the source's
own pages are read-only. A byte read or written beyond is a segmentation fault.
"""

import ctypes
import mmap
import sys
from itertools import product

import numpy as np

from fusewarp.kernels import warp
from fusewarp.kernels.grid import take_grid
from fusewarp.kernels.reduce import reduce_areas
from oracles import warp_reference as reference

PAGE = mmap.PAGESIZE
FORBIDDEN, READ_ONLY = 0, mmap.PROT_READ
LIBC = ctypes.CDLL(None, use_errno=True)
KINDS = [(3, "uint8"), (1, "uint8"), (4, "uint8"), (3, "float32"), (1, "float32")]
TARGETS = (np.float32, np.uint8, np.float16)
KEPT = []  # mapped memory must outlive its arrays


def protect(address, size, access):
    if LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), access):
        raise OSError(ctypes.get_errno(), "mprotect")


class Room:
    """Pages between two forbidden ones."""

    def __init__(self, size):
        self.size = -(-size // PAGE) * PAGE
        self.memory = mmap.mmap(-1, self.size + 2 * PAGE)
        self.bytes = np.frombuffer(self.memory, np.uint8)[PAGE : PAGE + self.size]
        self.start = self.bytes.ctypes.data
        protect(self.start - PAGE, PAGE, FORBIDDEN)
        protect(self.start + self.size, PAGE, FORBIDDEN)
        KEPT.append(self)

    def array(self, shape, dtype, at_end):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        place = self.size - size if at_end else 0
        return self.bytes[place : place + size].view(dtype).reshape(shape)


def place(values, at_end):
    """Copy an array to the edge of a room, and make its pages read-only."""
    room = Room(values.nbytes)
    array = room.array(values.shape, values.dtype, at_end)
    array[:] = values
    protect(room.start, room.size, READ_ONLY)
    return array


def check(rng, kind, shape, out_shape, dtype, layout, fill_mode, at_end):
    channels, source = kind
    images = reference.random_images(rng, (2, *shape, channels), source)
    images = place(images % 255, at_end)
    maps = reference.random_inverse_maps(rng, 2, shape, out_shape)
    maps[1] = [[1, 0, 0], [0, 1, 0]]  # reads every pixel, the last one too
    colour = np.tile(np.eye(channels, channels + 1, dtype=np.float32), (2, 1, 1))
    target_shape = (2, *out_shape, channels)
    if layout == "CHW":
        target_shape = (2, channels, *out_shape)
    target = Room(4 * int(np.prod(target_shape))).array(target_shape, dtype, at_end)
    maps, colour = place(maps, at_end), place(colour, at_end)
    sources = np.array([1, 0])  # the array's last image first
    stays = source == dtype == "uint8"  # without colours it goes in fixed point
    options = {"colour": None if stays else colour, "layout": layout, "fill_mode": fill_mode}
    warp(images, maps, target, sources=sources, **options)
    levels = reference.warp(images[sources], maps, out_shape, fill_mode, "bilinear")
    target = target if layout == "HWC" else target.transpose(0, 2, 3, 1)
    sure = ~reference.near_jump(maps, shape, out_shape, fill_mode, "bilinear")
    np.testing.assert_allclose(target[sure].astype(float), levels[sure], atol=0.6, rtol=0)


def check_grid(rng, shape, out_shape, at_end):
    image = place(rng.integers(0, 256, (*shape, 3), np.uint8), at_end)
    rows, cols = (
        rng.integers(0, size, count) for size, count in zip(shape, out_shape, strict=True)
    )
    rows[-1], cols[0], cols[-1] = shape[0] - 1, shape[1] - 1, shape[1] - 1
    out_shape = (*out_shape, 3)
    out = Room(int(np.prod(out_shape))).array(out_shape, np.uint8, at_end)
    take_grid(image, rows, cols, out)
    np.testing.assert_array_equal(out, image[rows[:, None], cols])


def check_reduce(rng, channels, shape, factor, at_end):
    image = place(rng.integers(0, 256, (*shape, channels), np.uint8), at_end)
    small = tuple(-(-side // by) for side, by in zip(shape, factor, strict=True))
    out = Room(int(np.prod(small)) * channels).array((*small, channels), np.uint8, at_end)
    first, sizes, factors = np.zeros(1, np.int64), np.array([shape]), np.array([factor])
    reduce_areas(image.reshape(-1), first, sizes, factors, channels, out.reshape(-1), first)
    block = image[: factor[0], : factor[1]].reshape(-1, channels).astype(float)
    np.testing.assert_array_equal(out[0, 0], np.floor(block.mean(0) + 0.5))


def main():
    rng = np.random.default_rng(5)
    factors = [(1, 2), (2, 2), (4, 4), (2, 1), (8, 8)]
    for channels, shape, factor in product(
        (1, 3, 4), [(1, 1), (2, 4), (8, 8), (5, 18), (16, 33)], factors
    ):
        for at_end in (True, False):
            check_reduce(rng, channels, shape, factor, at_end)
    for at_end in (True, False):
        for shape in [(1, 1), (2, 2), (5, 4)]:
            for out_shape in [(1, 1), (3, 7)]:
                check_grid(rng, shape, out_shape, at_end)
    shapes = [(2, 2), (1, 3), (3, 2), (5, 4), (1, 9), (31, 23), (1, 2)]
    for kind, shape in product(KINDS, shapes):
        for out_shape in [shape, (1, 1), (3, 33)]:
            # The three types of target together are minutes of compiling: RGB alone has them all.
            for dtype in TARGETS if kind == KINDS[0] else TARGETS[:1]:
                for layout, at_end in product(("HWC", "CHW"), (True, False)):
                    check(rng, kind, shape, out_shape, dtype, layout, sys.argv[1], at_end)


main()
print("untouched")
