"""From Keras' transform parameters to inverse maps.

Keras writes its matrices for (x, y, 1) with x = column; the maps here leave as (row, col), the
order of `scipy.ndimage` and of the kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TransformParameters = Mapping[str, Any]

_NEUTRAL = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}
_FLIPS = ("flip_vertical", "flip_horizontal")
_LEVELS = ("channel_shift_intensity", "brightness")


@dataclass(frozen=True)
class Transforms:
    """The transform parameters of n images, a row for each.

    Attributes
    ----------
    affine : (n, 6) float64
        `theta`, `tx`, `ty`, `shear`, `zx`, `zy` as in the parameters' dictionaries.
    flips : (n, 2) bool
        Vertical, horizontal.
    levels : (n, 2) float64
        `channel_shift_intensity`, `brightness`; NaN where that is off.
    """

    affine: NDArray[np.float64]
    flips: NDArray[np.bool_]
    levels: NDArray[np.float64]

    @classmethod
    def of(cls, parameters: Sequence[TransformParameters]) -> Transforms:
        """Gather dictionaries; a missing key is neutral, unknown keys are ignored."""
        count = len(parameters)
        rows = [[p.get(name, neutral) for name, neutral in _NEUTRAL.items()] for p in parameters]
        flips = [[bool(p.get(name, False)) for name in _FLIPS] for p in parameters]
        levels = [[p.get(name) for name in _LEVELS] for p in parameters]
        return cls(
            np.array(rows, np.float64).reshape(count, 6),
            np.array(flips, bool).reshape(count, 2),
            np.array(levels, np.float64).reshape(count, 2),  # NumPy makes NaN of None
        )

    def __len__(self) -> int:
        return len(self.affine)

    def part(self, start: int, stop: int) -> Transforms:
        """Return those of the images `start` to `stop`."""
        return Transforms(self.affine[start:stop], self.flips[start:stop], self.levels[start:stop])

    def are_moved(self) -> NDArray[np.bool_]:
        """Return, for each image, whether it is to be warped; flips alone do not ask for it."""
        moved: NDArray[np.bool_] = (self.affine != tuple(_NEUTRAL.values())).any(axis=1)
        return moved

    def change_levels(self) -> bool:
        """Return whether any image has a channel shift or a brightness."""
        return not bool(np.isnan(self.levels).all())


def is_moved(parameters: TransformParameters) -> bool:
    """Return whether the parameters ask for a warp; flips alone do not."""
    return any(parameters.get(name, neutral) != neutral for name, neutral in _NEUTRAL.items())


def compose_inverse_maps(
    parameters: Sequence[TransformParameters] | Transforms,
    height: int,
    width: int,
    *,
    swap_pivot: bool = False,
) -> NDArray[np.float64]:
    """Compose the output-to-source map of each image, in float64 and in Keras' order.

    A point turns, is shifted in the turned frame, sheared and zoomed about the image's centre
    ``((height - 1) / 2, (width - 1) / 2)``: ``offset @ R(theta) @ T(tx, ty) @ S(shear) @ Z(zx, zy)
    @ -offset``. Positive `theta` turns the content counter-clockwise, positive `tx` / `ty` moves
    it left / up, `zx` = 2 makes it half as wide. Multiplying by a neutral factor is exact, so the
    products equal Keras', which skips them, to the last bit.

    Parameters
    ----------
    parameters : sequence of mappings, or Transforms
        One per image.
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
    transforms = parameters if isinstance(parameters, Transforms) else Transforms.of(parameters)
    theta, tx, ty, shear, zx, zy = transforms.affine.T
    pivot_x, pivot_y = width / 2 - 0.5, height / 2 - 0.5
    if swap_pivot:
        pivot_x, pivot_y = pivot_y, pivot_x
    about_origin = _rotation(np.deg2rad(theta)) @ _shift(tx, ty)
    about_origin = about_origin @ _shear(np.deg2rad(shear)) @ _zoom(zx, zy)
    xy_maps = _shift(pivot_x, pivot_y) @ about_origin @ _shift(-pivot_x, -pivot_y)
    return xy_maps[:, [1, 0]][:, :, [1, 0, 2]]


def fold_flips(
    inverse_maps: NDArray[np.float64], flips: NDArray[np.bool_], height: int, width: int
) -> None:
    """Mirror the maps' output side in place where `flips`, (n, 2), says vertical, horizontal."""
    for axis, size in ((0, height), (1, width)):
        flipped = flips[:, axis, np.newaxis]
        inverse_maps[:, :, 2] += inverse_maps[:, :, axis] * (flipped * (size - 1))
        inverse_maps[:, :, axis] *= np.where(flipped, -1, 1)


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
