"""What happens to one output pixel, written once for every compiler.

The CPU loops call these functions; a CUDA kernel can call the same ones. They take scalars and
arrays, allocate nothing, raise nothing and stay in float32 (`base_from_terms` excepted).

A source position along one axis is a pair `(index, weight)` of float32: a whole pixel index and
the share, 0 to 1, of the pixel after it. A single float32 near 500 knows its position to 3e-5
pixels only, which is 0.008 grey levels at a sharp edge; the pair keeps it near 3e-6, whatever the
image size.
"""

import numpy as np
from numba import njit
from numba.core.target_extension import current_target

from .codes import MIRROR, REFLECT, WRAP


def inline_for_cuda(call, caller, callee) -> bool:
    """Let Numba copy a function into its caller for CUDA only, which cannot call it without a GPU.

    For a CPU LLVM copies it, once compiled: the loops are the same, and compile faster.
    """
    return bool(current_target() == "cuda")


# Without wrappers, each of which takes as long as the function itself. So a call from Python
# crashes the interpreter: tests call them from compiled functions.
pixel_function = njit(
    inline=inline_for_cuda,
    forceinline=True,
    error_model="numpy",
    _nrt=False,
    fastmath=False,  # or it would be that of the loop which comes first
    no_cfunc_wrapper=True,
    no_cpython_wrapper=True,
)

