"""Images as rows of values, and per-channel values as patterns of such rows: what kernels read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALPHA_CHANNELS = 4


def in_rows(batch: NDArray[Any], channel_axis: int) -> NDArray[Any]:
    """View a batch as (n, rows, row_length): H rows of W * C, or C * H rows of W."""
    row_length = batch.shape[3] * (batch.shape[2] if channel_axis == 3 else 1)
    return batch.reshape(len(batch), -1, row_length)


def channel_pattern(
    values: NDArray[Any], image_shape: tuple[int, ...], channel_axis: int
) -> NDArray[Any]:
    """Repeat one value per channel along rows: (1, W * C), or with channels first (C, W)."""
    if channel_axis == 2:
        return np.tile(values, image_shape[1])[np.newaxis]
    return np.repeat(values[:, np.newaxis], image_shape[2], axis=1)


def opaque_pattern(image_shape: tuple[int, ...], channel_axis: int) -> NDArray[np.bool_]:
    """Return the pattern that is False for the alpha channel of four."""
    channels = image_shape[channel_axis]
    opaque = np.ones(channels, bool)
    opaque[3:] = channels != _ALPHA_CHANNELS
    return channel_pattern(opaque, image_shape, channel_axis)
