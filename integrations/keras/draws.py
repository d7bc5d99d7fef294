"""The random numbers of one image, drawn in Keras' order from NumPy's global generator.

Keras seeds and reads `np.random`, and scripts count on it: the same seed must give the same
pictures here. So every draw below happens when, and only when, Keras makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .generator import ImageDataGenerator


def draw_transform(generator: ImageDataGenerator, height: int, width: int) -> dict[str, Any]:
    """Draw the transform parameters of one image of `height` x `width` pixels.

    Returns
    -------
    dict
        `theta` and `shear` in degrees, `tx` and `ty` in pixels, `zx` and `zy` as factors,
        `flip_horizontal` and `flip_vertical` 0 or 1, `channel_shift_intensity` in grey levels and
        `brightness` as a factor (None when off).
    """
    theta = _symmetric(generator.rotation_range) if generator.rotation_range else 0
    down = _shift(generator.height_shift_range, height)
    right = _shift(generator.width_shift_range, width)
    # `tx` is horizontal to the warp. Keras stores the height shift there, which moves the image
    # sideways (keras-team/keras#17398); that is kept for `quirks="keras"` only.
    tx, ty = (down, right) if generator.quirks == "keras" else (right, down)
    shear = _symmetric(generator.shear_range) if generator.shear_range else 0
    zx, zy = _zoom(generator.zoom_range)
    # Two draws always, also with the flips off, as in Keras.
    flip_horizontal = (np.random.random() < 0.5) * generator.horizontal_flip
    flip_vertical = (np.random.random() < 0.5) * generator.vertical_flip
    channel_shift = None
    if generator.channel_shift_range != 0:
        channel_shift = _symmetric(generator.channel_shift_range)
    brightness = None
    if generator.brightness_range is not None:
        brightness = np.random.uniform(*generator.brightness_range)
    return {
        "theta": theta,
        "tx": tx,
        "ty": ty,
        "shear": shear,
        "zx": zx,
        "zy": zy,
        "flip_horizontal": flip_horizontal,
        "flip_vertical": flip_vertical,
        "channel_shift_intensity": channel_shift,
        "brightness": brightness,
    }


def _symmetric(limit: Any) -> Any:
    return np.random.uniform(-limit, limit)


def _zoom(zoom_range: list[float]) -> Any:
    if zoom_range[0] == 1 and zoom_range[1] == 1:
        return 1, 1
    return np.random.uniform(zoom_range[0], zoom_range[1], 2)


def _shift(limit: Any, size: int) -> Any:
    """Draw a shift in pixels: a float is an interval, an int or a list a set to pick from."""
    if not limit:
        return 0
    if isinstance(limit, float):  # what the `except` below finds too, without raising
        shift: Any = _symmetric(limit)
    else:
        try:
            shift = np.random.choice(limit)
            shift *= np.random.choice([-1, 1])
        except ValueError:  # any other scalar
            shift = _symmetric(limit)
    if np.max(limit) < 1:
        shift *= size
    return shift
