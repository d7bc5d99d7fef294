"""Drawn parameters -> inverse maps, the one place where the geometry is composed.

Order of work on the content: resize to the output's frame, then zoom, shear and rotate about the
centre, then move, then flip. An inverse map runs it backwards, from output to source:

    source = source_centre + S R H Z (F (output - output_centre) - shift)

in (row, col), with S the resize (source side / output side on each axis), R the rotation, H Keras'
shear, Z the zoom and F the flips. Half-pixel centres make the two centres meet exactly.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .policy import Policy
from .sampling import Floats, Parameters

Size = tuple[int, int]


def centre_of(size: ArrayLike) -> Floats:
    """Return ((height - 1) / 2, (width - 1) / 2) for each (height, width)."""
    return (np.asarray(size, np.float64) - 1.0) / 2.0


def frame_maps(parameters: Parameters, policy: Policy, size: Size) -> Floats:
    """Compose the maps from output pixels to the unaugmented picture in the output's frame.

    Parameters
    ----------
    parameters : Parameters
        Of n pictures.
    policy : Policy
        Tells the unit of the shifts.
    size : (height, width)
        Of the output, in pixels.

    Returns
    -------
    (n, 2, 3) float64
        Taking (row, col, 1) to (row, col) relative to the centre of the picture.
    """
    flip = _diagonal(_sign(parameters.flip_vertical), _sign(parameters.flip_horizontal))
    linear = _rotation(parameters.angle) @ _shear(parameters.shear)
    linear = linear @ _diagonal(parameters.zoom_row, parameters.zoom_col)
    shift = _shift_px(parameters, policy, size)[:, :, np.newaxis]
    centre = centre_of(size)[:, np.newaxis]
    return np.concatenate([linear @ flip, -linear @ (flip @ centre + shift)], axis=2)


def source_maps(frame: Floats, size: Size, source_sizes: ArrayLike) -> NDArray[np.float32]:
    """Scale maps of the output's frame to sources of given sizes.

    Parameters
    ----------
    frame : (n, 2, 3) float64
        From `frame_maps`.
    size : (height, width)
        Of the output.
    source_sizes : (n, 2) or (2,) numbers
        Height and width of each source, in its own pixels: not whole where a picture was reduced
        and its last pixels show less than the others.

    Returns
    -------
    (n, 2, 3) float32
        Inverse maps: output (row, col, 1) to source (row, col).
    """
    source_sizes = np.asarray(source_sizes, np.float64)
    scale = source_sizes / np.asarray(size, np.float64)
    maps = frame * scale[..., np.newaxis]
    maps[..., 2] += centre_of(source_sizes)
    return maps.astype(np.float32)


def _rotation(angle_deg: Floats) -> Floats:
    """Return R: a positive angle turns the content counter-clockwise as seen, as in Keras."""
    angle = np.deg2rad(angle_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    return _stack(cos, sin, -sin, cos)


def _shear(shear_deg: Floats) -> Floats:
    """Return H, Keras' shear: [[1, -sin], [0, cos]] in (x, y), written in (row, col)."""
    shear = np.deg2rad(shear_deg)
    return _stack(np.cos(shear), np.zeros_like(shear), -np.sin(shear), np.ones_like(shear))


def _diagonal(row: Floats, col: Floats) -> Floats:
    return _stack(row, np.zeros_like(row), np.zeros_like(row), col)


def _stack(row_row: Floats, row_col: Floats, col_row: Floats, col_col: Floats) -> Floats:
    return np.stack([row_row, row_col, col_row, col_col], axis=-1).reshape(-1, 2, 2)


def _sign(flipped: NDArray[np.bool_]) -> Floats:
    return np.where(flipped, -1.0, 1.0)


def _shift_px(parameters: Parameters, policy: Policy, size: Size) -> Floats:
    shift_row = to_pixels(parameters.shift_row, policy.height_shift_range, size[0])
    shift_col = to_pixels(parameters.shift_col, policy.width_shift_range, size[1])
    return np.stack([shift_row, shift_col], axis=-1)


def to_pixels(shift: Floats, shift_range: float, side: int) -> Floats:
    """Return shifts in pixels: a range below 1 is a fraction of the side, as in Keras."""
    return shift * side if shift_range < 1 else shift
