"""The fast loop: RGB images of uint8, bilinear, every fill mode, target and layout.

Two loops for each output row. `locate_row` turns coordinates into byte offsets and weights by the
same pixel functions as the generic loop; it has no branch, so LLVM makes vectors of it. Then
`simd.py` works on one pixel at a time, three channels at once. kernels/README.md derives both.
"""

import numpy as np
from numba import config

from .codes import BILINEAR, CONSTANT, MIRROR, NEAREST_EDGE, REFLECT, WRAP
from .compiling import batch_loop_factory
from .generic import read_only, view_target
from .pixel import (
    BLOCK,
    ZERO,
    block_base,
    clamp_coordinate,
    fold_mirror,
    fold_reflect,
    fold_wrap,
    is_outside,
    pixel_function,
    step_from_base,
)
from .simd import (
    has_float16,
    multiply_add,
    sample_rgb,
    sample_rgb_at_end,
    spread_blue,
    spread_green,
    spread_red,
    store_planar,
    store_rgb,
    store_rgb_wide,
)

CAREFUL = np.int32(-(2**31))  # marks an offset whose pixel needs care when read or stored
OUTSIDE = np.int32(2**30)  # marks, with CAREFUL, a pixel that is cval
CACHE_LINE = 64
MOST_TOUCHED = 2**22  # bytes; more would not stay in cache


IDENTITY = np.eye(3, 4, dtype=np.float32)[np.newaxis]
IDENTITY.flags.writeable = False
MIXES = np.float32(1) - np.eye(3, 4, dtype=np.float32)  # elements that bring in another channel
MIXES[:, 3] = 0


@pixel_function
def fold_not(index, weight, size):
    """Leave a position to `clamp_coordinate`: fill modes nearest and constant."""
    return index, weight


FOLDS = {
    CONSTANT: fold_not,
    NEAREST_EDGE: fold_not,
    REFLECT: fold_reflect,
    WRAP: fold_wrap,
    MIRROR: fold_mirror,
}


def applies(images: np.ndarray, out: np.ndarray, interpolation: int) -> bool:
    """Tell whether the fast loop takes these arrays, which have passed the checks of `warp`."""
    _, height, width, channels = images.shape
    return (
        not config.DISABLE_JIT
        and images.dtype == np.uint8
        and channels == 3
        and interpolation == BILINEAR
        and width >= 2
        and 8 <= height * width * 3 < OUTSIDE
        and (out.dtype != np.float16 or has_float16())
    )


@batch_loop_factory
def make_row_locator(fill_mode):
    """Compile `locate_row` for one fill mode: a branch on it in the loop would stop vectors."""
    fold = FOLDS[fill_mode]
    is_constant = fill_mode == CONSTANT

    def locate_row(inverse_map, out_row, size, offsets, row_weights, col_weights):
        """Find where the pixels of one output row come from.

        `size` is the (height, width) of the source as float32. `offsets`, int32, receive the byte
        offset of the upper left of 2 x 2 neighbours, marked where outside; `row_weights` and
        `col_weights`, float32, the shares of the lower and the right ones. The length of all three
        is a multiple of BLOCK: what lies beyond the row is computed and never used.
        """
        height, width = size
        row_bytes = np.int32(3) * np.int32(width)
        row_change, col_change = inverse_map[0, 1], inverse_map[1, 1]
        for start in range(0, offsets.shape[0], BLOCK):
            row_base = block_base(inverse_map, 0, out_row, start)
            col_base = block_base(inverse_map, 1, out_row, start)
            for i in range(BLOCK):
                step = np.float32(np.int32(i))
                row, row_weight = step_from_base(row_base, row_change, step)
                col, col_weight = step_from_base(col_base, col_change, step)
                mark = np.int32(0)
                if is_constant and (
                    is_outside(row, row_weight, height) or is_outside(col, col_weight, width)
                ):
                    mark = CAREFUL | OUTSIDE
                row, row_weight = fold(row, row_weight, height)
                col, col_weight = fold(col, col_weight, width)
                row, row_weight = clamp_coordinate(row, row_weight, height)
                col, col_weight = clamp_coordinate(col, col_weight, width)
                offset = np.int32(row) * row_bytes + np.int32(3) * np.int32(col)
                here = np.uintp(
                    start + i
                )  # signed, Numba would allow for -1, and not store vectors
                offsets[here] = offset | mark
                row_weights[here] = row_weight
                col_weights[here] = col_weight

    return locate_row


@pixel_function
def touch(src):
    """Read a byte of each cache line in order: read as a turn comes by them, each one stalls."""
    total = np.int64(0)
    if src.size <= MOST_TOUCHED:
        for place in range(0, src.size, CACHE_LINE):
            total += src[place]
    return total


