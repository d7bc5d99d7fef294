"""Changes of grey levels that need the warped image's own minimum and maximum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def shift_channels(image: NDArray[Any], intensity: float) -> NDArray[Any]:
    """Add `intensity` to all channels and clip to the image's own range, in the image's dtype.

    A float32 image stays float32; an integer image plus a float becomes float64, as in Keras.
    """
    shifted: NDArray[Any] = np.clip(image + intensity, np.min(image), np.max(image))
    return shifted


def change_brightness(image: NDArray[Any], factor: float, channel_axis: int) -> NDArray[Any]:
    """Multiply the levels by `factor`, as Keras does it by way of Pillow: in whole levels 0-255.

    Values within 0-255 are truncated to whole levels, multiplied in float32, truncated and
    clipped. An image that leaves 0-255 is stretched to it before and mapped back after. The alpha
    channel of four is not multiplied.

    Parameters
    ----------
    image : ndarray, rank 3
        With 1, 3 or 4 channels.
    factor : float
        1 keeps, 0 is black; negative factors are black too.
    channel_axis : int
        0 or 2.

    Returns
    -------
    ndarray of float32
        A new array (float64 when a float64 image was stretched, as in Keras).

    Raises
    ------
    ValueError
        If the image does not have 1, 3 or 4 channels.
    """
    channels = image.shape[channel_axis]
    if channels not in (1, 3, 4):
        raise ValueError(f"Brightness needs images with 1, 3 or 4 channels, got {channels}.")
    low, high = np.min(image), np.max(image)
    is_stretched = low < 0 or high > 255
    levels = _stretch(image) if is_stretched else image
    table = np.trunc(np.arange(256, dtype=np.float32) * np.float32(factor)).clip(0, 255)
    whole = levels.astype(np.uint8)
    bright: NDArray[Any] = table.astype(np.float32)[whole]
    if channels == 4:
        alpha = (3,) if channel_axis == 0 else (..., 3)
        bright[alpha] = whole[alpha]
    if is_stretched:
        bright = bright / 255 * (high - low) + low
    return bright


def _stretch(image: NDArray[Any]) -> NDArray[np.float32]:
    """Stretch the image's range to 0-255 in float32, as `array_to_img(scale=True)` does."""
    levels = image.astype(np.float32)
    levels -= np.min(levels)
    highest = np.max(levels)
    if highest != 0:
        levels /= highest
    levels *= 255
    return levels
