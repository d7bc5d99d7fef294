"""The warp on a CUDA device: the pixel functions of `pixel.py`, one thread for a pixel or for four.

The only file that imports `numba.cuda`, and nothing imports it before a device is asked for.
docs/cuda.md counts instructions and bytes, and says what was decided by them.

A position is a 64-bit fixed-point number, 32 bits of it behind the point: the upper word is the
index, the lower one the weight. The device has no float64 to speak of, and this needs six
multiplications of whole numbers; it is right to 2**-32 pixels for each column, where the CPU's pair
is right to 4e-6.
"""

import importlib
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda
from numba.core.errors import NumbaPerformanceWarning
from numba.cuda import (
    current_context,
    device_array,
    external_stream,
    gpus,
    legacy_default_stream,
    per_thread_default_stream,
    pinned_array,
    synchronize,
    to_device,
)
from numba.cuda import event as make_event
from numba.cuda import stream as make_stream
from numba.cuda.cudadrv.driver import CudaAPIError, driver
from numba.cuda.cudadrv.error import CudaSupportError

from .codes import BILINEAR, CONSTANT
from .cuda_table import Table, mixes_channels, table_bytes, view_table, write_table
from .cuda_validation import check_device_arguments
from .pixel import (
    HALF,
    ONE,
    fold_coordinate,
    is_outside,
    mix_colour,
    nearest_index,
    pixel_function,
    read_bilinear,
    read_whole,
    round_bits_to_bfloat16,
    to_uint8,
)

importlib.import_module("numba_cuda")  # without it, `numba.cuda` is Numba's own, deprecated one

# A batch of few small pictures makes a small grid: nothing that its user could change.
warnings.filterwarnings("ignore", "Grid size .* will likely", NumbaPerformanceWarning)

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD = threading.local()
SIMULATOR = "simulator"  # the name of the device that Numba simulates
FOUR = 4  # pixels of one thread, where rows can be cut into fours
BLOCK_COLS, BLOCK_ROWS = 8, 16  # threads
REDUCE_COLS, REDUCE_ROWS = 32, 4
MOST_IMAGES = 65535  # of one launch: the third side of a grid
LOW_WORD = np.int64(2**32 - 1)
WORD = np.int64(32)
WEIGHT_UNIT = np.float32(2.0**-32)


class Kind(NamedTuple):
    """What a kernel is compiled for; `target` is a key of `TARGETS`."""

    channels: int
    is_whole: bool
    target: str
    fill_mode: int
    interpolation: int
    is_mixed: bool
    is_planar: bool
    is_in_fours: bool


if config.ENABLE_CUDASIM:
    if not config.DISABLE_JIT:
        raise RuntimeError(
            "Numba's simulator of CUDA runs plain Python: set NUMBA_DISABLE_JIT=1 as well as "
            "NUMBA_ENABLE_CUDASIM=1."
        )
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    def float_bits(value):
        """Do as the intrinsic below."""
        return np.float32(value).view(np.uint32)

    def store_four(out, place, first, second, third, fourth):
        """Do as the intrinsic below."""
        out[place], out[place + np.uintp(1)] = first, second
        out[place + np.uintp(2)], out[place + np.uintp(3)] = third, fourth

else:
    from llvmlite import ir
    from numba import types
    from numba.cuda import from_cuda_array_interface
    from numba.cuda.extending import intrinsic
    from numba.cuda.mathimpl import get_unary_impl_for_fn_and_ty
    from numba.cuda.ufuncs import ufunc_db

    # numba-cuda has `math.floor`, which gives an integer, but no code for `np.floor`.
    floor = get_unary_impl_for_fn_and_ty(math.floor, types.float32)
    ufunc_db().setdefault(np.floor, {"f->f": floor})

    @intrinsic
    def float_bits(typing_context, value):
        """Return the 32 bits of a float32 as uint32."""

        def codegen(context, builder, sig, args):
            return builder.bitcast(args[0], ir.IntType(32))

        return types.uint32(types.float32), codegen

    @intrinsic
    def store_four(typing_context, out, place, first, second, third, fourth):
        """Store four neighbours at once; `place` must be a multiple of 4, `out` begin with one."""
        signature = types.void(out, types.uintp, *[out.dtype] * FOUR)

        def codegen(context, builder, sig, args):
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            start = builder.gep(data, [args[1]])
            lane_type = start.type.pointee
            vector = ir.Constant(ir.VectorType(lane_type, FOUR), ir.Undefined)
            for lane, value in enumerate(args[2:]):
                value = builder.bitcast(value, lane_type)
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
            itemsize = out.dtype.bitwidth // 8
            target = builder.bitcast(start, vector.type.as_pointer())
            builder.store(vector, target, align=FOUR * itemsize)
            return context.get_dummy_value()

        return signature, codegen


