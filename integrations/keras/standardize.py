"""Standardisation in Keras' order, and its part that folds into the warp."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .generator import ImageDataGenerator

EPSILON = 1e-6  # Keras adds it to every standard deviation


def warn_if_not_fitted(generator: ImageDataGenerator) -> None:
    """Warn for each statistic that the options need and `fit` has not computed."""
    needed = {
        "featurewise_center": generator.mean,
        "featurewise_std_normalization": generator.std,
        "zca_whitening": generator.zca_whitening_matrix,
    }
    for option, statistic in needed.items():
        if getattr(generator, option) and statistic is None:
            warnings.warn(
                f"This ImageDataGenerator specifies `{option}`, but it hasn't been fit on any "
                "training data, so that step is skipped. Fit it first by calling "
                "`.fit(numpy_data)`.",
                stacklevel=3,
            )


def standardize_levels(generator: ImageDataGenerator, images: Any) -> Any:
    """Apply everything but the ZCA product, in place where NumPy can; return the result.

    Missing statistics are skipped without a word: `warn_if_not_fitted` says so once.
    """
    if generator.preprocessing_function:
        images = generator.preprocessing_function(images)
        if images is None:
            raise TypeError(
                "`preprocessing_function` returned None; it must return the image, an array of "
                "the shape it was given."
            )
    if generator.rescale:
        images *= generator.rescale
    if generator.samplewise_center:
        images -= np.mean(images, keepdims=True)
    if generator.samplewise_std_normalization:
        images /= np.std(images, keepdims=True) + EPSILON
    if generator.featurewise_center and generator.mean is not None:
        images -= generator.mean
    if generator.featurewise_std_normalization and generator.std is not None:
        images /= generator.std + EPSILON
    return images


def whiten(generator: ImageDataGenerator, images: Any) -> Any:
    """Multiply one image or a batch by the ZCA matrix, if the option is on and fitted."""
    if not generator.zca_whitening or generator.zca_whitening_matrix is None:
        return images
    rows = np.reshape(images, (-1, int(np.prod(images.shape[-3:]))))
    return np.reshape(rows @ generator.zca_whitening_matrix, images.shape)


def channel_affine(
    generator: ImageDataGenerator, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the standardisation as one (gain, bias) per channel, or None where it is more.

    ``((x * rescale) - mean) / (std + 1e-6)`` is ``x * gain + bias``, which the warp does in the
    same pass. Not so for a `preprocessing_function`, samplewise statistics, ZCA, or a `mean` that
    somebody set to a whole picture.
    """
    if (
        generator.preprocessing_function
        or generator.samplewise_center
        or generator.samplewise_std_normalization
        or generator.zca_whitening
    ):
        return None
    gain = np.full(channels, generator.rescale or 1.0, np.float64)
    bias = np.zeros(channels)
    try:
        if generator.featurewise_center and generator.mean is not None:
            bias -= _per_channel(generator.mean, generator, channels)
        if generator.featurewise_std_normalization and generator.std is not None:
            divisor = _per_channel(generator.std, generator, channels) + EPSILON
            gain /= divisor
            bias /= divisor
    except ValueError:
        return None
    return gain, bias


def _per_channel(
    statistic: Any, generator: ImageDataGenerator, channels: int
) -> NDArray[np.float64]:
    shape = [1, 1, 1]
    shape[generator.channel_axis - 1] = channels
    return np.broadcast_to(np.asarray(statistic, np.float64), shape).reshape(channels)
