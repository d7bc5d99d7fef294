"""What a source of pictures is, and pictures that are arrays already."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DTYPES = (np.uint8, np.uint16, np.float32)


class Located(NamedTuple):
    """Where some pictures lie in memory.

    Attributes
    ----------
    pixels : 1-D C-contiguous array of uint8, uint16 or float32
        Holds them all, each as (height, width, channels).
    starts : (n,) int64
        Index of the first element of each picture in `pixels`.
    sizes : (n, 2) int64
        Height and width of each as it lies there.
    extents : (n, 2) float64, optional
        Height and width of what each shows, in its own pixels: a picture of 375 rows reduced by 2
        has 188 rows but shows 187.5. Default: the sizes.
    """

    pixels: NDArray[Any]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    extents: NDArray[np.float64] | None = None


def locate_rows(images: NDArray[Any], rows: NDArray[np.int64]) -> Located:
    """Tell where rows of a C-contiguous (n, height, width, channels) array lie."""
    height, width, channels = images.shape[1:]
    sizes = np.empty((len(rows), 2), np.int64)
    sizes[:] = height, width
    pixels = np.asarray(images).reshape(-1)  # a memory map too as a plain array
    return Located(pixels, rows * (height * width * channels), sizes)


class Source(Protocol):
    """What a loader needs to know of its pictures; sample ids are 0 .. len - 1.

    Two methods are optional; a loader calls them from several threads, and `read` where they are
    missing or return None:

    - ``locate(sample_ids) -> Located | None`` tells where pictures lie that are in memory already.
    - ``read_into(sample_id, min_size, room) -> Decoded | None`` writes one picture into the memory
      that ``room(number of elements)`` returns. `min_size` is this picture's own in this epoch.
    """

    @property
    def names(self) -> Sequence[str]:
        """A name per sample, for messages: its file, or its index."""

    labels: NDArray[Any] | None
    weights: NDArray[Any] | None
    channels: int
    dtype: np.dtype[Any]
    image_size: tuple[int, int] | None

    def __len__(self) -> int:
        """Return the number of samples."""

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Return one picture as an (H, W, C) array."""


class ArraySource:
    """Pictures that are already an array, in memory or memory-mapped.

    Parameters
    ----------
    images : (n, H, W, C) uint8, uint16 or float32
        Not copied.
    labels : (n, ...) array, optional
    weights : (n,) array, optional
        Sample weights.

    Raises
    ------
    ValueError, TypeError
        If the shape, the type or the lengths do not fit.
    """

    def __init__(
        self,
        images: NDArray[Any],
        labels: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        _check_images(images)
        self.images = images
        self._rows = np.arange(len(images), dtype=np.int64)
        self.labels = _aligned_with(images, "labels", labels)
        self.weights = _aligned_with(images, "weights", weights)
        self.channels = images.shape[3]
        self.dtype = images.dtype
        self.image_size: tuple[int, int] | None = (images.shape[1], images.shape[2])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> list[str]:
        """The sample ids as text: an array has no better names."""
        return [str(sample_id) for sample_id in range(len(self))]

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Return one picture, (H, W, C); `min_size` is ignored: nothing is decoded."""
        return np.ascontiguousarray(self.images[self._rows[sample_id]])

    def locate(self, sample_ids: NDArray[np.int64]) -> Located | None:
        """Tell where these pictures lie, if the array is C-contiguous; else None.

        A subclass with a `read` of its own gets None, and is asked to read.
        """
        if has_own_read(self, ArraySource) or not self.images.flags.c_contiguous:
            return None
        return locate_rows(self.images, self._rows[sample_ids])

    def select(self, sample_ids: ArrayLike) -> "ArraySource":
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans

        Notes
        -----
        The pictures are not copied: a memory map stays one.
        """
        ids = checked_ids(sample_ids, len(self))
        selected = copy.copy(self)
        selected._rows = self._rows[ids]
        select_fields(selected, ids)
        return selected


def has_own_read(source: Any, base: Any) -> bool:
    """Tell whether somebody replaced the `read` of a class, which must then be called."""
    return getattr(source.read, "__func__", None) is not base.read


def checked_ids(sample_ids: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return the ids of `select`; raises ValueError for what names none of `count` samples."""
    ids = np.asarray(sample_ids)
    if ids.dtype == np.bool_ and ids.shape == (count,):
        return np.flatnonzero(ids)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(
            f"`sample_ids` must be a list of integers, or {count} booleans; got {ids.dtype} of "
            f"shape {ids.shape}."
        )
    if ids.size == 0 or ids.min() < 0 or ids.max() >= count:
        raise ValueError(f"`sample_ids` must name at least one of 0 to {count - 1}, got {ids}.")
    return ids.astype(np.int64)


def select_fields(source: Source, ids: NDArray[np.int64]) -> None:
    """Keep the labels and weights of the given samples only."""
    source.labels = None if source.labels is None else source.labels[ids]
    source.weights = None if source.weights is None else source.weights[ids]


def _check_images(images: Any) -> None:
    if not isinstance(images, np.ndarray):
        raise TypeError(f"`images` must be a NumPy array, got {type(images).__name__}.")
    if images.ndim != 4:
        hint = " For grey pictures add the channel axis: `images[..., np.newaxis]`."
        raise ValueError(
            f"`images` needs 4 axes (n, height, width, channels), got shape {images.shape}."
            + (hint if images.ndim == 3 else "")
        )
    if images.dtype not in _DTYPES:
        raise TypeError(
            f"`images` needs dtype uint8, uint16 or float32, got {images.dtype}. "
            "Convert it once, before training: `images.astype(np.float32)`."
        )
    if 0 in images.shape:
        raise ValueError(f"`images` holds no pixels: shape {images.shape}.")


def _aligned_with(images: NDArray[Any], name: str, values: ArrayLike | None) -> NDArray[Any] | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.ndim == 0 or len(array) != len(images):
        raise ValueError(
            f"`{name}` must have one entry per picture ({len(images)}), got shape {array.shape}."
        )
    return array
