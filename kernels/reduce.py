"""Averaging areas before a warp that would skip pixels: images made smaller by powers of two.

Each pixel of the reduced image is the mean of a block of pixels, of fewer at the lower and right
edge. First the rows of a block are summed, a loop over contiguous memory; then the columns, pixel
by pixel: all channels of RGB and RGBA of uint8 at once (`reduce_simd.py`), all else one by one.
"""

import numpy as np
from numba import config

from .compiling import batch_loop
from .pixel import HALF, ONE, pixel_function
from .reduce_simd import (
    halve_rgb,
    halve_rgba,
    mean_of_four,
    mean_of_many,
    mean_of_two,
    store_word,
)
from .views import read_only

LARGEST_FACTOR = 256  # rows of uint8 that a sum of uint16 holds
WRONG_FACTOR, OUTSIDE_PIXELS, OUTSIDE_REDUCED = -1, -2, -3
MESSAGES = {
    WRONG_FACTOR: f"`factors` must be powers of two from 1 to {LARGEST_FACTOR}.",
    OUTSIDE_PIXELS: "An image has no pixels, or does not lie in `pixels`.",
    OUTSIDE_REDUCED: "A reduced image does not lie in `reduced`.",
}


@pixel_function
def store_mean(target, place, value):
    """Write the mean of an area, rounded half up where the type holds whole numbers."""
    target[place] = value if target.itemsize == 4 else value + HALF


@batch_loop
def sum_rows(rows, row_length, sums):
    """Sum the rows that lie one behind the other in `rows`."""
    for i in range(row_length):
        sums[np.uintp(i)] = rows[np.uintp(i)]
    for start in range(row_length, rows.size, row_length):
        row = rows[start : start + row_length]
        for i in range(row_length):
            sums[np.uintp(i)] += row[np.uintp(i)]


@batch_loop
def average_columns(sums, num_rows, width, channels, factor, target):
    """Finish a row of the reduced image from the sums of `num_rows` rows; any type and channels."""
    place = np.uintp(0)
    for left in range(0, width, factor):
        num_columns = min(factor, width - left)
        share = ONE / np.float32(num_rows * num_columns)
        for channel in range(channels):
            total = np.float32(0)
            element = np.uintp(left * channels + channel)
            for _ in range(num_columns):
                total += np.float32(sums[element])
                element += np.uintp(channels)
            store_mean(target, place, total * share)
            place += np.uintp(1)