BLOCK = 32  # output columns that share one float64 base: the float32 steps from it stay short
FAR = 4194304.0  # 2**22: whole float32 beyond it plus a short step would no longer be exact
ZERO = np.float32(0.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
TWO = np.float32(2.0)
TOP_LEVEL = np.float32(255.0)


@pixel_function
def block_base(inverse_map, axis, out_row, out_col):
    """Find the source position of the output pixel that starts a block of columns.

    Parameters
    ----------
    inverse_map : (2, 3) float32
        Output (row, col, 1) to source (row, col), in pixels.
    axis : int
        0 for the source row, 1 for the source column.
    out_row, out_col : int
        The output pixel.

    Returns
    -------
    (float32, float32)
        Whole pixels, limited to +-2**22 so that they are exact, and the fraction from 0 to 1.
    """
    terms = inverse_map[axis, 0], inverse_map[axis, 1], inverse_map[axis, 2]
    return base_from_terms(terms, out_row, out_col)


@pixel_function
def base_from_terms(terms, out_row, out_col):
    """Do as `block_base` with three numbers of one axis, read before a loop."""
    base = np.float64(terms[0]) * out_row + np.float64(terms[1]) * out_col + np.float64(terms[2])
    base = base if base > -FAR else -FAR
    base = base if base < FAR else FAR
    whole = np.floor(base)
    return np.float32(whole), np.float32(base - whole)


@pixel_function
def step_from_base(base, step, offset):
    """Go `offset` output columns on from a block's base; all float32. Returns `(index, weight)`."""
    whole, fraction = base
    position = fraction + step * offset
    floor = np.floor(position)
    return whole + floor, position - floor


@pixel_function
def fold_terms(size, fill_mode):
    """Return what folding needs to know of an axis: its size, the period, and 1 / period.

    All float32. Once for each image: a division a pixel would cost a GPU as much as the reading.
    """
    period = ONE
    if fill_mode == REFLECT:
        period = TWO * size
    elif fill_mode == MIRROR:
        period = TWO * size - TWO
    elif fill_mode == WRAP:
        period = size - ONE
    period = period if period > ONE else ONE
    return size, period, ONE / period


@pixel_function
def remainder(value, period, reciprocal):
    """Return `value` modulo `period`, float32; exact for whole numbers up to 2**22.

    `reciprocal` is rounded, so that the quotient may be one too small or too large.
    """
    rest = value - period * np.floor(value * reciprocal)
    rest = rest + period if rest < ZERO else rest
    return rest - period if rest >= period else rest


@pixel_function
def is_outside(index, weight, size):
    """Tell whether a position lies before the first or after the last pixel centre; NaN does."""
    last = size - ONE
    return not ((index >= ZERO) & ((index - last) + weight <= ZERO))


@pixel_function
def fold_reflect(index, weight, terms):
    """Fold by d c b a | a b c d | d c b a: period 2 * size, the edge pixel repeated."""
    size, period, reciprocal = terms
    index = remainder(index, period, reciprocal)
    turned = index >= size
    index = period - TWO - index if turned else index
    weight = ONE - weight if turned else weight
    return index, weight


@pixel_function
def fold_mirror(index, weight, terms):
    """Fold by d c b | a b c d | c b a: period 2 * size - 2, the edge pixel not repeated."""
    size, period, reciprocal = terms
    index = remainder(index, period, reciprocal)
    turned = index >= size - ONE
    index = period - ONE - index if turned else index
    weight = ONE - weight if turned else weight
    return index, weight


@pixel_function
def fold_wrap(index, weight, terms):
    """Fold with period size - 1, as SciPy's `wrap`: the last pixel lies upon the next first one.

    On the seam itself SciPy reads the last pixel up to position size - 1, the first one after it.
    """
    size, period, reciprocal = terms
    last = size - ONE
    folded = remainder(index, period, reciprocal)
    on_seam = folded == ZERO and weight == ZERO and index <= last and index != ZERO
    return last if on_seam else folded, weight


@pixel_function
def fold_coordinate(index, weight, terms, fill_mode):
    """Bring a source position into the image by the fill mode, along one axis.

    Parameters
    ----------
    index, weight : float32
        The position; any number, infinity and NaN included.
    terms : (float32, float32, float32)
        Of `fold_terms`: the axis has at least 1 pixel.
    fill_mode : int
        A code of `codes.FILL_CODES`. `constant` folds as `nearest`: see `is_outside`.

    Returns
    -------
    (float32, float32)
        Index from 0 to max(size - 2, 0), weight from 0 to 1: safe to read, whatever came in.

    Source
    ------
    `map_coordinate` of scipy/ndimage/src/ni_interpolation.c, SciPy 1.17.
    """
    if fill_mode == REFLECT:
        index, weight = fold_reflect(index, weight, terms)
    elif fill_mode == MIRROR:
        index, weight = fold_mirror(index, weight, terms)
    elif fill_mode == WRAP:
        index, weight = fold_wrap(index, weight, terms)
    return clamp_coordinate(index, weight, terms[0])


@pixel_function
def clamp_coordinate(index, weight, size):
    """Move a position to the nearest one inside; comparisons are written so that NaN becomes 0."""
    last = size - TWO
    inside = index if index < last else last
    inside = inside if inside > ZERO else ZERO
    weight = weight + (index - inside)
    weight = weight if weight > ZERO else ZERO
    weight = ONE if weight > ONE else weight
    return inside, weight


@pixel_function
def nearest_index(index, weight, size):
    """Return the whole index, float32, of the pixel whose centre is nearest, halves going up.

    SciPy's order 0; the position is one that `fold_coordinate` returned.
    """
    near = index + np.floor(weight + HALF)
    return near if near < size else size - ONE


@pixel_function
def lerp(start, end, weight):
    """Go from `start` to `end`, float32; a weight of 0 or 1 gives one of them exactly.

    Equal ends give themselves, and levels of 0..255 stay in there. With ``(1 - weight) * start +
    weight * end`` a white area became 255.00003, which is another picture to whoever asks whether
    the levels fit into 8 bits.
    """
    return end if weight == ONE else start + weight * (end - start)


@pixel_function
def lerp_whole(start, end, weight):
    """Do as `lerp` between whole levels: their difference is exact, so that both ends are."""
    return start + weight * (end - start)


def make_bilinear_reader(lerp):
    """Make `read_bilinear` for one way to go from level to level."""

    @pixel_function
    def read_bilinear(src, place, row_step, col_step, row_weight, col_weight):
        """Read one channel between the pixels of an image: SciPy's order 1.

        Parameters
        ----------
        src : (any,) uint8, uint16 or float32
        place : int
            The element that is this channel of the upper left of the 2 x 2 neighbours.
        row_step, col_step : int
            Elements from there to the lower and to the right ones; 0 where there are none.
        row_weight, col_weight : float32
            Of a position that `fold_coordinate` returned.

        Returns
        -------
        float32
            The source level, not rounded. A weight of exactly 0 or 1 gives the pixel itself.
        """
        below = place + row_step
        top = lerp(np.float32(src[place]), np.float32(src[place + col_step]), col_weight)
        bottom = lerp(np.float32(src[below]), np.float32(src[below + col_step]), col_weight)
        return lerp(top, bottom, row_weight)

    return read_bilinear


read_bilinear = make_bilinear_reader(lerp)
read_whole = make_bilinear_reader(lerp_whole)  # for levels that are integers


@pixel_function
def mix_colour(colour, values, channel):
    """Apply one row of a (C, C + 1) colour matrix to the C sampled channels of a pixel."""
    total = colour[channel, values.shape[0]]
    for other in range(values.shape[0]):
        total += colour[channel, other] * values[other]
    return total


@pixel_function
def to_uint8(value):
    """Round half up and clip to 0..255; NaN becomes 0."""
    level = value + HALF
    level = level if level > ZERO else ZERO
    level = level if level < TOP_LEVEL else TOP_LEVEL
    return np.uint8(level)


@pixel_function
def to_float16_bits(value):
    """Round a float32 to the nearest float16, ties to even; returns its 16 bits as uint16.

    Numba has no float16 on the CPU, so this works on the bits (IEEE 754-2019, 5.4.2). Below 2**-14
    the addition of 0.5 lines up the last bit of a float32 with that of a subnormal float16, and the
    processor rounds.
    """
    bits = np.int64(np.float32(value).view(np.uint32))  # Numba views np.float32(...) only
    sign = (bits >> 16) & 0x8000
    size = bits & 0x7FFFFFFF
    if size > 0x7F800000:
        half = 0x7E00  # NaN
    elif size >= 0x47800000:
        half = 0x7C00  # 65536 and more: infinity
    elif size < 0x38800000:
        half = np.int64(np.float32(abs(value) + HALF).view(np.uint32)) - 0x3F000000
    else:
        half = (size - 0x38000000 + 0x0FFF + ((size >> 13) & 1)) >> 13
    return np.uint16(sign | half)


@pixel_function
def round_bits_to_bfloat16(bits):
    """Round the bits of a float32, uint32, to those of the nearest bfloat16, ties to even: uint16.

    A bfloat16 is the upper half of a float32; NaN stays NaN.
    """
    is_nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    bits = np.uint32(0) if is_nan else bits  # no sum overflows then
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    return np.uint16(0x7FC0) if is_nan else np.uint16(rounded)


@pixel_function
def store(dst, row, col, channel, value):
    """Write a float32 as the type of `dst`: uint8, uint16 (the bits of a float16) or float32."""
    if dst.itemsize == 1:
        dst[row, col, channel] = to_uint8(value)
    elif dst.itemsize == 2:
        dst[row, col, channel] = to_float16_bits(value)
    else:
        dst[row, col, channel] = value
