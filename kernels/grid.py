"""Pixels picked from the crossings of some rows and columns: a resize without interpolation."""

import numpy as np

from .generic import batch_loop


@batch_loop
def take_grid_channels(image, rows, cols, out):
    """Copy all channels of the pixels at the crossings."""
    for row in range(rows.size):
        for col in range(cols.size):
            for channel in range(image.shape[2]):
                out[row, col, channel] = image[rows[row], cols[col], channel]


@batch_loop
def take_grid_rgb(image, rows, cols, out):
    """Do as `take_grid_channels` for three channels, the loop over them written out."""
    for row in range(rows.size):
        for col in range(cols.size):
            here = np.uintp(cols[col])
            source = np.uintp(rows[row])
            out[row, col, 0] = image[source, here, 0]
            out[row, col, 1] = image[source, here, 1]
            out[row, col, 2] = image[source, here, 2]


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
        if places.size and (places.min() < 0 or places.max() >= size):
            raise IndexError(f"`{name}` must lie in 0..{size - 1}, got {places}.")
    copy = take_grid_rgb if image.shape[2] == 3 else take_grid_channels
    copy(image, rows, cols, out)