@pixel_function
def colour_columns(matrix, is_diagonal):
    """Return the 4 columns of a (3, 4) colour matrix as pixels; a diagonal one's factors first."""
    first = (matrix[0, 0], matrix[1, 0], matrix[2, 0], ZERO)
    if is_diagonal:
        first = (matrix[0, 0], matrix[1, 1], matrix[2, 2], ZERO)
    second = (matrix[0, 1], matrix[1, 1], matrix[2, 1], ZERO)
    third = (matrix[0, 2], matrix[1, 2], matrix[2, 2], ZERO)
    return first, second, third, (matrix[0, 3], matrix[1, 3], matrix[2, 3], ZERO)


@pixel_function
def paint_diagonal(pixel, columns):
    """Apply a colour matrix that does not mix channels."""
    return multiply_add(columns[0], pixel, columns[3])


@pixel_function
def paint_full(pixel, columns):
    """Apply any colour matrix: to the last bit as `paint_diagonal` where it mixes no channels."""
    total = multiply_add(columns[0], spread_red(pixel), columns[3])
    total = multiply_add(columns[1], spread_green(pixel), total)
    return multiply_add(columns[2], spread_blue(pixel), total)


@batch_loop_factory
def make_rgb_loop(fill_mode, is_diagonal, is_planar):
    """Compile the loop over a batch for one fill mode, kind of colour matrix and layout."""
    locate_row = make_row_locator(fill_mode)
    paint = paint_diagonal if is_diagonal else paint_full
    store_fast = store_planar if is_planar else store_rgb_wide
    store = store_planar if is_planar else store_rgb

    def warp_rgb(
        images,
        shape,
        inverse_maps,
        colour,
        sources,
        cval,
        offsets,
        row_weights,
        col_weights,
        out,
    ):
        """Warp a batch.

        `images` is (any, H * W * 3) and `shape` (H, W); `sources` (n,) names the image of each
        one of `out`, which is (n, h, w, 3), or (n, 3, h, w) if planar; `colour` (n, 3, 4), or
        (1, 3, 4) for all; the buffers are those of `locate_row`. A pixel that needs care, by its
        mark or because it lies at the end of the array, takes the second or third way below. The
        returned number only keeps `touch` from being left out.
        """
        height, width = shape
        size = (np.float32(height), np.float32(width))
        row_step = 3 * width if height > 1 else 0
        last = images.size - 8
        num_rows, num_cols = (out.shape[2], out.shape[3]) if is_planar else out.shape[1:3]
        plane = num_rows * num_cols if is_planar else 3
        outside = (cval, cval, cval, ZERO)
        touched = np.int64(0)
        for n in range(out.shape[0]):
            src, dst = images[sources[n]], out[n]
            touched += touch(src)
            last_here = last - sources[n] * images.shape[1]
            columns = colour_columns(colour[min(n, colour.shape[0] - 1)], is_diagonal)
            in_reach = np.uint32(min(max(last_here - row_step + 1, 0), np.intp(OUTSIDE)))
            for out_row in range(num_rows):
                locate_row(inverse_maps[n], out_row, size, offsets, row_weights, col_weights)
                offsets[num_cols - 1] |= CAREFUL  # the wide store would write beyond the row
                for col in range(num_cols):
                    place = out_row * num_cols + col
                    offset = offsets[col]
                    if np.uint32(offset) < in_reach:
                        pixel = sample_rgb(
                            src, np.intp(offset), row_step, row_weights[col], col_weights[col]
                        )
                        store_fast(dst, place, plane, paint(pixel, columns))
                    elif offset & OUTSIDE:
                        store(dst, place, plane, paint(outside, columns))
                    else:
                        start = np.intp(offset & ~CAREFUL)
                        careful = sample_rgb_at_end(
                            src, start, row_step, row_weights[col], col_weights[col], last_here
                        )
                        store(dst, place, plane, paint(careful, columns))
        return touched

    return warp_rgb


def run(images, inverse_maps, colour, sources, fill_mode, cval, is_planar, out):
    """Call the loop for these arguments, which have passed the checks of `warp`, and `applies`."""
    colour = IDENTITY if colour is None else read_only(colour)
    is_diagonal = colour is IDENTITY or not (colour * MIXES).any()
    batch, height, width, _ = images.shape
    row_length = -(-out.shape[3 if is_planar else 2] // BLOCK) * BLOCK
    offsets = np.empty(row_length, np.int32)
    row_weights, col_weights = np.empty((2, row_length), np.float32)
    warp_rgb = make_rgb_loop(fill_mode, is_diagonal, is_planar)
    warp_rgb(
        read_only(images).reshape(batch, -1),
        (height, width),
        read_only(inverse_maps),
        colour,
        read_only(sources),
        cval,
        offsets,
        row_weights,
        col_weights,
        view_target(out),
    )
