"""The fast loop for one channel: bilinear, every fill mode and type.

Three loops for each output row: `locate_row`; pairs of neighbours gathered into two rows, pixel by
pixel, since no processor gathers bytes; and arithmetic on whole rows, which LLVM makes vectors of.
"""

import numpy as np

from .codes import CONSTANT
from .compiling import batch_loop_factory
from .locate import CAREFUL, OUTSIDE, TILE, make_row_locator, row_buffers, touch
from .pixel import lerp, to_uint8
from .simd import copy_pair, round_to_float16

IDENTITY = np.eye(1, 2, dtype=np.float32)[np.newaxis]
IDENTITY.flags.writeable = False


@batch_loop_factory
def make_gray_loop(fill_mode):
    """Compile the loop over a batch for one fill mode."""
    locate_row = make_row_locator(fill_mode, 1)
    is_constant = fill_mode == CONSTANT

    def warp_gray(
        pixels,
        starts,
        sizes,
        inverse_maps,
        colour,
        cval,
        offsets,
        row_weights,
        col_weights,
        pairs,
        out,
    ):
        """Warp a batch; the parameters are those of `vector.warp_pixels`.

        `pairs` (2, 2 * row length) of the source's type is scratch for neighbours, `out` is
        (n, h, w). The returned number only keeps `touch` from being left out.
        """
        upper, lower = pairs
        num_rows, num_cols = out.shape[1:]
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
                    locate_row(
                        inverse_maps[n], out_row, tile, size, offsets, row_weights, col_weights
                    )
                    for col in range(tile_cols):
                        place = start + np.intp(offsets[col] & ~(CAREFUL | OUTSIDE))
                        copy_pair(upper, 2 * col, pixels, place)
                        copy_pair(lower, 2 * col, pixels, place + row_step)
                    row = out[n, out_row, tile : tile + tile_cols]
                    for i in range(tile_cols):
                        col = np.uintp(i)
                        left, right = np.uintp(2) * col, np.uintp(2) * col + np.uintp(1)
                        weight = row_weights[col]
                        start_level = lerp(np.float32(upper[left]), np.float32(lower[left]), weight)
                        end_level = lerp(np.float32(upper[right]), np.float32(lower[right]), weight)
                        level = lerp(start_level, end_level, col_weights[col])
                        if is_constant:
                            level = cval if offsets[col] < 0 else level
                        level = level * factor + addend
                        if row.itemsize == 1:
                            row[col] = to_uint8(level)
                        elif row.itemsize == 2:
                            row[col] = round_to_float16(level)
                        else:
                            row[col] = level
        return touched

    return warp_gray


def run(pixels, starts, sizes, inverse_maps, colour, fill_mode, cval, is_planar, target):
    """Call the loop for these arguments, which have passed the checks of `warp`."""
    colour = IDENTITY if colour is None else colour
    rows = target[:, 0] if is_planar else target[..., 0]
    buffers = row_buffers(rows.shape[2])
    pairs = np.empty((2, 2 * buffers[0].size), pixels.dtype)
    loop = make_gray_loop(fill_mode)
    loop(pixels, starts, sizes, inverse_maps, colour, cval, *buffers, pairs, rows)