@pixel_function
def to_float16(value):
    """Round to the nearest float16, ties to even."""
    return np.float16(value)


@pixel_function
def to_float32(value):
    """Leave a level as it is."""
    return value


@pixel_function
def to_bfloat16(value):
    """Round to the nearest bfloat16, ties to even, as its 16 bits."""
    return round_bits_to_bfloat16(float_bits(value))


# How a level becomes each output type, and as what that lies in memory.
TARGETS = {
    "uint8": (to_uint8, np.uint8),
    "float16": (to_float16, np.float16),
    "bfloat16": (to_bfloat16, np.uint16),
    "float32": (to_float32, np.float32),
}


@pixel_function
def split_position(position):
    """Turn a fixed-point position into the index and the weight of `pixel.py`."""
    index = np.float32(np.int32(position >> WORD))
    return index, np.float32(np.uint32(position & LOW_WORD)) * WEIGHT_UNIT


@cache
def make_warp_kernel(kind: Kind) -> Any:
    """Return the kernel of a kind; Numba compiles it at its first launch.

    Parameters of the kernel
    ------------------------
    pixels : (any,) uint8, uint16 or float32
        All images.
    starts : (n,) int64
        The element that each begins with.
    sizes : (n, 2) int32
        Height and width.
    maps : (n, 2, 3) int64
        Output (row, col, 1) to source (row, col), in units of 2**-32 pixels.
    terms : (n, 2, 3) float32
        What `fold_terms` says of each axis.
    colour : (n, C, C + 1) float32
    cval : float32
    num_rows, num_cols : int32
        Of the output.
    out : (n * h * w * C,)
        Of the target's type.
    """
    channels, fill_mode, is_planar = kind.channels, kind.fill_mode, kind.is_planar
    is_constant, is_bilinear = fill_mode == CONSTANT, kind.interpolation == BILINEAR
    is_mixed = kind.is_mixed
    cast, stored = TARGETS[kind.target]
    read = read_whole if kind.is_whole else read_bilinear
    pixels_a_thread = FOUR if kind.is_in_fours else 1
    num_packed = channels * pixels_a_thread

    @pixel_function
    def sample(pixels, image, row, row_weight, col, col_weight, values):
        """Fill `values` with the levels at a folded position."""
        start, width, row_step, col_step, height_f, width_f = image
        if is_bilinear:
            offset = np.uint32(np.uint32(row) * width + np.uint32(col)) * np.uint32(channels)
            place = start + np.uintp(np.uint32(offset))
            for channel in range(channels):
                values[channel] = read(
                    pixels, place + np.uintp(channel), row_step, col_step, row_weight, col_weight
                )
        else:
            row = nearest_index(row, row_weight, height_f)
            col = nearest_index(col, col_weight, width_f)
            offset = np.uint32(np.uint32(row) * width + np.uint32(col)) * np.uint32(channels)
            place = start + np.uintp(np.uint32(offset))
            for channel in range(channels):
                values[channel] = np.float32(pixels[place + np.uintp(channel)])

    @pixel_function
    def warp_pixel(pixels, image, row_terms, col_terms, row_position, col_position, cval, values):
        """Fill `values` with the levels of one output pixel."""
        row, row_weight = split_position(row_position)
        col, col_weight = split_position(col_position)
        if is_constant and (
            is_outside(row, row_weight, row_terms[0]) or is_outside(col, col_weight, col_terms[0])
        ):
            for channel in range(channels):
                values[channel] = cval
        else:
            row, row_weight = fold_coordinate(row, row_weight, row_terms, fill_mode)
            col, col_weight = fold_coordinate(col, col_weight, col_terms, fill_mode)
            sample(pixels, image, row, row_weight, col, col_weight, values)

    @pixel_function
    def paint(matrix, values, channel):
        """Apply one row of a colour matrix."""
        if is_mixed:
            return mix_colour(matrix, values, channel)
        return matrix[channel, channels] + matrix[channel, channel] * values[channel]

    @cuda.jit
    def warp_pixels(pixels, starts, sizes, maps, terms, colour, cval, num_rows, num_cols, out):
        n = np.uint32(cuda.blockIdx.z)
        out_row = np.uint32(cuda.blockIdx.y * np.int32(BLOCK_ROWS) + cuda.threadIdx.y)
        thread_col = np.uint32(cuda.blockIdx.x * np.int32(BLOCK_COLS) + cuda.threadIdx.x)
        out_col = np.uint32(thread_col * np.uint32(pixels_a_thread))
        if out_row >= num_rows or out_col >= num_cols:
            return
        height, width = np.uint32(sizes[n, 0]), np.uint32(sizes[n, 1])
        row_terms = (terms[n, 0, 0], terms[n, 0, 1], terms[n, 0, 2])
        col_terms = (terms[n, 1, 0], terms[n, 1, 1], terms[n, 1, 2])
        row_step = np.uint32(width * np.uint32(channels)) if height > 1 else np.uint32(0)
        col_step = np.uint32(channels) if width > 1 else np.uint32(0)
        image = (
            np.uintp(starts[n]), width, np.uintp(row_step), np.uintp(col_step),
            row_terms[0], col_terms[0],
        )  # fmt: skip
        row_step_here, col_step_here = maps[n, 0, 1], maps[n, 1, 1]
        row_position = maps[n, 0, 0] * out_row + row_step_here * out_col + maps[n, 0, 2]
        col_position = maps[n, 1, 0] * out_row + col_step_here * out_col + maps[n, 1, 2]
        matrix = colour[n]
        values = cuda.local.array(channels, np.float32)
        packed = cuda.local.array(num_packed, stored)
        for pixel in range(pixels_a_thread):
            warp_pixel(
                pixels, image, row_terms, col_terms, row_position, col_position, cval, values
            )
            for channel in range(channels):
                at = channel * pixels_a_thread + pixel if is_planar else pixel * channels + channel
                packed[at] = cast(paint(matrix, values, channel))
            row_position += row_step_here
            col_position += col_step_here
        plane = np.uintp(num_rows) * np.uintp(num_cols)
        place = np.uintp(n) * plane * np.uintp(channels)
        inside = np.uintp(out_row) * np.uintp(num_cols) + np.uintp(out_col)
        place += inside if is_planar else inside * np.uintp(channels)
        if pixels_a_thread == 1:
            for channel in range(channels):
                out[place] = packed[channel]
                place += plane if is_planar else np.uintp(1)
        else:
            for channel in range(channels):
                at = FOUR * channel
                store_four(out, place, packed[at], packed[at + 1], packed[at + 2], packed[at + 3])
                place += plane if is_planar else np.uintp(FOUR)

    return warp_pixels


