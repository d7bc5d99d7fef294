"""Vector instructions for means of RGB and RGBA pixels, as LLVM IR: see `simd.py`."""

from functools import reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BYTE, SHORT, INT = ir.IntType(8), ir.IntType(16), ir.IntType(32)
LONG = ir.IntType(64)
LANES = 4


def _vector(kind):
    return ir.VectorType(kind, LANES)


def _splat(builder, scalar):
    vector = ir.Constant(_vector(scalar.type), ir.Undefined)
    for lane in range(LANES):
        vector = builder.insert_element(vector, scalar, ir.Constant(INT, lane))
    return vector


def _address(context, builder, array_type, array, place, kind):
    """Return the address of an element of an array, as that of something else."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())


def _mean(fixed_count):
    """Make `mean_of_pixels` for one number of pixels, or for any number that it is told."""

    @intrinsic
    def mean_of_pixels(typing_context, sums, place, channels, count, shift):
        """Sum RGB or RGBA pixels of uint16 from element `place` on; divide by ``2**shift``.

        Halves are rounded up. Reads one element beyond the last pixel of RGB.
        """
        signature = types.int32(sums, types.intp, types.intp, types.intp, types.uint16)

        def codegen(context, builder, sig, args):
            array, place, channels, count, shift = args

            def pixel(number):
                here = builder.add(place, builder.mul(number, channels))
                address = _address(context, builder, sig.args[0], array, here, _vector(SHORT))
                return builder.load(address, align=2)

            if fixed_count:
                pixels = [pixel(ir.Constant(LONG, number)) for number in range(fixed_count)]
                total = reduce(builder.add, pixels)
            else:
                total = _loop_total(builder, pixel, count)
            half = builder.lshr(builder.shl(ir.Constant(SHORT, 1), shift), ir.Constant(SHORT, 1))
            total = builder.lshr(builder.add(total, _splat(builder, half)), _splat(builder, shift))
            return builder.bitcast(builder.trunc(total, _vector(BYTE)), INT)

        return signature, codegen

    return mean_of_pixels


def _loop_total(builder, pixel, count):
    total = cgutils.alloca_once_value(builder, ir.Constant(_vector(SHORT), [0] * LANES))
    with cgutils.for_range(builder, count) as loop:
        builder.store(builder.add(builder.load(total), pixel(loop.index)), total)
    return builder.load(total)


mean_of_two, mean_of_four, mean_of_many = _mean(2), _mean(4), _mean(0)


@intrinsic
def store_word(typing_context, target, place, word):
    """Store 4 bytes at `place`."""
    signature = types.void(target, types.intp, types.int32)

    def codegen(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], INT)
        builder.store(args[2], address, align=1)
        return context.get_dummy_value()

    return signature, codegen


def _halve(channels):
    """Make an intrinsic for pixels of 3 or 4 bytes."""
    first = [2 * channels * pixel + channel for pixel in range(2) for channel in range(channels)]
    second = [byte + channels for byte in first]

    @intrinsic
    def halve(typing_context, row, start, target, place):
        """Average the pixels of two pairs of `row`; halves are rounded up.

        Reads 16 bytes from `start` on and writes 8 at `place`, the last 2 of RGB being waste.
        """
        signature = types.void(row, types.intp, target, types.intp)

        def codegen(context, builder, sig, args):
            row, start, target, place = args
            address = _address(context, builder, sig.args[0], row, start, ir.VectorType(BYTE, 16))
            loaded = builder.load(address, align=1)
            wide = ir.VectorType(SHORT, 16)
            left, right = (
                builder.zext(_pick(builder, loaded, lanes), wide) for lanes in (first, second)
            )
            one = ir.Constant(wide, [1] * 16)
            total = builder.add(builder.add(left, right), one)  # LLVM: one instruction for bytes
            mean = builder.trunc(builder.lshr(total, one), ir.VectorType(BYTE, 16))
            halves = builder.bitcast(mean, ir.VectorType(LONG, 2))
            word = builder.extract_element(halves, ir.Constant(INT, 0))
            address = _address(context, builder, sig.args[2], target, place, LONG)
            builder.store(word, address, align=1)
            return context.get_dummy_value()

        return signature, codegen

    return halve


def _pick(builder, vector, lanes):
    """Move some bytes of a vector of 16 to its front; what follows them is waste."""
    lanes = [*lanes, *range(16 - len(lanes))]
    mask = ir.Constant(ir.VectorType(INT, 16), lanes)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


halve_rgb, halve_rgba = _halve(3), _halve(4)
