"""Maps of the output's frame -> maps to sources of any size, and how far these should shrink first.

A bilinear read mixes 2 x 2 pixels. Where a step of the output is two source pixels or more, whole
areas should be averaged first (`reduce.py`): by the largest power of two that leaves a step of at
least one. A loop, because the same in NumPy is forty calls for each few images, and their code has
left the processor's cache each time.
"""

import numpy as np

from .compiling import batch_loop
from .reduce import LARGEST_FACTOR

ROUNDING = 1.0 + 1e-9  # an image twice as large, turned, is larger by 1.9999...


@batch_loop
def fit_batch(frame, size, useful_sizes, sizes, extents, factors, reduced_sizes, maps):
    """Do the work of `fit_maps`; tell whether an image should shrink."""
    is_reduced = False
    for n in range(sizes.shape[0]):
        for axis in range(2):
            room = extents[n, axis] * (ROUNDING / useful_sizes[n, axis])
            factor = 1
            while 2 * factor <= room and factor < LARGEST_FACTOR:
                factor *= 2
            is_reduced |= factor > 1
            factors[n, axis] = factor
            reduced_sizes[n, axis] = (sizes[n, axis] + factor - 1) // factor
            extents[n, axis] /= factor
            scale = extents[n, axis] / size[axis]
            for col in range(3):
                maps[n, axis, col] = frame[n, axis, col] * scale
            centre = (extents[n, axis] - 1.0) / 2.0
            maps[n, axis, 2] = frame[n, axis, 2] * scale + centre
    return is_reduced


def fit_maps(
    frame: np.ndarray,
    size: tuple[int, int],
    useful_sizes: np.ndarray,
    sizes: np.ndarray,
    extents: np.ndarray,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Fit maps to images, and choose by how much these shrink first.

    Parameters
    ----------
    frame : (n, 2, 3) float64
        Output (row, col, 1) to (row, col) of the source as if it had the output's size, relative to
        its centre.
    size : (height, width)
        Of the output.
    useful_sizes : (n, 2) float64
        Heights and widths from which on a source shows no more; infinite: no pixel is to be lost.
    sizes : (n, 2) int64
        Heights and widths of the sources.
    extents : (n, 2) numbers
        Heights and widths of what they show, in their own pixels.

    Returns
    -------
    factors : (n, 2) int64, or None
        Powers of two by which to reduce heights and widths; None if nothing is to be reduced.
    sizes : (n, 2) int64
        Of the reduced sources.
    inverse_maps : (n, 2, 3) float32
        Output (row, col, 1) to (row, col) of the reduced sources.
    """
    factors, reduced_sizes = np.empty_like(sizes), np.empty_like(sizes)
    maps = np.empty(frame.shape, np.float32)
    is_reduced = fit_batch(
        frame,
        (float(size[0]), float(size[1])),
        useful_sizes,
        sizes,
        extents.astype(np.float64),
        factors,
        reduced_sizes,
        maps,
    )
    return factors if is_reduced else None, reduced_sizes, maps
