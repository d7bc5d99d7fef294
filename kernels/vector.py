"""The fast loop for pixels of three or four channels: bilinear, every fill mode, type and layout.

Two loops for each output row. `locate_row` turns coordinates into places and weights by the same
pixel functions as the generic loop; it has no branch for a pixel, so LLVM makes vectors of it. Then
`simd.py` or `fixed.py` works on two pixels at a time, all channels at once. kernels/README.md
derives both.
"""

import numpy as np

from .codes import CONSTANT, PLACE
from .compiling import batch_loop_factory
from .fixed import FIXED_SAMPLERS, has_rounded_products
from .locate import (
    MOST_TOUCHED,
    TILE,
    find_furthest,
    locate_row_at,
    places_ahead,
    prefetch_ahead,
    row_buffers,
    row_locator,
    touch,
)
from .pixel import HALF, TOP_LEVEL, ZERO, pixel_function
from .simd import (
    SAMPLERS,
    SPAN,
    fill_outside,
    multiply_add,
    spread_alpha,
    spread_blue,
    spread_green,
    spread_red,
    store_rgb,
    store_rgb_planar,
    store_rgba,
    store_rgba_planar,
)
from .views import read_only

IDENTITIES = {c: read_only(np.eye(c, c + 1, dtype=np.float32)[np.newaxis]) for c in (3, 4)}
# Elements of a colour matrix that bring in another channel.
MIXES = {c: np.hstack([1 - np.eye(c), np.zeros((c, 1))]).astype(np.float32) for c in (3, 4)}


@pixel_function
def column_rgb(matrix, column):
    """Return a column of a (3, 4) colour matrix as a pixel."""
    return matrix[0, column], matrix[1, column], matrix[2, column], ZERO


@pixel_function
def column_rgba(matrix, column):
    """Return a column of a (4, 5) colour matrix as a pixel."""
    return matrix[0, column], matrix[1, column], matrix[2, column], matrix[3, column]


@pixel_function
def diagonal_rgb(matrix):
    """Return the factors of a (3, 4) colour matrix that mixes no channels."""
    factors = (matrix[0, 0], matrix[1, 1], matrix[2, 2], ZERO)
    return factors, column_rgb(matrix, 3)


@pixel_function
def diagonal_rgba(matrix):
    """Return the factors of a (4, 5) colour matrix that mixes no channels."""
    factors = (matrix[0, 0], matrix[1, 1], matrix[2, 2], matrix[3, 3])
    return factors, column_rgba(matrix, 4)


@pixel_function
def full_rgb(matrix):
    """Return the columns of a (3, 4) colour matrix."""
    first, second = column_rgb(matrix, 0), column_rgb(matrix, 1)
    return first, second, column_rgb(matrix, 2), column_rgb(matrix, 3)


@pixel_function
def full_rgba(matrix):
    """Return the columns of a (4, 5) colour matrix."""
    first, second, third = column_rgba(matrix, 0), column_rgba(matrix, 1), column_rgba(matrix, 2)
    return first, second, third, column_rgba(matrix, 3), column_rgba(matrix, 4)


@pixel_function
def paint_diagonal(pixel, columns):
    """Apply a colour matrix that does not mix channels."""
    return multiply_add(columns[0], pixel, columns[1])


@pixel_function
def paint_rgb(pixel, columns):
    """Apply any colour matrix: to the last bit as `paint_diagonal` where it mixes no channels."""
    total = multiply_add(columns[0], spread_red(pixel), columns[3])
    total = multiply_add(columns[1], spread_green(pixel), total)
    return multiply_add(columns[2], spread_blue(pixel), total)


@pixel_function
def paint_rgba(pixel, columns):
    """Apply any colour matrix to four channels."""
    total = multiply_add(columns[0], spread_red(pixel), columns[4])
    total = multiply_add(columns[1], spread_green(pixel), total)
    total = multiply_add(columns[2], spread_blue(pixel), total)
    return multiply_add(columns[3], spread_alpha(pixel), total)


@pixel_function
def lay_out_nothing(matrix):
    """Return no columns: the levels stay as they are."""
    return ZERO


@pixel_function
def paint_nothing(pixel, columns):
    """Leave a pixel as it is."""
    return pixel


# What happens to levels. NONE: uint8 stays uint8, in fixed point; the others are float32.
NONE, DIAGONAL, FULL = "none", "diagonal", "full"
# How a matrix is laid out, and applied.
PAINTS = {
    (3, NONE): (lay_out_nothing, paint_nothing),
    (4, NONE): (lay_out_nothing, paint_nothing),
    (3, DIAGONAL): (diagonal_rgb, paint_diagonal),
    (3, FULL): (full_rgb, paint_rgb),
    (4, DIAGONAL): (diagonal_rgba, paint_diagonal),
    (4, FULL): (full_rgba, paint_rgba),
}

