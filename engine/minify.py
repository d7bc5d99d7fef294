"""Smaller pictures before a warp that would skip pixels, which shows as aliasing.

By how much each shrinks is chosen for each axis from its own map (`kernels/fitting.py`), so that
nothing is blurred that the output could show.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.reduce import reduce_areas
from .affine import Size
from .buffers import Scratch
from .sources import Located

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


def reduce_in_place(located: Located, factors: NDArray[np.int64], channels: int) -> None:
    """Reduce pictures where they begin.

    Parameters
    ----------
    located : Located
        Its pixels are overwritten.
    factors : (n, 2) int64
        By how much heights and widths shrink: powers of two.
    channels : int
    """
    pixels, starts, sizes, _ = located
    reduce_areas(pixels, starts, sizes, factors, channels, pixels, starts)


def reduced_parts(
    located: Located, factors: NDArray[np.int64], channels: int, scratch: Scratch
) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.int64]]]:
    """Yield the pictures in their order, a few at a time, reduced or copied into scratch memory.

    Parameters
    ----------
    located, factors, channels
        As for `reduce_in_place`; nothing of `located` is written to.
    scratch : Scratch
        Holds some pictures until the next are asked for.

    Yields
    ------
    slice, pixels, starts
        Which of the pictures, and where they lie now.
    """
    pixels, starts, sizes, _ = located
    lengths = np.prod(-(-sizes // factors), axis=1) * channels
    for part in parts_by_length(lengths, _PART_BYTES // pixels.itemsize):
        ends = np.cumsum(lengths[part])
        to = ends - lengths[part]
        memory = scratch.take(int(ends[-1]) * pixels.itemsize).view(pixels.dtype)
        reduce_areas(pixels, starts[part], sizes[part], factors[part], channels, memory, to)
        yield part, memory, to


def parts_by_length(lengths: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Cut into slices of at most so many elements, or one picture."""
    start, total = 0, 0
    for at, length in enumerate(lengths.tolist()):
        if total and total + length > most:
            yield slice(start, at)
            start, total = at, 0
        total += length
    yield slice(start, len(lengths))
