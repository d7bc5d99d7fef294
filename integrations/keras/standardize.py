"""Standardisation in Keras' order, and its part that folds into the warp."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .rows import channel_pattern, in_rows

if TYPE_CHECKING:
    from .generator import ImageDataGenerator

EPSILON = 1e-6  # Keras adds it to every standard deviation
_LARGEST_BIAS = 1e4  # in float32 then good to 0.001


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
        images = _preprocessed(generator.preprocessing_function, images)
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


def preprocess(function: Callable[[Any], Any], image: NDArray[Any]) -> None:
    """Put what the user's function makes of an image in the image's place.

    Raises
    ------
    TypeError
        If it returns nothing.
    ValueError
        If it returns another shape.
    """
    result = _preprocessed(function, image)
    if np.shape(result) != image.shape:
        raise ValueError(
            "`preprocessing_function` must return an image of the shape it was given, "
            f"{image.shape}; it returned one of {np.shape(result)}."
        )
    if result is not image:
        image[...] = result


def _preprocessed(function: Callable[[Any], Any], image: Any) -> Any:
    result = function(image)
    if result is None:
        raise TypeError(
            "`preprocessing_function` returned None; it must return the image, an array of "
            "the shape it was given."
        )
    return result


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
    same pass. Not so for a `preprocessing_function`, samplewise statistics, a `mean` that somebody
    set to a whole picture, or a channel so constant that its bias would swallow the levels.
    """
    if (
        generator.preprocessing_function
        or generator.samplewise_center
        or generator.samplewise_std_normalization
    ):
        return None
    statistics = _feature_statistics(generator)
    try:
        mean, std = (_per_channel(part, generator, channels) for part in statistics)
    except ValueError:
        return None
    gain, bias = (generator.rescale or 1.0) / std, -mean / std
    return None if abs(bias).max() > _LARGEST_BIAS else (gain, bias)


def feature_patterns(
    generator: ImageDataGenerator, image_shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return (means, gains) of the featurewise steps as patterns of rows, or None without them."""
    mean, std = _feature_statistics(generator)
    if not (isinstance(mean, np.ndarray) or isinstance(std, np.ndarray)):
        return None
    axis = generator.channel_axis
    try:
        means, stds = (_per_channel(part, generator, image_shape[axis - 1]) for part in (mean, std))
    except ValueError:  # a picture of its own: a pattern for every row
        pictures = (np.broadcast_to(part, (1, *image_shape)) for part in (mean, std))
        means, stds = (in_rows(picture, axis)[0] for picture in pictures)
    else:
        means, stds = (channel_pattern(part, image_shape, axis - 1) for part in (means, stds))
    return means.astype(np.float32), (1 / stds).astype(np.float32)


def _feature_statistics(generator: ImageDataGenerator) -> tuple[Any, Any]:
    """Return what is subtracted and divided by: 0 and 1 where an option is off or not fitted."""
    mean: Any = 0.0
    std: Any = 1.0
    if generator.featurewise_center and generator.mean is not None:
        mean = np.asarray(generator.mean, np.float64)
    if generator.featurewise_std_normalization and generator.std is not None:
        std = np.asarray(generator.std, np.float64) + EPSILON
    return mean, std


def _per_channel(
    statistic: Any, generator: ImageDataGenerator, channels: int
) -> NDArray[np.float64]:
    shape = [1, 1, 1]
    shape[generator.channel_axis - 1] = channels
    return np.broadcast_to(np.asarray(statistic, np.float64), shape).reshape(channels)
