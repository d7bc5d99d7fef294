"""From Keras' transform parameters to inverse maps.

Keras writes its matrices for (x, y, 1) with x = column; the maps here leave as (row, col), the
order of `scipy.ndimage` and of the kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TransformParameters = Mapping[str, Any]

_NEUTRAL = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}


def is_moved(parameters: TransformParameters) -> bool:
    """Return whether the parameters ask for a warp; flips alone do not."""
    return any(parameters.get(name, neutral) != neutral for name, neutral in _NEUTRAL.items())


def compose_inverse_maps(
    parameters: Sequence[TransformParameters], height: int, width: int, *, swap_pivot: bool = False
) -> NDArray[np.float64]:
    """Compose the output-to-source map of each image, in float64 and in Keras' order.

    A point turns, is shifted in the turned frame, sheared and zoomed about the image's centre
    ``((height - 1) / 2, (width - 1) / 2)``: ``offset @ R(theta) @ T(tx, ty) @ S(shear) @ Z(zx, zy)
    @ -offset``. Positive `theta` turns the content counter-clockwise, positive `tx` / `ty` moves
    it left / up, `zx` = 2 makes it half as wide. Multiplying by a neutral factor is exact, so the
    products equal Keras', which skips them, to the last bit.

    Parameters
    ----------
    parameters : sequence of mappings
        One per image; a missing key is neutral, unknown keys are ignored.
    height, width : int
        Size of the images in pixels.
    swap_pivot : bool
        Turn about (row, col) = ((width - 1) / 2, (height - 1) / 2), as Keras 3 does; the same
        point on square images.

    Returns
    -------
    ndarray of float64, shape (n, 2, 3)
        Output (row, col, 1) to source (row, col), flips not included.
    """
    theta, tx, ty, shear, zx, zy = (
        np.array([p.get(name, neutral) for p in parameters], np.float64)
        for name, neutral in _NEUTRAL.items()
    )
    pivot_x, pivot_y = width / 2 - 0.5, height / 2 - 0.5
    if swap_pivot:
        pivot_x, pivot_y = pivot_y, pivot_x
    about_origin = _rotation(np.deg2rad(theta)) @ _shift(tx, ty)
    about_origin = about_origin @ _shear(np.deg2rad(shear)) @ _zoom(zx, zy)
    xy_maps = _shift(pivot_x, pivot_y) @ about_origin @ _shift(-pivot_x, -pivot_y)
    return xy_maps[:, [1, 0]][:, :, [1, 0, 2]]


def fold_flips(
    inverse_maps: NDArray[np.float64],
    parameters: Sequence[TransformParameters],
    height: int,
    width: int,
) -> None:
    """Mirror the maps' output side in place, for the images whose parameters ask for a flip."""
    for axis, name, size in ((0, "flip_vertical", height), (1, "flip_horizontal", width)):
        flipped = np.array([bool(p.get(name, False)) for p in parameters], bool)
        inverse_maps[flipped, :, 2] += inverse_maps[flipped, :, axis] * (size - 1)
        inverse_maps[flipped, :, axis] *= -1


def _identities(count: int) -> NDArray[np.float64]:
    return np.tile(np.eye(3), (count, 1, 1))


def _rotation(angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    maps = _identities(len(angle_rad))
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle_rad)
    maps[:, 1, 0] = np.sin(angle_rad)
    maps[:, 0, 1] = -maps[:, 1, 0]
    return maps


def _shift(x: Any, y: Any) -> NDArray[np.float64]:
    maps = _identities(np.size(x))
    maps[:, 0, 2] = x
    maps[:, 1, 2] = y
    return maps


def _shear(angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    maps = _identities(len(angle_rad))
    maps[:, 0, 1] = -np.sin(angle_rad)
    maps[:, 1, 1] = np.cos(angle_rad)
    return maps


def _zoom(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    maps = _identities(len(x))
    maps[:, 0, 0] = x
    maps[:, 1, 1] = y
    return maps
