"""Where the pixels of an output row come from: the first of the two loops of the fast kernels."""

import threading
from functools import cache

import numpy as np
from numba import types
from numba.core.cgutils import if_unlikely
from numba.extending import intrinsic

from .codes import CONSTANT, MIRROR, NEAREST_EDGE, OUTSIDE, PLACE, REFLECT, WRAP
from .compiling import batch_loop, batch_loop_factory
from .pixel import (
    BLOCK,
    HALF,
    ONE,
    TWO,
    ZERO,
    base_from_terms,
    clamp_coordinate,
    fold_mirror,
    fold_reflect,
    fold_terms,
    fold_wrap,
    is_outside,
    pixel_function,
    step_from_base,
)
from .simd import prefetch

TILE = 256  # output columns at a time: turned, they cross so many source rows, which L1 can hold
CACHE_LINE = 64  # bytes
BLOCKS = np.uintp(TILE // BLOCK)
ROWS_AHEAD = 8  # 16 and 24 were no better
COLS_APART = 8  # of what is asked for ahead
FURTHEST_AHEAD = np.float32(2**20)  # a map may hold any number
WEIGHT_SCALE = np.float32(-(2**15))
LAST_STEP = np.float32(BLOCK - 1)
MOST_TOUCHED = 2**22  # bytes; more would not stay in cache


class Scratch(threading.local):
    """The buffers of one thread, by whether weights are in fixed point."""

    def __init__(self) -> None:
        self.buffers: dict[bool, tuple[np.ndarray, ...]] = {}


SCRATCH = Scratch()


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


@pixel_function
def place_of(row, col, row_length, pixel_length):
    """Return the element that a pixel begins with, int32 at every step: so vectors stay whole."""
    first = np.int32(np.int32(row) * row_length)
    return np.int32(first + np.int32(pixel_length * np.int32(col)))


@pixel_function
def keep_weight(weight):
    """Leave a weight as it is, float32."""
    return weight


@pixel_function
def to_fixed_weight(weight):
    """Turn a weight into the int16 that `fixed.py` takes: -2**15 for a whole."""
    return np.int16(np.int32(weight * WEIGHT_SCALE - HALF))


@pixel_function
def lies_inside(base, change, size):
    """Tell whether a block lies between the first and last pixel: folding would change nothing.

    Positions of a block go up or down, rounding included, so its ends are enough; NaN does not lie.
    That asks for the same roundings here and in the loop, which reads without clamping: no product
    may be fused with a sum in one of them alone. Numba fuses none unless told to, and
    `tests/benchmarks/test_instructions.py` looks.
    """
    first, _ = step_from_base(base, change, ZERO)
    last, _ = step_from_base(base, change, LAST_STEP)
    furthest = size - TWO
    return (first >= ZERO) & (last >= ZERO) & (first <= furthest) & (last <= furthest)


@batch_loop_factory
def make_row_locator(fill_mode, in_fixed_point):
    """Compile `locate_row` for one fill mode: a branch on it in the loop would stop vectors."""
    fold = FOLDS[fill_mode]
    is_constant = fill_mode == CONSTANT
    to_stored = to_fixed_weight if in_fixed_point else keep_weight

    def locate_row(inverse_map, out_row, first_col, num_cols, size, channels, buffers):
        """Find where `num_cols` pixels of one output row come from, from `first_col` on.

        `size` is the (height, width) of the source as float32. `buffers` are those of
        `row_buffers`: `offsets`, int32, receive the place in the source of the upper left of 2 x 2
        neighbours, in elements, marked where outside; `row_weights` and `col_weights` the shares of
        the lower and the right ones, float32, or int16 in fixed point. These are TILE long, and
        whole blocks are computed.

        `bases`, (5 * BLOCKS,) float32, is scratch. All bases come first, in a loop of their own:
        a block that computed its own waited for it, which took two thirds of the time. Most blocks
        lie inside the image, where nothing is to be folded.
        """
        bases, offsets, row_weights, col_weights = buffers
        height, width = size
        pixel_length = np.int32(channels)
        row_terms, col_terms = fold_terms(height, fill_mode), fold_terms(width, fill_mode)
        row_length = pixel_length * np.int32(width)
        row_map = inverse_map[0, 0], inverse_map[0, 1], inverse_map[0, 2]
        col_map = inverse_map[1, 0], inverse_map[1, 1], inverse_map[1, 2]
        row_change, col_change = row_map[1], col_map[1]
        for block in range(BLOCKS):
            col = np.int32(np.int32(first_col) + np.int32(block * BLOCK))
            row_base = base_from_terms(row_map, out_row, col)
            col_base = base_from_terms(col_map, out_row, col)
            is_inside = lies_inside(row_base, row_change, height) & lies_inside(
                col_base, col_change, width
            )
            here = np.uintp(block)
            bases[here], bases[here + BLOCKS] = row_base
            bases[here + 2 * BLOCKS], bases[here + 3 * BLOCKS] = col_base
            bases[here + 4 * BLOCKS] = ONE if is_inside else ZERO
        for block in range((num_cols + BLOCK - 1) // BLOCK):
            here = np.uintp(block)
            row_base = bases[here], bases[here + BLOCKS]
            col_base = bases[here + 2 * BLOCKS], bases[here + 3 * BLOCKS]
            # Signed, Numba would allow for an index of -1, and not store vectors.
            start = np.uintp(block * BLOCK)
            if bases[here + 4 * BLOCKS] == ONE:
                for i in range(BLOCK):
                    step = np.float32(np.int32(i))
                    row, row_weight = step_from_base(row_base, row_change, step)
                    col, col_weight = step_from_base(col_base, col_change, step)
                    here = start + np.uintp(i)
                    offsets[here] = place_of(row, col, row_length, pixel_length)
                    row_weights[here] = to_stored(row_weight)
                    col_weights[here] = to_stored(col_weight)
            else:
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
                    offset = place_of(row, col, row_length, pixel_length)
                    here = start + np.uintp(i)
                    offsets[here] = offset | mark
                    row_weights[here] = to_stored(row_weight)
                    col_weights[here] = to_stored(col_weight)

    return locate_row


def _array(dtype, dimensions=1, is_read_only=False):
    return types.Array(dtype, dimensions, "C", readonly=is_read_only)


# What `locate_row` takes, by the type of weights.
ARGUMENTS = {
    weight: (
        _array(types.float32, 2, is_read_only=True),
        *(types.intp,) * 3,
        types.UniTuple(types.float32, 2),
        types.intp,
        types.Tuple((_array(types.float32), _array(types.int32), *(_array(weight),) * 2)),
    )
    for weight in (types.float32, types.int16)
}


@cache
def row_locator(fill_mode: int, in_fixed_point: bool) -> int:
    """Return the address of the compiled `locate_row`.

    The loops over pixels take it as an argument, so that there need not be one of them for each
    fill mode: compiling, not running, is what they would cost.
    """
    arguments = ARGUMENTS[types.int16 if in_fixed_point else types.float32]
    loop = make_row_locator(fill_mode, in_fixed_point)
    loop.compile(arguments)
    compiled = loop.overloads[arguments]
    name = compiled.fndesc.llvm_func_name
    return int(compiled.library.get_pointer_to_function(name))


@intrinsic
def locate_row_at(
    typing_context, locator, inverse_map, out_row, first_col, num_cols, size, channels, buffers
):
    """Call the `locate_row` at an address, which `row_locator` gave."""
    expected = ARGUMENTS[buffers[-1].dtype]

    def codegen(context, builder, sig, args):
        function_type = context.call_conv.get_function_type(types.none, expected)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        call = context.call_conv
        status, _ = call.call_function(builder, function, types.none, expected, args[1:])
        with if_unlikely(builder, status.is_error):  # bounds checks, where they are on
            call.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.intp, *expected), codegen


@batch_loop
def find_furthest(offsets, num_cols):
    """Return the furthest of the places that `locate_row` found."""
    furthest = np.int32(0)
    for i in range(num_cols):
        furthest = max(furthest, offsets[i] & np.int32(PLACE))
    return furthest


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


@pixel_function
def places_ahead(inverse_map, row_length, pixel_length):
    """Return how many elements lie between what a column reads now and ROWS_AHEAD rows later."""
    rows = min(max(ROWS_AHEAD * inverse_map[0, 0], -FURTHEST_AHEAD), FURTHEST_AHEAD)
    cols = min(max(ROWS_AHEAD * inverse_map[1, 0], -FURTHEST_AHEAD), FURTHEST_AHEAD)
    return np.intp(rows) * row_length + np.intp(cols) * pixel_length


@pixel_function
def prefetch_ahead(pixels, offsets, num_cols, out_row, ahead):
    """Ask for what some output row later on will read, of pictures too large to be touched.

    Every eighth column of a row, another one of each: together they meet every cache line of the
    source, at any angle, a few rows before a pixel waits for it.
    """
    for col in range(out_row % COLS_APART, num_cols, COLS_APART):
        prefetch(pixels, np.intp(offsets[col] & np.int32(PLACE)) + ahead)


def row_buffers(in_fixed_point: bool) -> tuple[np.ndarray, ...]:
    """Return this thread's scratch for `locate_row`: bases, offsets, row and column weights.

    Each begins with a cache line: what a vector has stored across two, the processor cannot hand on
    to the next load, and a warp took up to twice as long.
    """
    buffers = SCRATCH.buffers
    if in_fixed_point not in buffers:
        memory = np.empty(4 * 4 * TILE + CACHE_LINE, np.uint8)
        first = -memory.ctypes.data % CACHE_LINE
        parts = np.split(memory[first : first + 4 * 4 * TILE], 4)
        weight = np.int16 if in_fixed_point else np.float32
        buffers[in_fixed_point] = tuple(
            part.view(dtype)[:TILE]
            for part, dtype in zip(parts, (np.float32, np.int32, weight, weight), strict=True)
        )
    return buffers[in_fixed_point]
