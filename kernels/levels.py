"""What needs a whole warped image first: channel shift, brightness, samplewise statistics.

One pass each over an image that still lies in cache. The warp cannot do them, because it does not
know the image's smallest and largest level, or its mean, before its last pixel.

Images are rows of float32, `(n, rows, row_length)`: with channels last `row_length` is W * C and a
pattern of one row serves all rows; with channels first it is W, and each channel has its pattern.
Patterns are `(P, row_length)`, and row r takes pattern ``r * P // rows``.
"""

import numpy as np

from .compiling import batch_loop, sum_loop
from .pixel import ONE, TOP_LEVEL, ZERO, pixel_function, to_float16_bits
from .views import view_target


@pixel_function
def ordered(bits):
    """Map the bits of a float32 to an int32 of the same order, and back: it is its own inverse."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@batch_loop
def find_extremes(bits, ends):
    """Write the smallest and largest of a 1-D float32 array into `ends`, both as their int32 bits.

    As integers, because only those are compared many at a time: for floats the compiler would
    have to know that none is NaN. A NaN counts as beyond infinity.
    """
    low = high = ordered(bits[0])
    for i in range(bits.size):
        value = ordered(bits[i])
        low = min(low, value)
        high = max(high, value)
    ends[0], ends[1] = ordered(low), ordered(high)


@batch_loop
def shift_clipped(levels, shift, low, high):
    """Add `shift` to every level and clip to [low, high], in place."""
    for i in range(levels.size):
        value = levels[i] + shift
        value = value if value > low else low
        levels[i] = value if value < high else high


@pixel_function
def whole_level(value):
    """Cut a level to a whole one of 0..255; NaN becomes 0."""
    value = value if value > ZERO else ZERO
    value = value if value < TOP_LEVEL else TOP_LEVEL
    return np.trunc(value)


@batch_loop
def multiply_whole_levels(row, factor, is_opaque):
    """Cut levels to whole ones, multiply, cut and clip, in place; alpha is only cut."""
    for i in range(row.size):
        level = whole_level(row[i])
        row[i] = whole_level(level * factor) if is_opaque[i] else level


@batch_loop
def multiply_stretched_levels(row, factor, is_opaque, low, high):
    """Do as `multiply_whole_levels` on [low, high] stretched to 0..255, and map back."""
    reach = high - low
    divisor = reach if reach != ZERO else ONE
    for i in range(row.size):
        level = whole_level((row[i] - low) / divisor * TOP_LEVEL)
        level = whole_level(level * factor) if is_opaque[i] else level
        row[i] = level / TOP_LEVEL * reach + low


@batch_loop
def change_levels_batch(images, bits, shifts, factors, is_opaque, ends, end_bits):
    """Shift channels, then change brightness, in place; NaN in `shifts` or `factors` is neither.

    `bits` and `end_bits` are int32 views of `images` and of `ends`, (2,) float32 scratch.
    """
    num_rows = images.shape[1]
    for n in range(images.shape[0]):
        if not np.isnan(shifts[n]):
            find_extremes(bits[n].reshape(-1), end_bits)
            shift_clipped(images[n].reshape(-1), shifts[n], ends[0], ends[1])
        if not np.isnan(factors[n]):
            find_extremes(bits[n].reshape(-1), end_bits)
            low, high = ends[0], ends[1]
            is_stretched = low < ZERO or high > TOP_LEVEL
            for row in range(num_rows):
                pattern = is_opaque[row * is_opaque.shape[0] // num_rows]
                if is_stretched:
                    multiply_stretched_levels(images[n, row], factors[n], pattern, low, high)
                else:
                    multiply_whole_levels(images[n, row], factors[n], pattern)


@sum_loop
def sum_shifted(levels, scale, mean):
    """Return the sums of ``v = levels * scale - mean`` and of its square, in float64."""
    total = squares = 0.0
    for i in range(levels.size):
        value = np.float64(levels[i] * scale) - mean
        total += value
        squares += value * value
    return total, squares


@pixel_function
def store_level(row, i, value):
    """Write a float32 as float32, or as the bits of a float16 where `row` is uint16."""
    row[i] = value if row.itemsize == 4 else to_float16_bits(value)


@batch_loop
def standardize_row(row, scale, center, gain, means, gains, out):
    """Write ``((row * scale - center) * gain - means) * gains``."""
    for i in range(row.size):
        value = (row[i] * scale - center) * gain
        store_level(out, i, (value - means[i]) * gains[i])


@batch_loop
def standardize_batch(images, scale, is_centered, is_scaled, epsilon, means, gains, out):
    """Rescale, standardise by each image's own moments if asked to, then by the patterns."""
    num_rows = images.shape[1]
    for n in range(images.shape[0]):
        center, gain = ZERO, ONE
        if is_centered or is_scaled:
            mean = sum_shifted(images[n].reshape(-1), scale, 0.0)[0] / images[n].size
            variance = sum_shifted(images[n].reshape(-1), scale, mean)[1] / images[n].size
            center = np.float32(mean) if is_centered else ZERO
            gain = np.float32(1.0 / (np.sqrt(variance) + epsilon)) if is_scaled else ONE
        for row in range(num_rows):
            pattern = row * means.shape[0] // num_rows
            standardize_row(
                images[n, row], scale, center, gain, means[pattern], gains[pattern], out[n, row]
            )


