"""`ImageDataGenerator.fit`: statistics of a data set, one chunk at a time in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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


def fit_statistics(
    generator: ImageDataGenerator, images: NDArray[Any], augment: bool, rounds: int
) -> None:
    """Set the generator's `mean`, `std` and `zca_whitening_matrix`, those that its options need.

    Parameters
    ----------
    images : ndarray, rank 4
        In the generator's data format.
    augment : bool
        Take the statistics of `rounds` randomly transformed copies of each image instead.
    """
    total = len(images) * (rounds if augment else 1)
    axis = generator.channel_axis
    channels = images.shape[axis]
    moments = ChannelMoments(channels)
    size = int(np.prod(images.shape[1:]))
    whitening = Whitening(total, size) if generator.zca_whitening else None
    for chunk in _chunks(generator, images, augment, rounds):
        moments.add(np.moveaxis(chunk, axis, -1).reshape(-1, channels))
        if whitening is not None:
            whitening.add(chunk.reshape(len(chunk), -1))

    shape = [1, 1, 1]
    shape[axis - 1] = channels
    dtype = np.dtype(generator.dtype)
    center, scale = np.zeros(shape), np.ones(shape)
    if generator.featurewise_center:
        center = moments.mean.reshape(shape)
        generator.mean = center.astype(dtype)
    if generator.featurewise_std_normalization:
        scale = moments.std().reshape(shape) + EPSILON
        generator.std = moments.std().reshape(shape).astype(dtype)
    if whitening is not None:
        flat_center = np.broadcast_to(center, images.shape[1:]).reshape(-1)
        flat_scale = np.broadcast_to(scale, images.shape[1:]).reshape(-1)
        matrix = whitening.matrix(flat_center, flat_scale, generator.zca_epsilon)
        generator.zca_whitening_matrix = matrix.astype(dtype)


def _chunks(
    generator: ImageDataGenerator, images: NDArray[Any], augment: bool, rounds: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the images, rescaled and perhaps augmented as Keras does it, in float64."""
    chunk_size = max(1, _CHUNK_BYTES // max(1, 8 * int(np.prod(images.shape[1:]))))
    for _ in range(rounds if augment else 1):
        for start in range(0, len(images), chunk_size):
            chunk = images[start : start + chunk_size].astype(generator.dtype)
            if generator.rescale:
                chunk *= generator.rescale
            if augment:
                for i in range(len(chunk)):
                    chunk[i] = generator.random_transform(chunk[i])
            yield chunk.astype(np.float64)
