"""Smaller pictures before a warp that would skip pixels, which shows as aliasing.

A bilinear read mixes 2 x 2 pixels. Where an output pixel is a step of two source pixels or more,
areas are averaged first, by the largest power of two that leaves a step of at least one: chosen for
each picture and each axis from its own map, so that nothing is blurred that the output could show.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.reduce import LARGEST_FACTOR, reduce_areas
from .affine import Size
from .buffers import Scratch
from .decode import ROUNDING
from .sources import Located

_LARGEST_EXPONENT = LARGEST_FACTOR.bit_length() - 1
_PART_BYTES = 2**21  # what is reduced at once is still in the second-level cache when it is warped


def useful_sizes(frame: NDArray[np.float64], size: Size) -> NDArray[np.float64]:
    """Return the sizes at which sources lose no detail: one source pixel a step of the output.

    Parameters
    ----------
    frame : (n, 2, 3) float64
        Maps of the output's frame, from `frame_maps`.
    size : (height, width)
        Of the output.

    Returns
    -------
    (n, 2) float64
        Height and width. A source twice as large makes steps of two pixels.
    """
    steps = np.sqrt(np.square(frame[:, :, :2]).sum(axis=2))
    useful: NDArray[np.float64] = np.asarray(size, np.float64) / steps
    return useful


def reduction_factors(
    extents: NDArray[Any], useful: NDArray[np.float64]
) -> NDArray[np.int64] | None:
    """Return the powers of two by which sources can shrink, or None if none can.

    Parameters
    ----------
    extents : (n, 2) numbers
        Heights and widths of the sources.
    useful : (n, 2) float64
        From `useful_sizes`; infinite where every pixel is wanted.

    Returns
    -------
    (n, 2) int64
        For heights and widths.
    """
    room = extents * (ROUNDING / useful)
    if room.max() < 2:
        return None
    exponents = np.frexp(room)[1].astype(np.int64) - 1
    factors: NDArray[np.int64] = np.int64(1) << np.clip(exponents, 0, _LARGEST_EXPONENT)
    return factors


def reduce_in_place(located: Located, factors: NDArray[np.int64], channels: int) -> Located:
    """Reduce pictures where they are, and return where they end then.

    Parameters
    ----------
    located : Located
        Its pixels are overwritten.
    factors : (n, 2) int64
        From `reduction_factors`.
    channels : int
    """
    pixels, starts, sizes, _ = located
    some = np.flatnonzero(np.any(factors > 1, axis=1))
    reduce_areas(pixels, starts[some], sizes[some], factors[some], channels, pixels, starts[some])
    return Located(pixels, starts, -(-sizes // factors), located.shown() / factors)


def reduced_parts(
    located: Located, factors: NDArray[np.int64], channels: int, scratch: Scratch
) -> Iterator[tuple[slice, Located]]:
    """Yield the pictures in their order, a few at a time, reduced or copied into scratch memory.

    Parameters
    ----------
    located : Located
    factors : (n, 2) int64
        From `reduction_factors`.
    channels : int
    scratch : Scratch
        Holds some until the next are asked for.
    """
    pixels, starts, sizes, _ = located
    reduced_sizes = -(-sizes // factors)
    lengths = reduced_sizes[:, 0] * reduced_sizes[:, 1] * channels
    for part in _parts(lengths, _PART_BYTES // pixels.itemsize):
        ends = np.cumsum(lengths[part])
        to = ends - lengths[part]
        memory = scratch.take(int(ends[-1]) * pixels.itemsize).view(pixels.dtype)
        reduce_areas(pixels, starts[part], sizes[part], factors[part], channels, memory, to)
        extents = located.shown()[part] / factors[part]
        yield part, Located(memory, to, reduced_sizes[part], extents)


def _parts(lengths: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Cut into slices of at most so many elements, or one picture."""
    start, total = 0, 0
    for at, length in enumerate(lengths.tolist()):
        if total and total + length > most:
            yield slice(start, at)
            start, total = at, 0
        total += length
    yield slice(start, len(lengths))