def change_levels(
    images: np.ndarray, shifts: np.ndarray, factors: np.ndarray, is_opaque: np.ndarray
) -> None:
    """Apply channel shifts and brightness factors to images of float32, in place.

    Parameters
    ----------
    images : (n, rows, row_length) float32
        C-contiguous, at least one value an image.
    shifts : (n,) float32
        Added to every level, then clipped to the image's own range; NaN leaves the image.
    factors : (n,) float32
        Of the whole levels 0..255: cut, multiplied, cut and clipped, as by way of a uint8 picture.
        An image that leaves 0..255 is stretched to it before and mapped back after. NaN leaves the
        image.
    is_opaque : (P, row_length) bool
        False for an alpha channel, whose levels are only cut.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    _check_pattern(images, "is_opaque", is_opaque)
    if shifts.shape != (len(images),) or factors.shape != (len(images),):
        raise ValueError(
            f"`shifts` and `factors` need one entry for each of {len(images)} images, got "
            f"{shifts.shape} and {factors.shape}."
        )
    ends = np.empty(2, np.float32)
    bits, end_bits = images.view(np.int32), ends.view(np.int32)
    change_levels_batch(images, bits, shifts, factors, is_opaque, ends, end_bits)


def standardize(
    images: np.ndarray,
    out: np.ndarray,
    *,
    scale: float,
    is_centered: bool,
    is_scaled: bool,
    epsilon: float,
    means: np.ndarray,
    gains: np.ndarray,
) -> None:
    """Rescale and standardise images of float32.

    Parameters
    ----------
    images : (n, rows, row_length) float32
        C-contiguous.
    out : (n, rows, row_length) float32 or float16
        May be `images` itself.
    scale : float
        Multiplied first.
    is_centered, is_scaled : bool
        Subtract each image's mean; divide by its standard deviation + `epsilon`.
    means, gains : (P, row_length) float32
        Subtracted then; multiplied last.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    _check_pattern(images, "means", means)
    if gains.shape != means.shape or out.shape != images.shape:
        raise ValueError(
            f"`gains` must have the shape of `means`, {means.shape}, and `out` that of `images`, "
            f"{images.shape}; got {gains.shape} and {out.shape}."
        )
    standardize_batch(
        images, np.float32(scale), is_centered, is_scaled, np.float64(epsilon), means, gains,
        view_target(out),
    )  # fmt: skip


def _check_pattern(images: np.ndarray, name: str, pattern: np.ndarray) -> None:
    num_rows, row_length = images.shape[1:]
    if pattern.ndim != 2 or pattern.shape[1] != row_length or num_rows % len(pattern):
        raise ValueError(
            f"`{name}` needs rows of {row_length} values, a divisor of {num_rows} of them; "
            f"got shape {pattern.shape}."
        )