@batch_loop
def average_colours(sums, shift, width, channels, factor, target):
    """Do as `average_columns`, to the last bit, for uint8 of 3 or 4 channels and whole blocks.

    A block holds ``2**shift`` pixels, 256 at most. Each mean of RGB is stored with a byte of waste,
    which the next one overwrites; so the last is left to `average_columns`. Returns how many
    pixels of the reduced row are finished.
    """
    step = factor * channels
    finished = max(width // factor - 1, 0)
    for place in range(finished):
        start = place * step
        if factor == 2:
            mean = mean_of_two(sums, start, channels, factor, shift)
        elif factor == 4:
            mean = mean_of_four(sums, start, channels, factor, shift)
        else:
            mean = mean_of_many(sums, start, channels, factor, shift)
        store_word(target, place * channels, mean)
    return finished


@batch_loop
def average_gray(sums, shift, width, factor, target):
    """Do as `average_colours` for one channel, and all whole blocks of 2 or 4 columns."""
    finished = width // factor
    half = np.uint16((1 << shift) >> 1)
    if factor == 2:
        for place in range(finished):
            i = np.uintp(2 * place)
            total = np.uint16(sums[i]) + np.uint16(sums[i + np.uintp(1)])
            target[np.uintp(place)] = np.uint16(total + half) >> shift
    elif factor == 4:
        for place in range(finished):
            i = np.uintp(4 * place)
            left = np.uint16(sums[i]) + np.uint16(sums[i + np.uintp(1)])
            right = np.uint16(sums[i + np.uintp(2)]) + np.uint16(sums[i + np.uintp(3)])
            target[np.uintp(place)] = np.uint16(left + right + half) >> shift
    else:
        finished = 0
    return finished


@batch_loop
def halve_row(row, width, channels, target):
    """Average pairs of pixels of uint8, 3 or 4 channels, without sums in between.

    Returns how many pixels of the reduced row are finished.
    """
    finished = max((width // 2 - 1) // 2 * 2, 0)  # waste beyond the last pair is of the next one
    for place in range(0, finished, 2):
        if channels == 3:
            halve_rgb(row, 6 * place, target, 3 * place)
        else:
            halve_rgba(row, 8 * place, target, 4 * place)
    return finished


@batch_loop
def average_rows(sums, row_length, shift, target):
    """Divide the sums of ``2**shift`` rows of uint8 whose columns stay as they are."""
    half = np.uint16((1 << shift) >> 1)
    for i in range(row_length):
        target[np.uintp(i)] = (np.uint16(sums[np.uintp(i)]) + half) >> shift


@batch_loop
def reduce_rows(rows, width, channels, num_rows, factor, shift, is_fast, sums, target):
    """Write one row of a reduced image, from `num_rows` rows of the image.

    `is_fast` says that these are uint8 of 1, 3 or 4 channels, and whole blocks of ``2**shift``
    pixels.
    """
    finished = 0
    is_halved = is_fast and num_rows == 1 and factor == 2 and channels > 1
    if is_halved:
        finished = halve_row(rows, width, channels, target)
    first = finished * factor * channels
    row_length = width * channels - first
    sum_rows(rows[first:], row_length, sums)
    if is_fast and factor == 1:
        average_rows(sums, row_length, shift, target)
        return
    if is_fast and channels == 1:
        finished = average_gray(sums, shift, width, factor, target)
    elif is_fast and not is_halved:
        finished = average_colours(sums, shift, width, channels, factor, target)
    left = finished * factor
    average_columns(
        sums[left * channels - first :],
        num_rows,
        width - left,
        channels,
        factor,
        target[finished * channels :],
    )


@batch_loop
def copy_image(image, target):
    """Copy an image that is not reduced."""
    for i in range(image.size):
        target[np.uintp(i)] = image[np.uintp(i)]


@batch_loop
def check_batch(pixels, starts, sizes, factors, channels, reduced, reduced_starts):
    """Return the elements of the longest row; or what is wrong: one of the codes below."""
    longest = 0
    for n in range(starts.size):
        length = reduced_length = channels
        for axis in range(2):
            size, factor = sizes[n, axis], factors[n, axis]
            if not 1 <= factor <= LARGEST_FACTOR or factor & (factor - 1) != 0:
                return WRONG_FACTOR
            length *= size
            reduced_length *= (size + factor - 1) // factor
            if size < 1:
                return OUTSIDE_PIXELS
        if starts[n] < 0 or starts[n] + length > pixels.size:
            return OUTSIDE_PIXELS
        if reduced_starts[n] < 0 or reduced_starts[n] + reduced_length > reduced.size:
            return OUTSIDE_REDUCED
        longest = max(longest, sizes[n, 1] * channels)
    return longest


@batch_loop
def reduce_batch(
    pixels,
    starts,
    sizes,
    factors,
    channels,
    sums,
    reduced,
    reduced_starts,
    has_fast_pixels,
    is_in_place,
):
    """Reduce images of any sizes; `sums` holds the longest row of them."""
    for n in range(starts.size):
        height, width = sizes[n]
        row_factor, col_factor = factors[n]
        is_halved = has_fast_pixels and channels > 1 and row_factor == 1 and col_factor == 2
        if is_halved and width % 2 == 0:
            height, width = 1, height * width  # no pair has its halves in two rows
        row_length = width * channels
        image = pixels[starts[n] : starts[n] + height * row_length]
        reduced_length = -(-width // col_factor) * channels
        begin = reduced_starts[n]
        if row_factor == 1 and col_factor == 1:
            if not is_in_place:
                copy_image(image, reduced[begin : begin + image.size])
            continue
        shift = 0
        while (1 << shift) < row_factor * col_factor:
            shift += 1
        for top in range(0, height, row_factor):
            num_rows = min(row_factor, height - top)
            reduce_rows(
                image[top * row_length : (top + num_rows) * row_length],
                width,
                channels,
                num_rows,
                col_factor,
                np.uint16(shift),
                has_fast_pixels and shift <= 8 and num_rows == row_factor,
                sums,
                reduced[begin : begin + reduced_length],
            )
            begin += reduced_length


def reduce_areas(
    pixels: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    factors: np.ndarray,
    channels: int,
    reduced: np.ndarray,
    reduced_starts: np.ndarray,
) -> None:
    """Average blocks of pixels, in the calling thread with the GIL released.

    Parameters
    ----------
    pixels : 1-D uint8, uint16 or float32
        C-contiguous; holds all images, each as (height, width, channels).
    starts : (n,) int64
        Index of the first element of each image in `pixels`.
    sizes : (n, 2) int64
        Height and width of each.
    factors : (n, 2) int64
        Height and width of the blocks that become one pixel: powers of two from 1 to 256.
    channels : int
    reduced : 1-D array of the type of `pixels`
        C-contiguous; receives images of ``ceil(size / factor)``. Whole numbers are rounded half up.
        May be `pixels` itself, if each image is to begin where it did.
    reduced_starts : (n,) int64
        Index of the first element of each image in `reduced`.

    Raises
    ------
    ValueError
        If a factor is none of these, or an image does not lie in its array.
    """
    source = read_only(pixels)
    longest = check_batch(source, starts, sizes, factors, channels, reduced, reduced_starts)
    if longest < 0:
        raise ValueError(MESSAGES[longest])
    sums = np.empty(longest, np.uint16 if pixels.dtype == np.uint8 else np.float32)
    reduce_batch(
        source,
        starts,
        sizes,
        factors,
        channels,
        sums,
        reduced,
        reduced_starts,
        pixels.dtype == np.uint8 and channels in (1, 3, 4) and not config.DISABLE_JIT,
        pixels is reduced,
    )
