"""Vector instructions for one RGB pixel, as LLVM IR of fixed-width vectors: no processor is named.

Numba has no short vectors, so an `@intrinsic` writes them. Between two of these functions a pixel
is a tuple of four float32: red, green, blue and one of waste. LLVM keeps it in one register.
The processors Numba compiles for are little-endian.
"""

from functools import cache

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.registry import cpu_target
from numba.extending import intrinsic

BYTE, INT, LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
HALF, FLOAT = ir.HalfType(), ir.FloatType()
LANES = 4
PIXEL = types.UniTuple(types.float32, LANES)


@cache
def has_float16() -> bool:
    """Tell whether the processor that Numba compiles for turns float32 into float16 itself.

    That may be another one than this machine's: see NUMBA_CPU_NAME.
    """
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+f16c" in features.split(",") or triple.startswith(("aarch64", "arm64"))


def _lane(number):
    return ir.Constant(INT, number)


def _constant(value):
    return ir.Constant(ir.VectorType(FLOAT, LANES), [value] * LANES)


def _shuffle(builder, vector, lanes):
    mask = ir.Constant(ir.VectorType(INT, len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _splat(builder, scalar, lanes):
    """Repeat a float32 in every lane."""
    vector = ir.Constant(ir.VectorType(FLOAT, lanes), ir.Undefined)
    return _shuffle(builder, builder.insert_element(vector, scalar, _lane(0)), [0] * lanes)


def _load(builder, pointer, value_type):
    return builder.load(builder.bitcast(pointer, value_type.as_pointer()), align=1)


def _fused(builder, a, b, c):
    """Return a * b + c, in one instruction where the processor has it."""
    signature = ir.FunctionType(a.type, [a.type] * 3)
    name = f"llvm.fmuladd.v{a.type.count}f32"
    return builder.call(get_or_insert_function(builder.module, signature, name), [a, b, c])


def _lerp(builder, weight, start, end):
    weight = _splat(builder, weight, start.type.count)
    return _fused(builder, weight, builder.fsub(end, start), start)


def _pack(builder, pixel):
    """Join a tuple of float32 into one vector."""
    vector = ir.Constant(ir.VectorType(FLOAT, LANES), ir.Undefined)
    for lane in range(LANES):
        value = builder.extract_value(pixel, lane)
        vector = builder.insert_element(vector, value, _lane(lane))
    return vector


def _unpack(builder, vector):
    """Split a vector into a tuple of float32."""
    pixel = ir.Constant(ir.ArrayType(FLOAT, LANES), ir.Undefined)
    for lane in range(LANES):
        value = builder.extract_element(vector, _lane(lane))
        pixel = builder.insert_value(pixel, value, lane)
    return pixel


def _data(context, builder, array_type, array):
    """Return the address of an array's first byte."""
    pointer = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(pointer, BYTE.as_pointer())


def _load_neighbours(builder, data, offset):
    """Load 8 bytes: two RGB pixels that are neighbours in a row, and two bytes of waste."""
    return _load(builder, builder.gep(data, [offset]), ir.VectorType(BYTE, 8))


def _load_neighbours_before(last):
    """Return the same as `_load_neighbours`, good for places up to 2 bytes beyond `last`.

    There the 8 bytes are read 2 bytes earlier, and shifted.
    """

    def load(builder, data, offset):
        beyond = builder.icmp_signed(">", offset, last)
        back = builder.select(beyond, ir.Constant(LONG, 2), ir.Constant(LONG, 0))
        raw = _load(builder, builder.gep(data, [builder.sub(offset, back)]), LONG)
        raw = builder.lshr(raw, builder.shl(back, ir.Constant(LONG, 3)))
        return builder.bitcast(raw, ir.VectorType(BYTE, 8))

    return load


def _sample(builder, load, data, offset, row_step, row_weight, col_weight):
    """Interpolate between 2 x 2 neighbours: both columns at once, then between them."""
    rows = []
    for place in (offset, builder.add(offset, row_step)):
        whole = builder.zext(load(builder, data, place), ir.VectorType(INT, 8))
        rows.append(builder.uitofp(whole, ir.VectorType(FLOAT, 8)))
    columns = _lerp(builder, row_weight, *rows)
    left, right = (_shuffle(builder, columns, range(first, first + 4)) for first in (0, 3))
    return _unpack(builder, _lerp(builder, col_weight, left, right))


@intrinsic
def sample_rgb(typing_context, src, offset, row_step, row_weight, col_weight):
    """Interpolate an RGB pixel of `src` (H, W, 3) uint8 between 2 x 2 neighbours.

    The upper left one starts `offset` bytes into the array, the lower row `row_step` bytes on.
    Reads 8 bytes at `offset` and at `offset + row_step`, of which 6 are needed.
    """
    signature = PIXEL(src, types.intp, types.intp, types.float32, types.float32)

    def codegen(context, builder, sig, args):
        data = _data(context, builder, sig.args[0], args[0])
        return _sample(builder, _load_neighbours, data, *args[1:])

    return signature, codegen


@intrinsic
def sample_rgb_at_end(typing_context, src, offset, row_step, row_weight, col_weight, last):
    """Do as `sample_rgb`, the same to the last bit, but read no byte from `last + 8` on."""
    signature = PIXEL(src, types.intp, types.intp, types.float32, types.float32, types.intp)

    def codegen(context, builder, sig, args):
        data = _data(context, builder, sig.args[0], args[0])
        return _sample(builder, _load_neighbours_before(args[5]), data, *args[1:5])

    return signature, codegen


@intrinsic
def multiply_add(typing_context, factors, pixel, addend):
    """Return `factors * pixel + addend`, channel by channel."""

    def codegen(context, builder, sig, args):
        return _unpack(builder, _fused(builder, *(_pack(builder, arg) for arg in args)))

    return PIXEL(PIXEL, PIXEL, PIXEL), codegen


def _spread(lane):
    @intrinsic
    def spread(typing_context, pixel):
        def codegen(context, builder, sig, args):
            return _unpack(builder, _shuffle(builder, _pack(builder, args[0]), [lane] * LANES))

        return PIXEL(PIXEL), codegen

    return spread


spread_red, spread_green, spread_blue = (_spread(lane) for lane in range(3))


def _to_uint8(builder, vector):
    """Round half up and clip to 0..255; the comparisons turn NaN into 0."""
    level = builder.fadd(vector, _constant(0.5))
    positive = builder.fcmp_ordered(">", level, _constant(0.0))
    level = builder.select(positive, level, _constant(0.0))
    small = builder.fcmp_ordered("<", level, _constant(255.0))
    level = builder.select(small, level, _constant(255.0))
    whole = builder.fptosi(level, ir.VectorType(INT, LANES))
    return builder.trunc(whole, ir.VectorType(BYTE, LANES))


def _cast(builder, vector, dtype):
    """Cast to the type of the target; uint16 stands for the bits of a float16."""
    if dtype == types.uint8:
        return _to_uint8(builder, vector)
    if dtype == types.uint16:
        halves = builder.fptrunc(vector, ir.VectorType(HALF, LANES))
        return builder.bitcast(halves, ir.VectorType(ir.IntType(16), LANES))
    return vector


def _store(lanes_together):
    """Make an intrinsic that stores 3 values apart, or 3 or 4 `lanes_together`."""

    @intrinsic
    def store(typing_context, dst, place, plane, pixel):
        signature = types.void(dst, types.intp, types.intp, PIXEL)

        def codegen(context, builder, sig, args):
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            vector = _cast(builder, _pack(builder, args[3]), sig.args[0].dtype)
            place, starts = args[1], range(0, 3, lanes_together)
            if lanes_together > 1:
                place = builder.mul(place, ir.Constant(LONG, 3))
            for start in starts:
                part = _shuffle(builder, vector, range(start, start + lanes_together))
                target = builder.gep(data, [place])
                builder.store(part, builder.bitcast(target, part.type.as_pointer()), align=1)
                place = builder.add(place, args[2])
            return context.get_dummy_value()

        return signature, codegen

    return store


store_rgb = _store(3)
store_rgb_wide = _store(4)
store_planar = _store(1)


@intrinsic
def copy_word(typing_context, target, to, source, start):
    """Copy 4 bytes from `source` at `start` to `target` at `to`, both 1-D uint8."""
    signature = types.void(target, types.intp, source, types.intp)

    def codegen(context, builder, sig, args):
        destination = _data(context, builder, sig.args[0], args[0])
        origin = _data(context, builder, sig.args[2], args[2])
        word = _load(builder, builder.gep(origin, [args[3]]), INT)
        place = builder.bitcast(builder.gep(destination, [args[1]]), INT.as_pointer())
        builder.store(word, place, align=1)
        return context.get_dummy_value()

    return signature, codegen
