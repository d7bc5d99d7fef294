"""The fast loop for one channel: bilinear, every fill mode and type.

Three loops for each output row: `locate_row`; `simd.sample_gray`, which gathers the neighbours of
eight pixels and interpolates them at once; and a cast of the whole row.
"""

import numpy as np

from .codes import CONSTANT, PLACE
from .compiling import batch_loop, batch_loop_factory
from .locate import TILE, locate_row_at, row_buffers, row_locator, touch
from .pixel import to_uint8
from .simd import SPAN, round_to_float16, sample_gray
from .views import read_only

IDENTITY = read_only(np.eye(1, 2, dtype=np.float32)[np.newaxis])


@batch_loop
def finish_row(levels, factor, addend, row):
    """Scale, cast and store the levels of a row; LLVM makes vectors of it."""
    for i in range(row.size):
        level = levels[i] * factor + addend
        if row.itemsize == 1:
            row[i] = to_uint8(level)
        elif row.itemsize == 2:
            row[i] = round_to_float16(level)
        else:
            row[i] = level


@batch_loop_factory
def make_gray_loop(is_constant):
    """Compile the loop over a batch; `is_constant`: what lies outside is a constant."""

    def warp_gray(
        pixels,
        starts,
        sizes,
        inverse_maps,
        colour,
        cval,
        locator,
        buffers,
        levels,
        is_outside,
        out,
    ):
        """Warp a batch; the parameters are those of `vector.warp_pixels`.

        `levels`, float32, and `is_outside`, bool, are scratch as long as the offsets;
        `out` is (n, h, w). The returned number only keeps `touch` from being left out.
        """
        num_rows, num_cols = out.shape[1:]
        _, offsets, row_weights, col_weights = buffers
        touched = np.float32(0)
        for n in range(out.shape[0]):
            start = starts[n]
            height, width = sizes[n, 0], sizes[n, 1]
            size = (np.float32(height), np.float32(width))
            row_step = width if height > 1 else 0
            touched += np.float32(touch(pixels, start, start + height * width))
            matrix = colour[min(n, colour.shape[0] - 1)]
            factor, addend = matrix[0, 0], matrix[0, 1]
            for tile in range(0, num_cols, TILE):
                tile_cols = min(num_cols - tile, TILE)
                for out_row in range(num_rows):
                    locate_row_at(
                        locator, inverse_maps[n], out_row, tile, tile_cols, size, 1, buffers
                    )
                    if is_constant:
                        for col in range((tile_cols + SPAN - 1) // SPAN * SPAN):
                            is_outside[col] = offsets[col] < 0
                            offsets[col] &= np.int32(PLACE)
                    for first in range(0, tile_cols, SPAN):
                        sample_gray(
                            pixels,
                            start,
                            row_step,
                            offsets,
                            row_weights,
                            col_weights,
                            levels,
                            first,
                        )
                    if is_constant:
                        for col in range(tile_cols):
                            levels[col] = cval if is_outside[col] else levels[col]
                    finish_row(levels, factor, addend, out[n, out_row, tile : tile + tile_cols])
        return touched

    return warp_gray


def run(pixels, starts, sizes, inverse_maps, colour, fill_mode, cval, is_planar, target):
    """Call the loop for these arguments, which have passed the checks of `warp`."""
    colour = IDENTITY if colour is None else colour
    rows = target[:, 0] if is_planar else target[..., 0]
    locator, buffers = row_locator(fill_mode, False), row_buffers(False)
    scratch = np.empty(TILE, np.float32), np.empty(TILE, np.bool_)
    loop = make_gray_loop(fill_mode == CONSTANT)
    loop(pixels, starts, sizes, inverse_maps, colour, cval, locator, buffers, *scratch, rows)
