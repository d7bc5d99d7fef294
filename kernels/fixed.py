"""Vector instructions in 16-bit fixed point, for uint8 pixels that stay uint8.

A level takes 15 bits, 128 steps for each; a weight takes 16, as its negative: -1 fits into them, 1
does not. ``start - weight * (end - start)``, rounded to a step, is `start` and `end` themselves at
the ends and never beyond them. The roundings of two weights and two products come to less than 1/64
of a level, so the result is the nearest level, unless the exact one lies that near to a half.

Two pixels go together, element by element: a0 b0 a1 b1 ... So their two weights, which lie side by
side in memory, need no shuffle, and the right neighbours are what begins one pixel further.
Between two of these functions a pixel is a tuple of four uint8, as one of float32 in `simd.py`.
"""

from functools import cache

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .simd import (
    BYTE,
    INT,
    LANES,
    LONG,
    SPAN,
    last_lanes,
    like,
    load,
    load_place,
    shuffle,
    unpack,
)

SHORT = ir.IntType(16)
LEVEL_BITS = 7
WEIGHT_ONE = 2**15
ROUNDED_HIGH_HALVES = {8: "llvm.x86.ssse3.pmul.hr.sw.128", 16: "llvm.x86.avx2.pmul.hr.sw"}


@cache
def has_rounded_products() -> bool:
    """Tell whether the processor that Numba compiles for multiplies 16-bit fractions itself.

    Asked once: the answer takes LLVM's lock, which a child forked meanwhile would wait for.
    """
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx2" in features.split(",")


def _scale(builder, vector, weight):
    """Return ``vector * weight / 2**15``, rounded half up: no pattern of IR becomes `pmulhrsw`."""
    signature = ir.FunctionType(vector.type, [vector.type] * 2)
    name = ROUNDED_HIGH_HALVES[vector.type.count]
    return builder.call(get_or_insert_function(builder.module, signature, name), [vector, weight])


def _lerp(builder, weight, start, end):
    return builder.sub(start, _scale(builder, builder.sub(end, start), weight))


def _to_fractions(builder, levels):
    wide = builder.zext(levels, ir.VectorType(SHORT, levels.type.count))
    return builder.shl(wide, like(wide, LEVEL_BITS))


def _to_levels(builder, fractions, lanes):
    """Round half up, and pick some as bytes: none is beyond 255."""
    unit = like(fractions, WEIGHT_ONE >> LEVEL_BITS)
    levels = builder.bitcast(
        _scale(builder, fractions, unit), ir.VectorType(BYTE, 2 * fractions.type.count)
    )
    return unpack(builder, shuffle(builder, levels, [2 * lane for lane in lanes]))


def _read_together(builder, pixels, places, lanes):
    """Load the levels at one place or two, those of two by turns, as fractions."""
    parts = [
        load(builder, builder.gep(pixels, [place]), ir.VectorType(BYTE, lanes)) for place in places
    ]
    turns = [lane + first for lane in range(lanes) for first in range(0, len(parts) * lanes, lanes)]
    mask = ir.Constant(ir.VectorType(INT, len(turns)), turns)
    return _to_fractions(builder, builder.shuffle_vector(parts[0], parts[-1], mask))


def _make_samplers(channels, may_be_marked):
    """Make the two intrinsics that read pixels of three or four channels."""

    def begin(context, builder, sig, args, count):
        """Return the places of pixels, and a function that gives their weights."""
        pixels, offsets, *weights = (
            context.make_array(sig.args[at])(context, builder, args[at]).data for at in (0, 2, 3, 4)
        )
        places = [
            load_place(
                builder, offsets, builder.add(args[5], ir.Constant(LONG, number)), may_be_marked
            )
            for number in range(count)
        ]

        def load_weights(axis, lanes):
            pointer = builder.gep(weights[axis], [args[5]])
            few = load(builder, pointer, ir.VectorType(SHORT, count))
            return shuffle(builder, few, [lane % count for lane in range(lanes)])

        return pixels, places, load_weights

    @intrinsic
    def sample_pair(typing_context, pixels, row_step, offsets, row_weights, col_weights, col):
        """Interpolate two pixels as `simd.sample_pair`; weights are int16, -2**15 for a whole."""
        buffers = (offsets, row_weights, col_weights)
        signature = types.UniTuple(types.uint8, 2 * LANES)(pixels, types.intp, *buffers, types.intp)

        def codegen(context, builder, sig, args):
            data, places, load_weights = begin(context, builder, sig, args, 2)
            below = [builder.add(place, args[1]) for place in places]
            rows = [_read_together(builder, data, each, SPAN) for each in (places, below)]
            columns = _lerp(builder, load_weights(0, 2 * SPAN), *rows)
            left, right = (
                shuffle(builder, columns, range(first, first + 2 * LANES))
                for first in (0, 2 * channels)
            )
            values = _lerp(builder, load_weights(1, 2 * LANES), left, right)
            lanes = [*range(0, 2 * LANES, 2), *range(1, 2 * LANES, 2)]
            return _to_levels(builder, values, lanes)

        return signature, codegen

    @intrinsic
    def sample_pixel(typing_context, pixels, row_step, offsets, row_weights, col_weights, col):
        """Interpolate one pixel, to the last bit as `sample_pair`, and read its neighbours only."""
        buffers = (offsets, row_weights, col_weights)
        signature = types.UniTuple(types.uint8, LANES)(pixels, types.intp, *buffers, types.intp)

        def codegen(context, builder, sig, args):
            data, (place,), load_weights = begin(context, builder, sig, args, 1)
            right_place = builder.add(place, ir.Constant(LONG, 2 * channels - LANES))
            rows = []
            for start, end in (
                (place, right_place),
                (builder.add(place, args[1]), builder.add(right_place, args[1])),
            ):
                parts = [
                    load(builder, builder.gep(data, [at]), ir.VectorType(BYTE, LANES))
                    for at in (start, end)
                ]
                lanes = ir.Constant(ir.VectorType(INT, 2 * LANES), list(range(2 * LANES)))
                rows.append(_to_fractions(builder, builder.shuffle_vector(*parts, lanes)))
            columns = _lerp(builder, load_weights(0, 2 * LANES), *rows)
            right = [LANES + lane for lane in last_lanes(channels)] + [2 * LANES - 1] * LANES
            end = shuffle(builder, columns, right)
            values = _lerp(builder, load_weights(1, 2 * LANES), columns, end)
            return _to_levels(builder, values, range(LANES))

        return signature, codegen

    return sample_pair, sample_pixel


# By (channels, whether an offset may be marked as outside).
FIXED_SAMPLERS = {
    (channels, may_be_marked): _make_samplers(channels, may_be_marked)
    for channels in (3, 4)
    for may_be_marked in (False, True)
}
