"""Vector instructions for one pixel, as LLVM IR of fixed-width vectors: no processor is named.

Numba has no short vectors, so an `@intrinsic` writes them. Between two of these functions a pixel
is a tuple of four float32: red, green, blue, and alpha or waste. LLVM keeps it in one register.
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
SPAN = 8  # elements of one load: two pixels that are neighbours in a row
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


def _spread_scalar(builder, scalar, lanes):
    """Repeat a float32 in every lane; a vector stays as it is."""
    if isinstance(scalar.type, ir.VectorType):
        return scalar
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
    weight = _spread_scalar(builder, weight, start.type.count)
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


def _load_lanes(context, builder, array_type, array, place, lanes):
    """Load elements of an array from `place` on, as float32."""
    kind = array_type.dtype
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [place])
    raw = _load(builder, pointer, ir.VectorType(context.get_data_type(kind), lanes))
    if kind == types.float32:
        return raw
    whole = builder.zext(raw, ir.VectorType(INT, lanes))
    return builder.sitofp(whole, ir.VectorType(FLOAT, lanes))


def _lerp_ends(builder, weight, start, end):
    """Interpolate; a weight of 1 gives `end` even where `end - start` is not exact."""
    weight = _spread_scalar(builder, weight, start.type.count)
    between = _lerp(builder, weight, start, end)
    at_end = builder.fcmp_ordered("==", weight, ir.Constant(weight.type, [1.0] * weight.type.count))
    return builder.select(at_end, end, between)


def _make_samplers(channels):
    """Make the two intrinsics that read pixels of three or four channels."""

    def signature_of(pixels):
        return PIXEL(pixels, types.intp, types.intp, types.float32, types.float32)

    def interpolate(builder, kind, neighbours, weights):
        """Interpolate between rows, and then between columns."""
        lerp = _lerp_ends if kind == types.float32 else _lerp
        left, right = (lerp(builder, weights[0], *rows) for rows in neighbours)
        return _unpack(builder, lerp(builder, weights[1], left, right))

    @intrinsic
    def sample_pixel(typing_context, pixels, place, row_step, row_weight, col_weight):
        """Interpolate a pixel between 2 x 2 neighbours.

        The upper left one starts at element `place` of `pixels`, 1-D, the lower row `row_step`
        elements on. Reads `SPAN` elements at both places, of which `2 * channels` are needed.
        """

        def codegen(context, builder, sig, args):
            data, place, row_step, row_weight, col_weight = args
            kind = sig.args[0].dtype
            lerp = _lerp_ends if kind == types.float32 else _lerp
            rows = [
                _load_lanes(context, builder, sig.args[0], data, at, SPAN)
                for at in (place, builder.add(place, row_step))
            ]
            columns = lerp(builder, row_weight, *rows)
            left, right = (
                _shuffle(builder, columns, range(at, at + LANES)) for at in (0, channels)
            )
            return _unpack(builder, lerp(builder, col_weight, left, right))

        return signature_of(pixels), codegen

    @intrinsic
    def sample_pixel_exactly(typing_context, pixels, place, row_step, row_weight, col_weight):
        """Do as `sample_pixel`, the same to the last bit, but read no other elements."""

        def codegen(context, builder, sig, args):
            data, place, row_step, *weights = args
            last = builder.add(place, ir.Constant(LONG, 2 * channels - LANES))
            first = LANES - channels
            lanes = [min(lane, LANES - 1) for lane in range(first, first + LANES)]
            neighbours = []
            for at in (place, last):
                rows = [
                    _load_lanes(context, builder, sig.args[0], data, row, LANES)
                    for row in (at, builder.add(at, row_step))
                ]
                neighbours.append(rows)
            neighbours[1] = [_shuffle(builder, row, lanes) for row in neighbours[1]]
            return interpolate(builder, sig.args[0].dtype, neighbours, weights)

        return signature_of(pixels), codegen

    return sample_pixel, sample_pixel_exactly


sample_rgb, sample_rgb_exactly = _make_samplers(3)
sample_rgba, sample_rgba_exactly = _make_samplers(4)


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


spread_red, spread_green, spread_blue, spread_alpha = (_spread(lane) for lane in range(LANES))


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


def _store(channels, lanes_together):
    """Make an intrinsic that stores the channels of a pixel apart, or `lanes_together`."""

    @intrinsic
    def store(typing_context, dst, place, plane, pixel):
        signature = types.void(dst, types.intp, types.intp, PIXEL)

        def codegen(context, builder, sig, args):
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            vector = _cast(builder, _pack(builder, args[3]), sig.args[0].dtype)
            place, starts = args[1], range(0, channels, lanes_together)
            if lanes_together > 1:
                place = builder.mul(place, ir.Constant(LONG, channels))
            for start in starts:
                part = _shuffle(builder, vector, range(start, start + lanes_together))
                target = builder.gep(data, [place])
                builder.store(part, builder.bitcast(target, part.type.as_pointer()), align=1)
                place = builder.add(place, args[2])
            return context.get_dummy_value()

        return signature, codegen

    return store


store_rgb = _store(3, 3)
store_rgb_wide = _store(3, LANES)  # one value beyond the pixel
store_rgb_planar = _store(3, 1)
store_rgba = _store(4, LANES)
store_rgba_planar = _store(4, 1)


def _load_pairs(context, builder, array_type, data, places):
    """Load two neighbours from each of `SPAN` places; return the first and second of all."""
    kind = array_type.dtype
    bits = kind.bitwidth
    pairs = ir.Constant(ir.VectorType(ir.IntType(2 * bits), SPAN), ir.Undefined)
    for lane, place in enumerate(places):
        pair = _load(builder, builder.gep(data, [place]), ir.IntType(2 * bits))
        pairs = builder.insert_element(pairs, pair, _lane(lane))
    shift = ir.Constant(pairs.type, [bits] * SPAN)
    levels = []
    for part in (pairs, builder.lshr(pairs, shift)):
        part = builder.trunc(part, ir.VectorType(ir.IntType(bits), SPAN))
        if kind == types.float32:
            levels.append(builder.bitcast(part, ir.VectorType(FLOAT, SPAN)))
        else:
            whole = builder.zext(part, ir.VectorType(INT, SPAN))
            levels.append(builder.sitofp(whole, ir.VectorType(FLOAT, SPAN)))
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
            return _load(builder, builder.gep(pointer, [first]), ir.VectorType(kind, SPAN))

        offsets = builder.sext(load_block(offset_data, INT), ir.VectorType(LONG, SPAN))
        places = [
            builder.add(start, builder.extract_element(offsets, _lane(lane)))
            for lane in range(SPAN)
        ]
        upper = _load_pairs(context, builder, sig.args[0], data, places)
        lower_places = [builder.add(place, row_step) for place in places]
        lower = _load_pairs(context, builder, sig.args[0], data, lower_places)
        lerp = _lerp_ends if sig.args[0].dtype == types.float32 else _lerp
        weights = load_block(row_data, FLOAT)
        left, right = (lerp(builder, weights, *rows) for rows in zip(upper, lower, strict=True))
        values = lerp(builder, load_block(col_data, FLOAT), left, right)
        target = builder.gep(level_data, [first])
        builder.store(values, builder.bitcast(target, values.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def round_to_float16(typing_context, value):
    """Round a float32 to the nearest float16, ties to even; returns its 16 bits as uint16."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.fptrunc(args[0], HALF), ir.IntType(16))

    return types.uint16(types.float32), codegen


def _copy(context, builder, unit, array_types, args):
    target, to, source, start = args
    destination, origin = (
        builder.gep(context.make_array(kind)(context, builder, array).data, [place])
        for kind, array, place in (
            (array_types[0], target, to),
            (array_types[2], source, start),
        )
    )
    value = _load(builder, origin, unit)
    builder.store(value, builder.bitcast(destination, unit.as_pointer()), align=1)


@intrinsic
def copy_word(typing_context, target, to, source, start):
    """Copy 4 bytes from `source` at `start` to `target` at `to`, both 1-D uint8."""
    signature = types.void(target, types.intp, source, types.intp)

    def codegen(context, builder, sig, args):
        _copy(context, builder, INT, sig.args, args)
        return context.get_dummy_value()

    return signature, codegen
