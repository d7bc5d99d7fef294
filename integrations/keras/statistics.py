"""`ImageDataGenerator.fit`: statistics of a data set, one chunk at a time in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.threads import run_slices
from .standardize import EPSILON

if TYPE_CHECKING:
    from .generator import ImageDataGenerator

_CHUNK_BYTES = 2**24  # of float64: small beside any data set, large beside a Python call


class ChannelMoments:
    """Mean and variance of each channel, merged chunk by chunk.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979): as exact as two passes over the data, in one.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = np.zeros(channels)
        self._squares = np.zeros(channels)

    def add(self, pixels: NDArray[np.float64]) -> None:
        """Take in values of shape (count, channels)."""
        count = len(pixels)
        mean = pixels.mean(axis=0)
        squares = np.square(pixels - mean).sum(axis=0)
        total = self.count + count
        step = mean - self.mean
        self._squares += squares + step * step * (self.count * count / total)
        self.mean += step * (count / total)
        self.count = total

    def std(self) -> NDArray[np.float64]:
        """Return the population standard deviation of each channel."""
        return np.sqrt(self._squares / self.count)


class Whitening:
    """What ZCA needs of the flattened images: their rows, or their Gram matrix when that is less.

    With n images of d values, n x d values are kept while n <= d; beyond, d x d.
    """

    def __init__(self, total: int, size: int) -> None:
        self._total = total
        self._rows = np.empty((total, size)) if total <= size else None
        self._gram = np.zeros((0, 0)) if total <= size else np.zeros((size, size))
        self._sum = np.zeros(size)
        self._count = 0

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take in flattened images, shape (count, d)."""
        if self._rows is not None:
            self._rows[self._count : self._count + len(rows)] = rows
        else:
            self._gram += rows.T @ rows
            self._sum += rows.sum(axis=0)
        self._count += len(rows)

    def matrix(
        self, center: NDArray[np.float64], scale: NDArray[np.float64], epsilon: float
    ) -> NDArray[np.float64]:
        """Return the d x d ZCA matrix of ``(rows - center) / scale``.

        With ``u, s = svd(X.T)`` of the standardised rows X it is
        ``(u * sqrt(n) / (s + epsilon)) @ u.T``, over the min(n, d) singular vectors, as in Keras.
        """
        if self._rows is not None:
            vectors, singular, _ = np.linalg.svd(((self._rows - center) / scale).T, False)
        else:
            cross = np.outer(self._sum, center)
            gram = self._gram - cross - cross.T + self._count * np.outer(center, center)
            squares, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
            singular = np.sqrt(np.maximum(squares, 0.0))
        gains = np.sqrt(self._total) / (singular + epsilon)
        matrix: NDArray[np.float64] = (vectors * gains) @ vectors.T
        return matrix


Read = Callable[[int, int], NDArray[Any]]


def fit_statistics(
    generator: ImageDataGenerator,
    read: Read,
    count: int,
    image_shape: tuple[int, ...],
    augment: bool,
    rounds: int,
) -> None:
    """Set the generator's `mean`, `std` and `zca_whitening_matrix`, those that its options need.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` returns these images, rank 4, in the generator's data format.
    count : int
        Number of images.
    image_shape : tuple of int
        Of one image.
    augment : bool
        Take the statistics of `rounds` randomly transformed copies of each image instead.
    """
    _check_dtype(generator)
    total = count * (rounds if augment else 1)
    axis = generator.channel_axis
    channels = image_shape[axis - 1]
    moments = ChannelMoments(channels)
    size = int(np.prod(image_shape))
    whitening = Whitening(total, size) if generator.zca_whitening else None
    for chunk in _chunks(generator, read, count, size, rounds if augment else 0):
        moments.add(np.moveaxis(chunk, axis, -1).reshape(-1, channels))
        if whitening is not None:
            whitening.add(chunk.reshape(len(chunk), -1))
    _set_statistics(generator, moments, whitening, image_shape)


def _check_dtype(generator: ImageDataGenerator) -> None:
    dtype = np.dtype(generator.dtype)
    is_needed = generator.featurewise_center or generator.featurewise_std_normalization
    if is_needed and dtype.kind not in "fc":
        raise TypeError(
            f"The generator's `dtype` is {dtype}, which cannot hold a mean or standard deviation. "
            'Make the ImageDataGenerator with `dtype="float32"` for featurewise options.'
        )


def _set_statistics(
    generator: ImageDataGenerator,
    moments: ChannelMoments,
    whitening: Whitening | None,
    image_shape: tuple[int, ...],
) -> None:
    shape = [1, 1, 1]
    shape[generator.channel_axis - 1] = len(moments.mean)
    dtype = np.dtype(generator.dtype)
    center, scale = np.zeros(shape), np.ones(shape)
    if generator.featurewise_center:
        center = moments.mean.reshape(shape)
        generator.mean = center.astype(dtype)
    if generator.featurewise_std_normalization:
        scale = moments.std().reshape(shape) + EPSILON
        generator.std = moments.std().reshape(shape).astype(dtype)
    if whitening is not None:
        flat_center = np.broadcast_to(center, image_shape).reshape(-1)
        flat_scale = np.broadcast_to(scale, image_shape).reshape(-1)
        matrix = whitening.matrix(flat_center, flat_scale, generator.zca_epsilon)
        generator.zca_whitening_matrix = matrix.astype(dtype)


def _chunks(
    generator: ImageDataGenerator, read: Read, count: int, size: int, rounds: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the images, rescaled and, if there are `rounds`, augmented as Keras does it."""
    chunk_size = max(1, _CHUNK_BYTES // max(1, 8 * size))
    for _ in range(max(1, rounds)):
        for start in range(0, count, chunk_size):
            chunk = read(start, min(start + chunk_size, count)).astype(generator.dtype)
            if generator.rescale:
                chunk *= generator.rescale
            if rounds:
                _transform_all(generator, chunk)
            yield chunk.astype(np.float64)


def _transform_all(generator: ImageDataGenerator, images: NDArray[Any]) -> None:
    """Transform images in place, drawing for one after the other, and warping on all threads."""
    if not generator._keeps("random_transform"):
        for image in images:
            image[...] = generator.random_transform(image)
        return
    drawn = [generator.get_random_transform(image.shape) for image in images]

    def transform(start: int, stop: int) -> None:
        for at in range(start, stop):
            images[at] = generator.apply_transform(images[at], drawn[at])

    run_slices(transform, len(images), generator.threads)
