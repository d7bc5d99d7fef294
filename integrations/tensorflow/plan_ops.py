"""The engine's plan in TensorFlow's own ops: draws -> inverse maps and colour matrices.

The same arithmetic as `engine/sampling.py`, `affine.py` and `colour.py`, which are NumPy and cannot
be part of a graph; a test holds them together. What does not depend on a draw comes from there.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ...engine import Policy
from ...engine.colour import colour_matrices
from ...engine.policy import Pair
from ...engine.sampling import sample_parameters

NUM_DRAWS = 12
_LUMA = (0.299, 0.587, 0.114)


class Parameters(NamedTuple):
    """Drawn parameters, float64 tensors of shape (n,), as the engine's `Parameters`.

    Flips are signs: -1 mirrors.
    """

    angle: Any
    shear: Any
    shift_row: Any
    shift_col: Any
    zoom_row: Any
    zoom_col: Any
    sign_row: Any
    sign_col: Any
    brightness: Any
    contrast: Any
    saturation: Any
    channel_shift: Any


def parameters_of(draws: Any, policy: Policy) -> Parameters:
    """Turn uniform draws into parameters.

    Parameters
    ----------
    draws : (n, NUM_DRAWS) float32 or float64
        In [0, 1), in the engine's order.
    policy : Policy
    """
    column = tf.unstack(tf.cast(draws, tf.float64), NUM_DRAWS, axis=1)
    zoom_row = _between(column[4], policy.zoom_bounds)
    return Parameters(
        angle=_around_zero(column[0], policy.rotation_range),
        shift_row=_around_zero(column[1], policy.height_shift_range),
        shift_col=_around_zero(column[2], policy.width_shift_range),
        shear=_around_zero(column[3], policy.shear_range),
        zoom_row=zoom_row,
        zoom_col=zoom_row if policy.zoom_keep_aspect else _between(column[5], policy.zoom_bounds),
        sign_col=_sign(column[6], policy.horizontal_flip),
        sign_row=_sign(column[7], policy.vertical_flip),
        brightness=_between(column[8], policy.brightness_range),
        contrast=_between(column[9], policy.contrast_range),
        saturation=_between(column[10], policy.saturation_range),
        channel_shift=_around_zero(column[11], policy.channel_shift_range),
    )


def _around_zero(draws: Any, reach: float) -> Any:
    return (2.0 * draws - 1.0) * reach


def _between(draws: Any, bounds: Pair | None) -> Any:
    low, high = bounds or (1.0, 1.0)
    return low + draws * (high - low)


def _sign(draws: Any, may_flip: bool) -> Any:
    return tf.where(draws < 0.5, -tf.ones_like(draws), 1.0) if may_flip else tf.ones_like(draws)


def frame_maps(parameters: Parameters, policy: Policy, size: Any) -> Any:
    """Compose the maps from the output to the unaugmented picture, both about their centres.

    Parameters
    ----------
    parameters : Parameters
        Of n pictures.
    policy : Policy
        Tells the unit of the shifts.
    size : (2,) float64
        Height and width of the output.

    Returns
    -------
    (n, 2, 3) float64
        Taking (row, col, 1) relative to the output's centre to (row, col) relative to the
        picture's. (The engine's take (row, col, 1) from the output's corner.)
    """
    angle, shear = (np.pi / 180.0 * degrees for degrees in (parameters.angle, parameters.shear))
    zero, one = tf.zeros_like(angle), tf.ones_like(angle)
    rotation = _matrix(tf.cos(angle), tf.sin(angle), -tf.sin(angle), tf.cos(angle))
    linear = rotation @ _matrix(tf.cos(shear), zero, -tf.sin(shear), one)
    linear = linear @ _matrix(parameters.zoom_row, zero, zero, parameters.zoom_col)
    shift_row = _to_pixels(parameters.shift_row, policy.height_shift_range, size[0])
    shift_col = _to_pixels(parameters.shift_col, policy.width_shift_range, size[1])
    offset = -linear @ tf.stack([shift_row, shift_col], axis=1)[:, :, tf.newaxis]
    flip = _matrix(parameters.sign_row, zero, zero, parameters.sign_col)
    return tf.concat([linear @ flip, offset], axis=2)


def _matrix(row_row: Any, row_col: Any, col_row: Any, col_col: Any) -> Any:
    return tf.reshape(tf.stack([row_row, row_col, col_row, col_col], axis=1), (-1, 2, 2))


def _to_pixels(shift: Any, shift_range: float, side: Any) -> Any:
    return shift * side if shift_range < 1 else shift


def colours(parameters: Parameters, policy: Policy, channels: int, mid_grey: float) -> Any:
    """Compose the colour matrices of n pictures: (n, channels, channels + 1) float32.

    `mid_grey` is what the contrast turns about: half of the largest level.
    """
    opaque = 3 if channels == 4 else channels
    gain = parameters.brightness * parameters.contrast
    offset = (1.0 - parameters.contrast) * mid_grey + parameters.channel_shift
    linear = tf.eye(opaque, dtype=tf.float64) * gain[:, tf.newaxis, tf.newaxis]
    if policy.saturation_range is not None:
        share = parameters.saturation[:, tf.newaxis, tf.newaxis]
        grey = tf.ones((opaque, 1), tf.float64) * tf.constant([_LUMA], tf.float64)
        linear = share * linear + (1.0 - share) * gain[:, tf.newaxis, tf.newaxis] * grey
    columns = tf.repeat(offset[:, tf.newaxis, tf.newaxis], opaque, axis=1)
    jitter = tf.concat([linear, columns], axis=2)
    if channels != opaque:
        jitter = _with_alpha(jitter)
    scale, bias = _normalisation(policy, channels)
    matrices = jitter * scale[:, np.newaxis]
    last = tf.one_hot(channels, channels + 1, dtype=tf.float64)
    return tf.cast(matrices + bias[:, np.newaxis] * last, tf.float32)


def _with_alpha(jitter: Any) -> Any:
    """Insert the fourth channel, which keeps its value, into (n, 3, 4) matrices."""
    linear, offset = jitter[:, :, :3], jitter[:, :, 3:]
    rows = tf.concat([linear, tf.zeros_like(offset), offset], axis=2)
    alpha = tf.zeros_like(rows[:, :1]) + tf.constant([0.0, 0.0, 0.0, 1.0, 0.0], tf.float64)
    return tf.concat([rows, alpha], axis=1)


def _normalisation(
    policy: Policy, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `rescale`, `mean` and `std` do to a level: times and plus, one per channel."""
    matrix = constant_colours(policy.without_augmentation(), channels)
    if matrix is None:
        return np.ones(channels), np.zeros(channels)
    return np.diagonal(matrix).astype(np.float64), matrix[:, -1].astype(np.float64)


def constant_colours(policy: Policy, channels: int) -> NDArray[np.float32] | None:
    """Return one picture's colour matrix, or None: what every picture gets of a fixed policy.

    Raises
    ------
    ValueError
        If the policy does not fit pictures of so many channels.
    """
    parameters = sample_parameters(policy, 0, 0, [0])
    matrices = colour_matrices(parameters, policy, channels, np.uint8)
    return None if matrices is None else matrices[0]