def launch(
    table: Table,
    pixels: Any,
    out: Any,
    kind: Kind,
    out_size: tuple[int, int],
    cval: np.float32,
    stream: Any = 0,
) -> None:
    """Start the warp of a batch; returns before it is done.

    Parameters
    ----------
    table : Table
        On the device; see `cuda_table.py`.
    pixels : (any,) device array of uint8, uint16 or float32
    out : (n * h * w * C,) device array
        Of the type that `TARGETS` names; see `can_go_in_fours`.
    kind : Kind
    out_size : (height, width)
    cval : float32
    stream : CUDA stream
    """
    rows, cols = out_size
    columns_a_block = BLOCK_COLS * (FOUR if kind.is_in_fours else 1)
    tiles = (-(-cols // columns_a_block), -(-rows // BLOCK_ROWS))
    kernel = make_warp_kernel(kind)
    for part, here in _parts_of_a_grid(table, out, rows * cols * kind.channels):
        grid = (*tiles, len(part.starts))
        configured = kernel[grid, (BLOCK_COLS, BLOCK_ROWS), stream]
        configured(
            pixels, part.starts, part.sizes, part.maps, part.terms, part.colour,
            cval, np.uint32(rows), np.uint32(cols), here,
        )  # fmt: skip


def _parts_of_a_grid(table: Table, out: Any, length: int) -> Iterator[tuple[Table, Any]]:
    """Cut a batch into what one launch can take; usually it is whole, and no view is made."""
    count = len(table.starts)
    if count <= MOST_IMAGES:
        yield table, out
        return
    for first in range(0, count, MOST_IMAGES):
        rows = slice(first, min(first + MOST_IMAGES, count))
        part = Table(*(view[rows] for view in table))
        yield part, out[rows.start * length : rows.stop * length]


def can_go_in_fours(num_cols: int, out: Any) -> bool:
    """Tell whether four pixels that are neighbours in a row may be stored at once."""
    return num_cols % FOUR == 0 and address_of(out) % (FOUR * out.dtype.itemsize) == 0


def warp_ragged(
    pixels: Any,
    starts: np.ndarray,
    sizes: np.ndarray,
    inverse_maps: np.ndarray,
    out: Any,
    *,
    colour: np.ndarray | None = None,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation: str = "bilinear",
    layout: str = "HWC",
    target: str | None = None,
    stream: Any = 0,
    upload: Callable[[np.ndarray], Any] | None = None,
) -> None:
    """Do as `fusewarp.kernels.warp_ragged` on a CUDA device; returns before it is done.

    Parameters
    ----------
    pixels, out : device arrays
        As there, C-contiguous; `out` may also be uint16 with ``target="bfloat16"``.
    starts, sizes, inverse_maps, colour, fill_mode, cval, interpolation, layout
        As there, on the host.
    target : {"uint8", "float16", "bfloat16", "float32"}, optional
        Default: the type of `out`.
    stream : CUDA stream
        What the work is queued on.
    upload : callable, optional
        Brings (bytes,) uint8 to the device, in the order of `stream`. Default: a plain copy.

    Raises
    ------
    TypeError, ValueError
        As there; also if a position lies farther than 2**30 pixels, an image has 2**31 elements,
        or an output has more than 1,048,560 rows.
    """
    target = str(out.dtype) if target is None else target
    codes = check_device_arguments(
        pixels, starts, sizes, inverse_maps, out, colour, fill_mode, cval, interpolation, layout,
        target,
    )  # fmt: skip
    fill_code, level, interpolation_code = codes
    channels, *size = out.shape[1:] if layout == "CHW" else (out.shape[3], *out.shape[1:3])
    if not len(starts):
        return
    block = np.empty(table_bytes(len(starts), channels), np.uint8)
    write_table(
        block, starts, sizes, inverse_maps, colour,
        channels=channels, out_size=tuple(size), fill_code=fill_code,
    )  # fmt: skip
    _check_apart(pixels, starts, sizes[:, 0] * sizes[:, 1] * channels, out)
    uploaded = to_device(block, stream=stream) if upload is None else upload(block)
    kind = Kind(
        channels=channels,
        is_whole=pixels.dtype != np.float32,
        target=target,
        fill_mode=fill_code,
        interpolation=interpolation_code,
        is_mixed=mixes_channels(colour),
        is_planar=layout == "CHW",
        is_in_fours=can_go_in_fours(size[1], out),
    )
    table = view_table(uploaded, len(starts), channels)
    launch(table, pixels, out.reshape(out.size), kind, tuple(size), level, stream)


def _check_apart(pixels: Any, starts: np.ndarray, lengths: np.ndarray, out: Any) -> None:
    """Refuse an output upon an image; between images, `pixels` may hold memory of others."""
    itemsize = pixels.dtype.itemsize
    first, second = address_of(pixels) + starts * itemsize, address_of(out)
    if ((first < second + out.nbytes) & (second < first + lengths * itemsize)).any():
        raise ValueError("`out` shares memory with `pixels`; pass memory of its own.")


def address_of(array: Any) -> int:
    """Return where a device array begins."""
    if config.ENABLE_CUDASIM:
        return int(array.ctypes.data)
    return int(array.__cuda_array_interface__["data"][0])


@cache
def make_reduce_kernel(channels: int, is_whole: bool) -> Any:
    """Return the kernel that does on a device what `reduce_areas` does, one mean a thread.

    Parameters of the kernel
    ------------------------
    pixels, reduced : (any,) arrays of one type
    starts, to : (n,) int64
        Where each image begins in `pixels` and in `reduced`.
    sizes, factors : (n, 2) int32
        Of the images; by what their heights and widths shrink.
    """
    total_type = np.uint32 if is_whole else np.float32

    @cuda.jit
    def reduce_blocks(pixels, starts, sizes, factors, reduced, to):
        n = np.uint32(cuda.blockIdx.z)
        place = np.uint32(cuda.blockIdx.x * np.int32(REDUCE_COLS) + cuda.threadIdx.x)
        row = np.uint32(cuda.blockIdx.y * np.int32(REDUCE_ROWS) + cuda.threadIdx.y)
        height, width = np.uint32(sizes[n, 0]), np.uint32(sizes[n, 1])
        tall, wide = np.uint32(factors[n, 0]), np.uint32(factors[n, 1])
        column = np.uint32(place // np.uint32(channels))
        top, left = np.uint32(row * tall), np.uint32(column * wide)
        if top >= height or left >= width:
            return
        num_rows = min(tall, np.uint32(height - top))
        num_cols = min(wide, np.uint32(width - left))
        row_length = np.uintp(width) * np.uintp(channels)
        channel = np.uintp(place - column * np.uint32(channels))
        first = np.uintp(starts[n]) + np.uintp(top) * row_length
        first += np.uintp(left) * np.uintp(channels) + channel
        total = np.float32(0)
        for _ in range(num_cols):  # rows first, as on the CPU: float32 sums depend on the order
            at, rows = first, total_type(0)
            for _ in range(num_rows):
                rows = total_type(rows + total_type(pixels[at]))
                at += row_length
            total += np.float32(rows)
            first += np.uintp(channels)
        mean = total * (ONE / np.float32(np.uint32(num_rows * num_cols)))
        reduced_width = np.uintp(np.uint32((width + wide - np.uint32(1)) // wide))
        at = np.uintp(to[n]) + np.uintp(row) * reduced_width * np.uintp(channels) + np.uintp(place)
        reduced[at] = mean + HALF if is_whole else mean

    return reduce_blocks


def reduce_ragged(
    pixels: Any,
    starts: np.ndarray,
    sizes: np.ndarray,
    factors: np.ndarray,
    reduced: Any,
    to: np.ndarray,
    channels: int,
    *,
    stream: Any = 0,
    upload: Callable[[np.ndarray], Any] | None = None,
) -> None:
    """Do as `reduce_areas` on a CUDA device; returns before it is done.

    Parameters
    ----------
    pixels, reduced : (any,) device arrays of uint8, uint16 or float32
        Of one type, and apart.
    starts, to : (n,) int64
        Where images begin in `pixels`, and reduced ones in `reduced`.
    sizes, factors : (n, 2) int64
        Heights and widths, and the powers of two by which they shrink.
    channels : int
    stream, upload
        As of `warp_ragged`.
    """
    places = np.concatenate([starts, to]).astype(np.int64)
    shapes = np.concatenate([sizes, factors]).astype(np.int32)
    block = np.concatenate([places.view(np.uint8), shapes.reshape(-1).view(np.uint8)])
    uploaded = to_device(block, stream=stream) if upload is None else upload(block)
    count = len(starts)
    places = uploaded[: 16 * count].view(np.int64)
    shapes = uploaded[16 * count : 32 * count].view(np.int32).reshape((2 * count, 2))
    height, width = (-(-sizes // factors)).max(axis=0).tolist()
    kernel = make_reduce_kernel(channels, pixels.dtype != np.float32)
    tiles = (-(-width * channels // REDUCE_COLS), -(-height // REDUCE_ROWS))
    for first in range(0, count, MOST_IMAGES):
        rows = slice(first, min(first + MOST_IMAGES, count))
        also = slice(count + rows.start, count + rows.stop)
        grid = (*tiles, rows.stop - rows.start)
        configured = kernel[grid, (REDUCE_COLS, REDUCE_ROWS), stream]
        configured(pixels, places[rows], shapes[rows], shapes[also], reduced, places[also])


class DriverError(RuntimeError):
    """No CUDA driver, or one that does not work; in the driver's own words."""


class OutOfMemoryError(MemoryError):
    """The device has not so much memory left."""


@dataclass(frozen=True)
class Device:
    """A CUDA device as its driver describes it; memory in bytes, 0 for the simulator's."""

    index: int
    name: str
    compute_capability: tuple[int, int]
    total_bytes: int


def list_devices() -> list[Device]:
    """Return the devices that the driver shows; no context is made on any.

    Raises
    ------
    DriverError
        Where there is no driver, or it does not start.
    """
    try:
        return [_describe(index, device) for index, device in enumerate(gpus)]
    except CudaSupportError as error:
        raise DriverError(str(error)) from error


def _describe(index: int, device: Any) -> Device:
    capability = tuple(device.compute_capability)
    if config.ENABLE_CUDASIM:
        return Device(index, SIMULATOR, capability, 0)
    name = device.name if isinstance(device.name, str) else device.name.decode()
    return Device(index, name, capability, int(driver.cuDeviceTotalMem(device.id)))


@contextmanager
def using(index: int) -> Iterator[None]:
    """Let this thread work with one device.

    A thread that had no context keeps one: memory that the garbage collector lets go in it later
    could not be freed without.
    """
    if not config.ENABLE_CUDASIM and not hasattr(_THREAD, "has_context"):
        with driver.get_active_context() as active:
            has_context = bool(active)
        if not has_context:
            gpus[index].__enter__()
        _THREAD.has_context = True
    with gpus[index]:
        yield


def free_bytes() -> int:
    """Return how much memory the current device has left."""
    return int(current_context().get_memory_info().free)


def device_empty(num_bytes: int) -> Any:
    """Return uninitialised memory of the current device, (num_bytes,) uint8.

    Raises
    ------
    OutOfMemoryError
        Nothing is kept then.
    """
    return _allocate(device_array, num_bytes, "device memory")


def pinned_empty(num_bytes: int) -> np.ndarray:
    """Return host memory that a device can copy from while the host goes on, (num_bytes,) uint8.

    Raises
    ------
    OutOfMemoryError
        Nothing is kept then.
    """
    pinned: np.ndarray = _allocate(pinned_array, num_bytes, "pinned memory of the host")
    return pinned


def _allocate(make: Callable[..., Any], num_bytes: int, kind: str) -> Any:
    try:
        return make(num_bytes, np.uint8)
    except CudaAPIError as error:
        if "OUT_OF_MEMORY" not in str(error):
            raise
        raise OutOfMemoryError(f"{num_bytes} bytes of {kind} are not to be had") from error


def new_stream() -> Any:
    """Return a new stream of the current device, which the default stream does not wait for.

    Numba's own streams and the default stream, on which PyTorch works, wait for each other.
    """
    if config.ENABLE_CUDASIM:
        return make_stream()
    return external_stream(int(driver.cuStreamCreate(NON_BLOCKING)))


def new_event() -> Any:
    """Return a new event of the current device."""
    return make_event() if config.ENABLE_CUDASIM else make_event(timing=False)


def is_done(event: Any) -> bool:
    """Tell whether what an event was recorded after has been done."""
    return True if config.ENABLE_CUDASIM else bool(event.query())


def stream_pointer(stream: Any) -> int:
    """Return a stream as the number that other libraries know it by."""
    return 0 if config.ENABLE_CUDASIM else int(stream)


def foreign_stream(pointer: int) -> Any:
    """Return the stream of another library by its number; 1 and 2 are the default ones."""
    if pointer in (0, 1):
        return legacy_default_stream()
    return per_thread_default_stream() if pointer == 2 else external_stream(pointer)


def copy_to_device(host: np.ndarray, device: Any, stream: Any) -> None:
    """Queue a copy; `host` must stay as it is until it is done."""
    device.copy_to_device(host, stream=stream)


def wait_for_device() -> None:
    """Block until the current device has finished all that was queued."""
    synchronize()


def wrap_memory(interface: dict[str, Any], owner: Any) -> Any:
    """Return a device array of memory that another library described and keeps."""
    if config.ENABLE_CUDASIM:
        holder = SimpleNamespace(__array_interface__=interface, owner=owner)
        return FakeCUDAArray(np.asarray(holder))
    return from_cuda_array_interface(interface, owner=owner, sync=False)


def is_simulated() -> bool:
    """Tell whether Numba's simulator stands in for a device: its memory is the host's."""
    return bool(config.ENABLE_CUDASIM)
