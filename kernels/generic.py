"""The loop over a batch for every layout, number of channels and type: the definition of a warp."""

import numpy as np

from .codes import BILINEAR, CONSTANT
from .compiling import batch_loop
from .pixel import (
    BLOCK,
    block_base,
    fold_coordinate,
    fold_terms,
    is_outside,
    mix_colour,
    nearest_index,
    pixel_function,
    read_bilinear,
    step_from_base,
    store,
)

NO_COLOUR = np.zeros((1, 0, 0), np.float32)
NO_COLOUR.flags.writeable = False


@pixel_function
def sample_pixel(
    src, shape, terms, row_position, col_position, fill_mode, cval, interpolation, values
):
    """Fill `values` (C,) float32 with the source levels at a position not yet folded.

    Each position is a pair (index, weight), as `step_from_base` gives it; `src` is one image, flat,
    `shape` its (height, width), `terms` what `fold_terms` says of either.
    """
    row, row_weight = row_position
    col, col_weight = col_position
    height, width = shape
    row_terms, col_terms = terms
    channels = values.shape[0]
    if fill_mode == CONSTANT and (
        is_outside(row, row_weight, row_terms[0]) or is_outside(col, col_weight, col_terms[0])
    ):
        for channel in range(channels):
            values[channel] = cval
        return
    row, row_weight = fold_coordinate(row, row_weight, row_terms, fill_mode)
    col, col_weight = fold_coordinate(col, col_weight, col_terms, fill_mode)
    if interpolation == BILINEAR:
        place = (np.intp(row) * width + np.intp(col)) * channels
        row_step = channels * width if height > 1 else 0
        col_step = channels if width > 1 else 0
        for channel in range(channels):
            values[channel] = read_bilinear(
                src, place + channel, row_step, col_step, row_weight, col_weight
            )
    else:
        row = nearest_index(row, row_weight, row_terms[0])
        col = nearest_index(col, col_weight, col_terms[0])
        place = (np.intp(row) * width + np.intp(col)) * channels
        for channel in range(channels):
            values[channel] = np.float32(src[place + channel])


@pixel_function
def write_pixel(dst, row, col, values, colour, use_colour):
    """Apply the (C, C + 1) colour matrix, if any, and store the C channels of one pixel."""
    for channel in range(values.shape[0]):
        value = values[channel]
        if use_colour:
            value = mix_colour(colour, values, channel)
        store(dst, row, col, channel, value)


@batch_loop
def warp_batch(
    pixels, starts, sizes, inverse_maps, colour, values, fill_mode, cval, interpolation, out
):
    """Warp a batch, image by image, row by row.

    Parameters
    ----------
    pixels : (any,) uint8, uint16 or float32
        All images, (H, W, C) each.
    starts : (n,) int64
        The element of `pixels` that each image begins with.
    sizes : (n, 2) int64
        Height and width of each image.
    inverse_maps : (n, 2, 3) float32
    colour : (n, C, C + 1) float32, or (1, 0, 0) for none
    values : (C,) float32
        Scratch for the levels of one pixel.
    fill_mode, interpolation : int
        Codes of `codes.py`.
    cval : float32
        Source level outside the image with `constant`.
    out : (n, h, w, C) uint8, uint16 (the bits of float16) or float32
        Of any strides: a transposed view writes channels first. Must not overlap the inputs.
    """
    use_colour = colour.shape[1] > 0
    for n in range(out.shape[0]):
        height, width, channels = sizes[n, 0], sizes[n, 1], values.size
        src = pixels[starts[n] : starts[n] + height * width * channels]
        terms = (
            fold_terms(np.float32(height), fill_mode),
            fold_terms(np.float32(width), fill_mode),
        )
        dst = out[n]
        inverse_map = inverse_maps[n]
        matrix = colour[n if use_colour else 0]
        for out_row in range(dst.shape[0]):
            for start in range(0, dst.shape[1], BLOCK):
                row_base = block_base(inverse_map, 0, out_row, start)
                col_base = block_base(inverse_map, 1, out_row, start)
                for out_col in range(start, min(start + BLOCK, dst.shape[1])):
                    offset = np.float32(out_col - start)
                    row = step_from_base(row_base, inverse_map[0, 1], offset)
                    col = step_from_base(col_base, inverse_map[1, 1], offset)
                    sample_pixel(
                        src,
                        (height, width),
                        terms,
                        row,
                        col,
                        fill_mode,
                        cval,
                        interpolation,
                        values,
                    )
                    write_pixel(dst, out_row, out_col, values, matrix, use_colour)


def run(
    interpolation, pixels, starts, sizes, inverse_maps, colour, fill_mode, cval, is_planar, target
):
    """Call `warp_batch` with arguments that have passed the checks of `warp`."""
    colour = NO_COLOUR if colour is None else colour
    target = target.transpose(0, 2, 3, 1) if is_planar else target
    values = np.empty(target.shape[3], np.float32)
    with np.errstate(all="ignore"):  # huge positions may overflow: seen without the compiler only
        warp_batch(
            pixels,
            starts,
            sizes,
            inverse_maps,
            colour,
            values,
            fill_mode,
            cval,
            interpolation,
            target,
        )
