"""Vector instructions for one pixel or two, as LLVM IR of short vectors: no processor is named.

Numba has no short vectors, so an `@intrinsic` writes them. Between two of these functions a pixel
is a tuple of four float32: red, green, blue, and alpha or waste; a pair of pixels is a tuple of
eight. LLVM keeps either in one register.
The processors Numba compiles for are little-endian.
"""

from functools import cache

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .codes import PLACE

BYTE, INT, LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
HALF, FLOAT = ir.HalfType(), ir.FloatType()
LANES = 4
SPAN = 8  # elements of one load: two pixels that are neighbours in a row
PIXEL = types.UniTuple(types.float32, LANES)
PAIR = types.UniTuple(types.float32, 2 * LANES)


@cache
def has_float16() -> bool:
    """Tell whether the processor that Numba compiles for turns float32 into float16 itself.

    That may be another one than this machine's: see NUMBA_CPU_NAME.
    """
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+f16c" in features.split(",") or triple.startswith(("aarch64", "arm64"))


def _lane(number):
    return ir.Constant(INT, number)


def like(vector, value):
    """Return a vector of the same type with `value` in every lane."""
    return ir.Constant(vector.type, [value] * vector.type.count)


def shuffle(builder, vector, lanes):
    """Pick lanes of one vector, in any order and number."""
    mask = ir.Constant(ir.VectorType(INT, len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _spread(builder, vector, lanes):
    """Repeat the only lane of a vector; one that has as many lanes stays as it is."""
    return vector if vector.type.count == lanes else shuffle(builder, vector, [0] * lanes)


def load(builder, pointer, value_type):
    """Load a value from any address."""
    return builder.load(builder.bitcast(pointer, value_type.as_pointer()), align=1)


def _fused(builder, a, b, c):
    """Return a * b + c, in one instruction where the processor has it."""
    signature = ir.FunctionType(a.type, [a.type] * 3)
    name = f"llvm.fmuladd.v{a.type.count}f32"
    return builder.call(get_or_insert_function(builder.module, signature, name), [a, b, c])


def _lerp(builder, weight, start, end):
    weight = _spread(builder, weight, start.type.count)
    return _fused(builder, weight, builder.fsub(end, start), start)


def pack(builder, pixel):
    """Join a tuple of numbers into one vector."""
    lanes = pixel.type.count
    vector = ir.Constant(ir.VectorType(pixel.type.element, lanes), ir.Undefined)
    for lane in range(lanes):
        value = builder.extract_value(pixel, lane)
        vector = builder.insert_element(vector, value, _lane(lane))
    return vector


def unpack(builder, vector):
    """Split a vector into a tuple of numbers."""
    lanes = vector.type.count
    pixel = ir.Constant(ir.ArrayType(vector.type.element, lanes), ir.Undefined)
    for lane in range(lanes):
        value = builder.extract_element(vector, _lane(lane))
        pixel = builder.insert_value(pixel, value, lane)
    return pixel


def _load_lanes(context, builder, array_type, array, place, lanes):
    """Load elements of an array from `place` on, as float32."""
    kind = array_type.dtype
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [place])
    raw = load(builder, pointer, ir.VectorType(context.get_data_type(kind), lanes))
    return raw if kind == types.float32 else _widen(builder, raw)


def _widen(builder, whole):
    """Turn unsigned integers into float32."""
    lanes = whole.type.count
    wide = builder.zext(whole, ir.VectorType(INT, lanes))
    return builder.sitofp(wide, ir.VectorType(FLOAT, lanes))


def _lerp_ends(builder, weight, start, end):
    """Interpolate; a weight of 1 gives `end` even where `end - start` is not exact."""
    weight = _spread(builder, weight, start.type.count)
    between = _lerp(builder, weight, start, end)
    at_end = builder.fcmp_ordered("==", weight, like(weight, 1.0))
    return builder.select(at_end, end, between)


def _lerp_for(kind):
    """Return how levels of a type are interpolated: integer ones are exact anyway."""
    return _lerp_ends if kind == types.float32 else _lerp


def load_place(builder, offsets, col, may_be_marked):
    """Return a pixel's place, without the mark that it may bear."""
    offset = builder.load(builder.gep(offsets, [col]))
    if may_be_marked:
        offset = builder.and_(offset, ir.Constant(INT, PLACE))
    return builder.zext(offset, LONG)


def _load_position(context, builder, sig, args, col, may_be_marked):
    """Return a pixel's place and its two weights as vectors of one lane."""
    data = context.make_array(sig.args[2])(context, builder, args[2]).data
    weights = (_load_lanes(context, builder, sig.args[at], args[at], col, 1) for at in (3, 4))
    return load_place(builder, data, col, may_be_marked), *weights


def _lerp_rows(context, builder, sig, args, start, weight, lanes):
    """Read elements from `start` on, and one row below, and interpolate between the two rows."""
    rows = [
        _load_lanes(context, builder, sig.args[0], args[0], at, lanes)
        for at in (start, builder.add(start, args[1]))
    ]
    return _lerp_for(sig.args[0].dtype)(builder, weight, *rows)


def _make_samplers(channels, may_be_marked):
    """Make the two intrinsics that read pixels of three or four channels."""

    @intrinsic
    def sample_pair(typing_context, pixels, row_step, offsets, row_weights, col_weights, col):
        """Interpolate two pixels, each between 2 x 2 neighbours, as `locate_row` found them.

        They are those at `col` and `col + 1`; the lower row begins `row_step` elements after the
        upper one. Reads `SPAN` elements at all four places, of which `2 * channels` are needed.
        """
        buffers = (offsets, row_weights, col_weights)
        signature = PAIR(pixels, types.intp, *buffers, types.intp)

        def codegen(context, builder, sig, args):
            lerp = _lerp_for(sig.args[0].dtype)
            values = []
            for number in range(2):
                here = builder.add(args[5], ir.Constant(LONG, number))
                start, *weights = _load_position(context, builder, sig, args, here, may_be_marked)
                columns = _lerp_rows(context, builder, sig, args, start, weights[0], SPAN)
                left, right = (
                    shuffle(builder, columns, range(at, at + LANES)) for at in (0, channels)
                )
                values.append(lerp(builder, weights[1], left, right))
            lanes = ir.Constant(ir.VectorType(INT, 2 * LANES), list(range(2 * LANES)))
            return unpack(builder, builder.shuffle_vector(*values, lanes))

        return signature, codegen

    @intrinsic
    def sample_pixel(typing_context, pixels, row_step, offsets, row_weights, col_weights, col):
        """Interpolate one pixel, to the last bit as `sample_pair`, and read its neighbours only."""
        buffers = (offsets, row_weights, col_weights)
        signature = PIXEL(pixels, types.intp, *buffers, types.intp)

        def codegen(context, builder, sig, args):
            lerp = _lerp_for(sig.args[0].dtype)
            start, *weights = _load_position(context, builder, sig, args, args[5], may_be_marked)
            left, right = (
                _lerp_rows(context, builder, sig, args, at, weights[0], LANES)
                for at in (start, builder.add(start, ir.Constant(LONG, 2 * channels - LANES)))
            )
            right = shuffle(builder, right, last_lanes(channels))
            return unpack(builder, lerp(builder, weights[1], left, right))

        return signature, codegen

    return sample_pair, sample_pixel


def last_lanes(channels):
    """Move the last lanes of a pixel to its front; what follows is waste."""
    return [min(lane, LANES - 1) for lane in range(LANES - channels, 2 * LANES - channels)]


# By (channels, whether an offset may be marked as outside).
SAMPLERS = {
    (channels, may_be_marked): _make_samplers(channels, may_be_marked)
    for channels in (3, 4)
    for may_be_marked in (False, True)
}


@intrinsic
def fill_outside(typing_context, pixels, outside, offsets, col):
    """Return one pixel or two, those at `col`, but `outside` where their offsets are marked."""
    signature = pixels(pixels, outside, offsets, types.intp)

    def codegen(context, builder, sig, args):
        pixels, outside = (pack(builder, arg) for arg in args[:2])
        data = context.make_array(sig.args[2])(context, builder, args[2]).data
        count = pixels.type.count // LANES
        marks = load(builder, builder.gep(data, [args[3]]), ir.VectorType(INT, count))
        marks = shuffle(builder, marks, [lane for lane in range(count) for _ in range(LANES)])
        outside = shuffle(builder, outside, [*range(LANES)] * count)
        is_marked = builder.icmp_signed("<", marks, like(marks, 0))
        return unpack(builder, builder.select(is_marked, outside, pixels))

    return signature, codegen


@intrinsic
def multiply_add(typing_context, factors, pixels, addend):
    """Return `factors * pixels + addend`, channel by channel, of one pixel or of two."""

    def codegen(context, builder, sig, args):
        factors, pixels, addend = (pack(builder, arg) for arg in args)
        count = pixels.type.count
        factors, addend = (
            vector
            if vector.type.count == count
            else shuffle(builder, vector, [*range(LANES), *range(LANES)])
            for vector in (factors, addend)
        )
        return unpack(builder, _fused(builder, factors, pixels, addend))

    return pixels(factors, pixels, addend), codegen


def _make_spread(lane):
    @intrinsic
    def spread(typing_context, pixels):
        def codegen(context, builder, sig, args):
            vector = pack(builder, args[0])
            lanes = [first + lane for first in range(0, vector.type.count, LANES)]
            lanes = [lane for lane in lanes for _ in range(LANES)]
            return unpack(builder, shuffle(builder, vector, lanes))

        return pixels(pixels), codegen

    return spread


spread_red, spread_green, spread_blue, spread_alpha = (_make_spread(lane) for lane in range(LANES))


def _to_uint8(builder, vector):
    """Round half up and clip to 0..255; the comparisons turn NaN into 0."""
    level = builder.fadd(vector, like(vector, 0.5))
    positive = builder.fcmp_ordered(">", level, like(vector, 0.0))
    level = builder.select(positive, level, like(vector, 0.0))
    large = builder.fcmp_ordered(">", level, like(vector, 255.0))
    level = builder.select(large, like(vector, 255.0), level)
    whole = builder.fptosi(level, ir.VectorType(INT, vector.type.count))
    return builder.trunc(whole, ir.VectorType(BYTE, vector.type.count))


def _cast(builder, vector, dtype):
    """Cast float32 to the type of the target; uint16 stands for the bits of a float16."""
    if dtype == types.uint8 and vector.type.element == FLOAT:
        return _to_uint8(builder, vector)
    if dtype == types.uint16:
        halves = builder.fptrunc(vector, ir.VectorType(HALF, vector.type.count))
        return builder.bitcast(halves, ir.VectorType(ir.IntType(16), vector.type.count))
    return vector


def _store(context, builder, sig, args, place, lanes):
    """Cast one pixel or two, and store some of the lanes from element `place` on."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    vector = _cast(builder, pack(builder, args[-1]), sig.args[0].dtype)
    part = shuffle(builder, vector, lanes)
    target = builder.bitcast(builder.gep(data, [place]), part.type.as_pointer())
    builder.store(part, target, align=1)


def _make_stores(channels):
    """Make the two intrinsics that store pixels of three or four channels."""

    @intrinsic
    def store_together(typing_context, dst, place, plane, pixels):
        """Store the `place`-th pixel of `dst`; with a pair up to 2 values beyond it as well."""

        def codegen(context, builder, sig, args):
            start = builder.mul(args[1], ir.Constant(LONG, channels))
            if sig.args[3].count == LANES:
                _store(context, builder, sig, args, start, range(channels))
            elif sig.args[0].dtype == types.float32:  # 32 bytes at once take longer
                _store(context, builder, sig, args, start, range(LANES))
                second = builder.add(start, ir.Constant(LONG, channels))
                _store(context, builder, sig, args, second, range(LANES, 2 * LANES))
            else:
                lanes = [*range(channels), *range(LANES, LANES + channels), *[LANES] * 2]
                _store(context, builder, sig, args, start, lanes[: 2 * LANES])
            return context.get_dummy_value()

        return types.void(dst, types.intp, types.intp, pixels), codegen

    @intrinsic
    def store_apart(typing_context, dst, place, plane, pixels):
        """Store the channels of one pixel or two `plane` elements apart."""

        def codegen(context, builder, sig, args):
            place = args[1]
            for channel in range(channels):
                lanes = [channel] if sig.args[3].count == LANES else [channel, LANES + channel]
                _store(context, builder, sig, args, place, lanes)
                place = builder.add(place, args[2])
            return context.get_dummy_value()

        return types.void(dst, types.intp, types.intp, pixels), codegen

    return store_together, store_apart


store_rgb, store_rgb_planar = _make_stores(3)
store_rgba, store_rgba_planar = _make_stores(4)


def _load_pairs(context, builder, array_type, data, places):
    """Load two neighbours from each of `SPAN` places; return the first and second of all."""
    kind = array_type.dtype
    bits = kind.bitwidth
    pairs = ir.Constant(ir.VectorType(ir.IntType(2 * bits), SPAN), ir.Undefined)
    for lane, place in enumerate(places):
        pair = load(builder, builder.gep(data, [place]), ir.IntType(2 * bits))
        pairs = builder.insert_element(pairs, pair, _lane(lane))
    shift = ir.Constant(pairs.type, [bits] * SPAN)
    levels = []
    for part in (pairs, builder.lshr(pairs, shift)):
        part = builder.trunc(part, ir.VectorType(ir.IntType(bits), SPAN))
        if kind == types.float32:
            levels.append(builder.bitcast(part, ir.VectorType(FLOAT, SPAN)))
        else:
            levels.append(_widen(builder, part))
    return levels


@intrinsic
def sample_gray(
    typing_context, pixels, start, row_step, offsets, row_weights, col_weights, levels, first
):
    """Interpolate `SPAN` pixels of one channel, those from `first` on of what `locate_row` found.

    `levels`, float32, receives them. Reads the 2 x 2 neighbours of each and nothing else.
    """
    buffers = (offsets, row_weights, col_weights, levels)
    signature = types.void(pixels, types.intp, types.intp, *buffers, types.intp)

    def codegen(context, builder, sig, args):
        data, row_data, col_data, offset_data, level_data = (
            context.make_array(sig.args[at])(context, builder, args[at]).data
            for at in (0, 4, 5, 3, 6)
        )
        start, row_step, first = args[1], args[2], args[7]

        def load_block(pointer, kind):
            return load(builder, builder.gep(pointer, [first]), ir.VectorType(kind, SPAN))

        offsets = builder.sext(load_block(offset_data, INT), ir.VectorType(LONG, SPAN))
        places = [
            builder.add(start, builder.extract_element(offsets, _lane(lane)))
            for lane in range(SPAN)
        ]
        upper = _load_pairs(context, builder, sig.args[0], data, places)
        lower_places = [builder.add(place, row_step) for place in places]
        lower = _load_pairs(context, builder, sig.args[0], data, lower_places)
        lerp = _lerp_for(sig.args[0].dtype)
        weights = load_block(row_data, FLOAT)
        left, right = (lerp(builder, weights, *rows) for rows in zip(upper, lower, strict=True))
        values = lerp(builder, load_block(col_data, FLOAT), left, right)
        target = builder.gep(level_data, [first])
        builder.store(values, builder.bitcast(target, values.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def prefetch(typing_context, pixels, place):
    """Ask for the cache line of an element that is read soon; any place will do."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), BYTE.as_pointer())
        kinds = [pointer.type, INT, INT, INT]
        signature = ir.FunctionType(ir.VoidType(), kinds)
        function = get_or_insert_function(builder.module, signature, "llvm.prefetch.p0i8")
        read, keep, is_data = (ir.Constant(INT, number) for number in (0, 3, 1))
        builder.call(function, [pointer, read, keep, is_data])
        return context.get_dummy_value()

    return types.void(pixels, types.intp), codegen


@intrinsic
def round_to_float16(typing_context, value):
    """Round a float32 to the nearest float16, ties to even; returns its 16 bits as uint16."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.fptrunc(args[0], HALF), ir.IntType(16))

    return types.uint16(types.float32), codegen


@intrinsic
def copy_word(typing_context, target, to, source, start):
    """Copy 4 bytes from `source` at `start` to `target` at `to`, both 1-D uint8."""
    signature = types.void(target, types.intp, source, types.intp)

    def codegen(context, builder, sig, args):
        destination, origin = (
            builder.gep(context.make_array(sig.args[at])(context, builder, args[at]).data, [place])
            for at, place in ((0, args[1]), (2, args[3]))
        )
        word = load(builder, origin, INT)
        builder.store(word, builder.bitcast(destination, INT.as_pointer()), align=1)
        return context.get_dummy_value()

    return signature, codegen