# By (channels, whether the target is planar).
STORES = {
    (3, False): store_rgb,
    (3, True): store_rgb_planar,
    (4, False): store_rgba,
    (4, True): store_rgba_planar,
}


@batch_loop_factory
def make_pixel_loop(channels, is_constant, colours, is_planar):
    """Compile the loop over a batch for one kind of colour matrix and layout.

    `is_constant`: what lies outside is a constant.
    """
    lay_out, paint = PAINTS[channels, colours]
    samplers = FIXED_SAMPLERS if colours == NONE else SAMPLERS
    sample_pair, sample = samplers[channels, is_constant]
    store = STORES[channels, is_planar]

    def warp_pixels(
        pixels,
        starts,
        sizes,
        inverse_maps,
        colour,
        cval,
        locator,
        buffers,
        out,
    ):
        """Warp a batch; the parameters are those of `generic.warp_batch`, and of `locate_row_at`.

        `out` is (n, h, w, C), or (n, C, h, w) if planar; `colour` has one matrix for each image,
        or one for all. Pixels go in pairs, whose loads and stores reach beyond them; one by one
        go the last of a row, and rows that come near to the end of the array. The returned number
        only keeps `touch` from being left out.
        """
        num_rows, num_cols = out.shape[2:] if is_planar else out.shape[1:3]
        plane = num_rows * num_cols
        _, offsets, row_weights, col_weights = buffers
        outside = (cval, cval, cval, cval)
        touched = np.float32(0)
        for n in range(out.shape[0]):
            start, dst = starts[n], out[n]
            src = pixels[start:]  # to the end: a load may reach into the next image
            height, width = sizes[n, 0], sizes[n, 1]
            size = (np.float32(height), np.float32(width))
            row_step = channels * width if height > 1 else 0
            touched += np.float32(touch(pixels, start, start + channels * height * width))
            columns = lay_out(colour[min(n, colour.shape[0] - 1)])
            last = src.size - SPAN - row_step
            in_reach = np.int32(min(max(last + 1, 0), np.intp(PLACE)))
            all_in_reach = channels * height * width - row_step <= last + 1
            is_touched = channels * height * width * pixels.itemsize <= MOST_TOUCHED
            ahead = places_ahead(inverse_maps[n], channels * width, channels)
            for tile in range(0, num_cols, TILE):
                tile_cols = min(num_cols - tile, TILE)
                for out_row in range(num_rows):
                    locate_row_at(
                        locator,
                        inverse_maps[n],
                        out_row,
                        tile,
                        tile_cols,
                        size,
                        channels,
                        buffers,
                    )
                    if not is_touched:
                        prefetch_ahead(src, offsets, tile_cols, out_row, ahead)
                    place = out_row * num_cols + tile
                    can_pair = all_in_reach or find_furthest(offsets, tile_cols) < in_reach
                    paired = (tile_cols - 1) // 2 * 2 if can_pair else 0
                    for col in range(0, paired, 2):
                        values = sample_pair(src, row_step, offsets, row_weights, col_weights, col)
                        if is_constant:
                            values = fill_outside(values, outside, offsets, col)
                        store(dst, place + col, plane, paint(values, columns))
                    for col in range(paired, tile_cols):
                        value = sample(src, row_step, offsets, row_weights, col_weights, col)
                        if is_constant:
                            value = fill_outside(value, outside, offsets, col)
                        store(dst, place + col, plane, paint(value, columns))
        return touched

    return warp_pixels


def run(pixels, starts, sizes, inverse_maps, colour, fill_mode, cval, is_planar, target):
    """Call the loop for these arguments, which have passed the checks of `warp`."""
    channels = target.shape[1 if is_planar else 3]
    colours = kind_of_colours(colour, pixels.dtype, target.dtype)
    warp_pixels = make_pixel_loop(channels, fill_mode == CONSTANT, colours, is_planar)
    in_fixed_point = colours == NONE
    if in_fixed_point:
        cval = np.uint8(np.clip(np.floor(cval + HALF), 0, TOP_LEVEL))
    colour = IDENTITIES[channels] if colour is None else colour
    locator = row_locator(fill_mode, in_fixed_point)
    buffers = row_buffers(in_fixed_point)
    warp_pixels(pixels, starts, sizes, inverse_maps, colour, cval, locator, buffers, target)


def kind_of_colours(colour, source, target):
    """Return the cheapest kind of loop for colour matrices.

    It hangs on whether there are any, not on their numbers: a picture whose own matrix changes
    nothing must come out the same beside pictures whose matrices do.
    """
    if colour is None:
        in_fixed_point = source == target == np.uint8 and has_rounded_products()
        return NONE if in_fixed_point else DIAGONAL
    return FULL if (colour * MIXES[colour.shape[1]]).any() else DIAGONAL
