"""The random numbers of one image, drawn in Keras' order from NumPy's global generator.

Keras seeds and reads `np.random`, and scripts count on it: the same seed must give the same
pictures here. So every draw below happens when, and only when, Keras makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .geometry import Transforms

if TYPE_CHECKING:
    from .generator import ImageDataGenerator

# Columns of `Transforms`; the shifts' depend on the quirks.
_AFFINE = {"theta": 0, "shear": 3, "zx": 4, "zy": 5}
_LEVELS = {"channel_shift_intensity": 0, "brightness": 1}


def draw_transform(
    generator: ImageDataGenerator, height: int, width: int, rng: Any = np.random
) -> dict[str, Any]:
    """Draw the transform parameters of one image of `height` x `width` pixels.

    Parameters
    ----------
    generator : ImageDataGenerator
        Its ranges are read now.
    height, width : int
        A shift given as a fraction is one of these.
    rng : numpy.random.RandomState
        NumPy's global generator if not given.

    Returns
    -------
    dict
        `theta` and `shear` in degrees, `tx` and `ty` in pixels, `zx` and `zy` as factors,
        `flip_horizontal` and `flip_vertical` 0 or 1, `channel_shift_intensity` in grey levels and
        `brightness` as a factor (None when off).
    """
    theta = _symmetric(rng, generator.rotation_range) if generator.rotation_range else 0
    down = _shift(rng, generator.height_shift_range, height)
    right = _shift(rng, generator.width_shift_range, width)
    # `tx` is horizontal to the warp. Keras stores the height shift there, which moves the image
    # sideways (keras-team/keras#17398); that is kept for `quirks="keras"` only.
    tx, ty = (down, right) if generator.quirks == "keras" else (right, down)
    shear = _symmetric(rng, generator.shear_range) if generator.shear_range else 0
    zx, zy = _zoom(rng, generator.zoom_range)
    # Two draws always, also with the flips off, as in Keras.
    flip_horizontal = (rng.random() < 0.5) * generator.horizontal_flip
    flip_vertical = (rng.random() < 0.5) * generator.vertical_flip
    channel_shift = None
    if generator.channel_shift_range != 0:
        channel_shift = _symmetric(rng, generator.channel_shift_range)
    brightness = None
    if generator.brightness_range is not None:
        brightness = rng.uniform(*generator.brightness_range)
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


def draw_transforms(
    generator: ImageDataGenerator, height: int, width: int, count: int, rng: Any = np.random
) -> Transforms:
    """Draw the parameters of `count` images, the same numbers as one by one.

    Where every draw is uniform they are one call: `uniform` fills an array row by row with the
    function that also makes its scalars, in a tenth of the time.
    """
    limits = _uniform_limits(generator)
    if limits is None:
        return Transforms.of([draw_transform(generator, height, width, rng) for _ in range(count)])
    lows, highs = np.array(list(limits.values()), np.float64).T
    drawn = dict(zip(limits, rng.uniform(lows, highs, (count, len(limits))).T, strict=True))
    affine = np.tile([0.0, 0.0, 0.0, 0.0, 1.0, 1.0], (count, 1))
    down, right = (1, 2) if generator.quirks == "keras" else (2, 1)
    for name, column in (_AFFINE | {"down": down, "right": right}).items():
        if name in drawn:
            affine[:, column] = drawn[name]
    if "down" in drawn:
        affine[:, down] *= _scale(generator.height_shift_range, height)
    if "right" in drawn:
        affine[:, right] *= _scale(generator.width_shift_range, width)
    flips = np.zeros((count, 2), bool)
    flips[:, 0] = (drawn["flip_vertical"] < 0.5) & bool(generator.vertical_flip)
    flips[:, 1] = (drawn["flip_horizontal"] < 0.5) & bool(generator.horizontal_flip)
    levels = np.full((count, 2), np.nan)
    for name, column in _LEVELS.items():
        if name in drawn:
            levels[:, column] = drawn[name]
    return Transforms(affine, flips, levels)


def _uniform_limits(generator: ImageDataGenerator) -> dict[str, tuple[float, float]] | None:
    """Return the limits of one image's draws in order; None if some are not uniform floats."""
    limits: dict[str, tuple[float, float]] = {}
    for name, limit in (
        ("theta", generator.rotation_range),
        ("down", generator.height_shift_range),
        ("right", generator.width_shift_range),
        ("shear", generator.shear_range),
    ):
        if not limit:
            continue
        is_shift = name in ("down", "right")  # whose integers are sets to pick from
        if not isinstance(limit, float if is_shift else (float, int)):
            return None
        limits[name] = (-limit, limit)
    low, high = generator.zoom_range
    if (low, high) != (1, 1):
        limits["zx"] = limits["zy"] = (low, high)
    limits["flip_horizontal"] = limits["flip_vertical"] = (0.0, 1.0)
    if generator.channel_shift_range != 0:
        limits["channel_shift_intensity"] = (
            -generator.channel_shift_range,
            generator.channel_shift_range,
        )
    if generator.brightness_range is not None:
        low, high = generator.brightness_range
        limits["brightness"] = (low, high)
    return limits


def _symmetric(rng: Any, limit: Any) -> Any:
    return rng.uniform(-limit, limit)


def _zoom(rng: Any, zoom_range: list[float]) -> Any:
    if zoom_range[0] == 1 and zoom_range[1] == 1:
        return 1, 1
    return rng.uniform(zoom_range[0], zoom_range[1], 2)


def _shift(rng: Any, limit: Any, size: int) -> Any:
    """Draw a shift in pixels: a float is an interval, an int or a list a set to pick from."""
    if not limit:
        return 0
    if isinstance(limit, float):  # what the `except` below finds too, without raising
        return _symmetric(rng, limit) * _scale(limit, size)
    try:
        shift = rng.choice(limit)
        shift *= rng.choice([-1, 1])
    except ValueError:  # any other scalar
        shift = _symmetric(rng, limit)
    return shift * _scale(limit, size)


def _scale(limit: Any, size: int) -> int:
    """Return what a drawn shift is multiplied by: a limit below 1 is a fraction of the size."""
    largest = limit if isinstance(limit, (int, float)) else np.max(limit)
    return size if largest < 1 else 1
