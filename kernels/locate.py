"""Where the pixels of an output row come from: the first of the two loops of the fast kernels."""

import numpy as np

from .codes import CONSTANT, MIRROR, NEAREST_EDGE, OUTSIDE, PLACE, REFLECT, WRAP
from .compiling import batch_loop_factory
from .pixel import (
    BLOCK,
    block_base,
    clamp_coordinate,
    fold_mirror,
    fold_reflect,
    fold_terms,
    fold_wrap,
    is_outside,
    pixel_function,
    step_from_base,
)

TILE = 256  # output columns at a time: turned, they cross so many source rows, which L1 can hold
CACHE_LINE = 64  # bytes
MOST_TOUCHED = 2**22  # bytes; more would not stay in cache


@pixel_function
def fold_not(index, weight, terms):
    """Leave a position to `clamp_coordinate`: fill modes nearest and constant."""
    return index, weight


FOLDS = {
    CONSTANT: fold_not,
    NEAREST_EDGE: fold_not,
    REFLECT: fold_reflect,
    WRAP: fold_wrap,
    MIRROR: fold_mirror,
}


@batch_loop_factory
def make_row_locator(fill_mode, channels):
    """Compile `locate_row` for one fill mode: a branch on it in the loop would stop vectors."""
    fold = FOLDS[fill_mode]
    is_constant = fill_mode == CONSTANT
    pixel_length = np.int32(channels)

    def locate_row(inverse_map, out_row, first_col, size, offsets, row_weights, col_weights):
        """Find where pixels of one output row come from, from `first_col` on.

        `size` is the (height, width) of the source as float32. `offsets`, int32, receive the place
        in the source of the upper left of 2 x 2 neighbours, in elements, marked where outside;
        `row_weights` and `col_weights`, float32, the shares of the lower and the right ones. The
        length of all three is a multiple of BLOCK: what lies beyond the row is computed and never
        used. Returns the furthest place of all, in a loop of its own: within the other one, LLVM
        would make no vectors.
        """
        height, width = size
        row_terms, col_terms = fold_terms(height, fill_mode), fold_terms(width, fill_mode)
        row_length = pixel_length * np.int32(width)
        row_change, col_change = inverse_map[0, 1], inverse_map[1, 1]
        for start in range(0, offsets.shape[0], BLOCK):
            row_base = block_base(inverse_map, 0, out_row, first_col + start)
            col_base = block_base(inverse_map, 1, out_row, first_col + start)
            for i in range(BLOCK):
                step = np.float32(np.int32(i))
                row, row_weight = step_from_base(row_base, row_change, step)
                col, col_weight = step_from_base(col_base, col_change, step)
                mark = np.int32(0)
                if is_constant and (
                    is_outside(row, row_weight, height) or is_outside(col, col_weight, width)
                ):
                    mark = np.int32(OUTSIDE)
                row, row_weight = fold(row, row_weight, row_terms)
                col, col_weight = fold(col, col_weight, col_terms)
                row, row_weight = clamp_coordinate(row, row_weight, height)
                col, col_weight = clamp_coordinate(col, col_weight, width)
                offset = np.int32(row) * row_length + pixel_length * np.int32(col)
                # Signed, Numba would allow for an index of -1, and not store vectors.
                here = np.uintp(start + i)
                offsets[here] = offset | mark
                row_weights[here] = row_weight
                col_weights[here] = col_weight
        furthest = np.int32(0)
        for i in range(offsets.shape[0]):
            furthest = max(furthest, offsets[i] & np.int32(PLACE))
        return furthest

    return locate_row


@pixel_function
def touch(pixels, start, stop):
    """Read an element of each cache line in order: read as a turn comes by them, each one stalls.

    The sum only keeps the reads from being left out.
    """
    total = pixels[start]
    if (stop - start) * pixels.itemsize <= MOST_TOUCHED:
        for place in range(start, stop, CACHE_LINE // pixels.itemsize):
            total += pixels[place]
    return total


def row_buffers(num_cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scratch for `locate_row`: offsets, row weights and column weights of a tile.

    Each begins with a cache line: what a vector has stored across two, the processor cannot hand on
    to the next load, and a warp took up to twice as long.
    """
    length = -(-min(num_cols, TILE) // BLOCK) * BLOCK
    memory = np.empty(3 * 4 * TILE + CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    offsets, row_weights, col_weights = (
        memory[at : at + 4 * length].view(dtype)
        for at, dtype in zip(
            range(first, memory.size - CACHE_LINE + first, 4 * TILE),
            (np.int32, np.float32, np.float32),
            strict=True,
        )
    )
    return offsets, row_weights, col_weights
