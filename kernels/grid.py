"""Pixels picked from the crossings of some rows and columns: a resize without interpolation."""

import numpy as np
from numba import config

from .compiling import batch_loop
from .pixel import pixel_function
from .simd import copy_word


@batch_loop
def are_inside(places, size):
    """Tell whether all places lie in 0..size - 1."""
    inside = True
    for place in places:
        inside &= 0 <= place < size
    return inside


@batch_loop
def take_grid_channels(image, rows, cols, out):
    """Copy all channels of the pixels at the crossings."""
    for row in range(rows.size):
        for col in range(cols.size):
            for channel in range(image.shape[2]):
                out[row, col, channel] = image[rows[row], cols[col], channel]


@batch_loop
def take_grid_rgb(image, width, rows, cols, out):
    """Do as `take_grid_channels` for RGB of uint8, `image` (H, W * 3) and `out` (h, w * 3).

    Four bytes are copied at once, of which the next pixel overwrites the last: a third of the
    instructions. Where there is no next pixel, in `out` or in `image`, three are.
    """
    last = cols.size - 1
    for row in range(rows.size):
        source, target = image[rows[row]], out[row]
        for col in range(last):
            if cols[col] < width - 1:
                copy_word(target, 3 * col, source, 3 * cols[col])
            else:
                copy_three(target, 3 * col, source, 3 * cols[col])
        copy_three(target, 3 * last, source, 3 * cols[last])


@pixel_function
def copy_three(target, to, source, start):
    """Copy three bytes."""
    for i in range(3):
        target[to + i] = source[start + i]


def take_grid(image: np.ndarray, rows: np.ndarray, cols: np.ndarray, out: np.ndarray) -> None:
    """Write ``image[rows][:, cols]`` into `out`, with the GIL released.

    Parameters
    ----------
    image : (H, W, C)
        C-contiguous.
    rows, cols : (h,), (w,) int64
        0 <= row < H, 0 <= col < W.
    out : (h, w, C)
        C-contiguous, of the image's dtype.

    Raises
    ------
    ValueError
        If a shape or dtype does not fit.
    IndexError
        If a row or column is not in the image.
    """
    if out.shape != (rows.size, cols.size, image.shape[2]) or out.dtype != image.dtype:
        raise ValueError(
            f"`out` must be {image.dtype} of shape {(rows.size, cols.size, image.shape[2])}, "
            f"got {out.dtype} of {out.shape}."
        )
    for name, places, size in (("rows", rows, image.shape[0]), ("cols", cols, image.shape[1])):
        if not are_inside(places, size):
            raise IndexError(f"`{name}` must lie in 0..{size - 1}, got {places}.")
    if 0 in out.shape:
        return
    if image.shape[2] == 3 and image.dtype == np.uint8 and not config.DISABLE_JIT:
        height, width, _ = image.shape
        flat = image.reshape(height, -1), out.reshape(rows.size, -1)
        take_grid_rgb(flat[0], width, rows, cols, flat[1])
    else:
        take_grid_channels(image, rows, cols, out)
