"""The engine's warp in TensorFlow's own ops, which a SavedModel can hold and XLA can compile.

The same fill modes and the same bilinear formula as `kernels/pixel.py`. TensorFlow's
`ImageProjectiveTransform` has no "mirror", mixes "constant" with the pixels at the edge, and is
unknown to XLA and TFLite. A position is one float32 here, where the kernels have a pair.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ...engine import Policy

FACTORS = 2 ** np.arange(1, 9, dtype=np.int32)  # by which the engine may reduce pictures


def warp(images: Any, maps: Any, centre: Any, size: Any, policy: Policy) -> Any:
    """Sample pictures along affine maps.

    Parameters
    ----------
    images : (n, H, W, C) float32
    maps : (n, 2, 3) or (1, 2, 3) float32
        Output (row, col, 1), relative to the output's centre, to (row, col) of the source relative
        to its centre.
    centre : (2,) float32
        Of what the source shows: its row and column.
    size : (2,) int32
        Height and width of the output.
    policy : Policy
        Tells the fill mode, `cval` and the interpolation.

    Returns
    -------
    (n, h, w, C) float32
    """
    shape = tf.shape(images)
    rows, cols = _positions(maps, centre, size)
    last_row, last_col = (tf.cast(shape[axis] - 1, tf.float32) for axis in (1, 2))
    inside = (rows >= 0) & (rows <= last_row) & (cols >= 0) & (cols <= last_col)
    rows = _fold(rows, last_row, policy.fill_mode)
    cols = _fold(cols, last_col, policy.fill_mode)
    pixels = _Pixels(images)
    if policy.interpolation == "nearest":
        values = pixels.at(tf.floor(rows + 0.5), tf.floor(cols + 0.5))
    else:
        values = _bilinear(pixels, rows, cols)
    if policy.fill_mode == "constant":
        values = tf.where(tf.expand_dims(inside, -1), values, policy.cval)
    return values


def _positions(maps: Any, centre: Any, size: Any) -> tuple[Any, Any]:
    """Return the source (rows, cols), each (n or 1, h, w), of every output pixel."""
    row = tf.reshape(_centred(size[0]), (1, -1, 1))
    col = tf.reshape(_centred(size[1]), (1, 1, -1))

    def along(axis: int) -> Any:
        by_row, by_col, offset = (
            tf.reshape(entry, (-1, 1, 1)) for entry in tf.unstack(maps[:, axis], axis=1)
        )
        return by_row * row + by_col * col + offset + centre[axis]

    return along(0), along(1)


def _centred(side: Any) -> Any:
    return tf.cast(tf.range(side), tf.float32) - tf.cast(side - 1, tf.float32) / 2.0


def _fold(position: Any, last: Any, fill_mode: str) -> Any:
    """Bring positions into 0..last along one axis, as `fold_coordinate` of the kernels."""
    if fill_mode == "reflect":
        position = tf.math.floormod(position, 2.0 * last + 2.0)
        position = tf.where(position >= last + 1.0, 2.0 * last + 1.0 - position, position)
    elif fill_mode == "mirror":
        position = tf.math.floormod(position, tf.maximum(2.0 * last, 1.0))
        position = tf.where(position >= last, 2.0 * last - position, position)
    elif fill_mode == "wrap":
        folded = tf.math.floormod(position, tf.maximum(last, 1.0))
        on_seam = (folded == 0.0) & (position <= last) & (position != 0.0)
        position = tf.where(on_seam, last, folded)
    return tf.clip_by_value(position, 0.0, last)


class _Pixels:
    """Reads pixels of (n, H, W, C) images at (n or 1, h, w) whole positions inside them."""

    def __init__(self, images: Any) -> None:
        count, height, self._width = tf.unstack(tf.shape(images)[:3])
        self._last_row, self._last_col = height - 1, self._width - 1
        self._flat = tf.reshape(images, (count, height * self._width, images.shape[3]))

    def at(self, rows: Any, cols: Any) -> Any:
        """Return the levels, (n, h, w, C)."""
        row = tf.minimum(tf.cast(rows, tf.int32), self._last_row)
        col = tf.minimum(tf.cast(cols, tf.int32), self._last_col)
        places = row * self._width + col
        if places.shape[0] == 1:  # one map for all pictures
            return tf.gather(self._flat, places[0], axis=1)
        return tf.gather(self._flat, places, batch_dims=1)


def _bilinear(pixels: _Pixels, rows: Any, cols: Any) -> Any:
    row, col = tf.floor(rows), tf.floor(cols)
    row_weight, col_weight = tf.expand_dims(rows - row, -1), tf.expand_dims(cols - col, -1)

    def along_row(row: Any) -> Any:
        left, right = pixels.at(row, col), pixels.at(row, col + 1.0)
        return left + col_weight * (right - left)

    top, bottom = along_row(row), along_row(row + 1.0)
    return top + row_weight * (bottom - top)


def reduce_areas(images: Any, size: Any, *, rounded: bool) -> tuple[Any, Any]:
    """Average blocks of pixels where the resize alone makes steps of 2 or more.

    Parameters
    ----------
    images : (n, H, W, C) float32
    size : (2,) int32
        Height and width of the output.
    rounded : bool
        Round to whole levels, halves up, as the engine does with pictures of integers.

    Returns
    -------
    reduced : (n, ceil(H / factor), ceil(W / factor), C) float32
    extents : (2,) float32
        What it shows, in its own pixels: 375 rows reduced by 2 are 187.5 of 188.
    """
    sides = tf.shape(images)[1:3]
    fits = tf.expand_dims(sides, 1) >= FACTORS * tf.expand_dims(size, 1)
    factors = tf.reduce_max(tf.where(fits, FACTORS, 1), axis=1)
    counts = _num_pixels(sides, factors)
    sums = _block_sums(images, factors)
    if rounded:
        means = tf.cast(_rounded_quotient(sums, counts), tf.float32)
    else:
        means = sums / tf.cast(counts, tf.float32)
    return means, tf.cast(sides, tf.float32) / tf.cast(factors, tf.float32)


def _block_sums(images: Any, factors: Any) -> Any:
    shape = tf.shape(images)
    sides = -(-shape[1:3] // factors)
    missing = sides * factors - shape[1:3]
    padded = tf.pad(images, [(0, 0), (0, missing[0]), (0, missing[1]), (0, 0)])
    blocks = (shape[0], sides[0], factors[0], sides[1], factors[1], images.shape[3])
    return tf.reduce_sum(tf.reshape(padded, blocks), axis=(2, 4))


def _num_pixels(sides: Any, factors: Any) -> Any:
    """Return how many pixels each block has, (h, w, 1) int32: the last ones may have fewer."""
    rows, cols = (
        tf.minimum(factors[axis], sides[axis] - tf.range(0, sides[axis], factors[axis]))
        for axis in (0, 1)
    )
    return tf.reshape(rows, (-1, 1, 1)) * tf.reshape(cols, (1, -1, 1))


def _rounded_quotient(sums: Any, counts: Any) -> Any:
    """Divide whole numbers, halves up: as floats, TensorFlow may multiply by an inexact inverse."""
    return (2 * tf.cast(sums, tf.int32) + counts) // (2 * counts)
