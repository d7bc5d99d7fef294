"""Where pictures come from: arrays in memory, or the files of a folder. Listed, not loaded."""

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .decode import CHANNELS, ColorMode, Decoded, Extent, Room, decode_image, decode_into
from .errors import SampleError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")
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
        if _has_own_read(self, ArraySource) or not self.images.flags.c_contiguous:
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
        _select_fields(selected, ids)
        return selected


class FolderSource:
    """The picture files of a folder whose sub-folders are the classes.

    Parameters
    ----------
    folder : path
        Classes are its sub-folders, sorted by name; each is searched recursively. Hidden files
        and folders are passed over.
    classes : sequence of str, optional
        The sub-folders to use, in this order. Default: all of them.
    color_mode : {"rgb", "grayscale", "rgba"}
    labelled : bool
        False takes every picture below `folder`, without labels.
    decode : {"fast", "exact"}
        How JPEGs with fewer colours than pixels are decoded (4:2:0, as cameras do). "fast" repeats
        the colours, which takes 8 % off the time; a photo is 46 to 55 dB from the "exact" one once
        it is warped, and its JPEG was 38 to 54 dB from the scene. "exact" interpolates, as Pillow.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If the folder, or one of `classes`, is not there.
    ValueError
        If there are no pictures, a class has none, or there is one class only (name it in
        `classes` if that is meant).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        color_mode: ColorMode = "rgb",
        labelled: bool = True,
        decode: Literal["fast", "exact"] = "fast",
    ) -> None:
        if decode not in ("fast", "exact"):
            raise ValueError(f'`decode` must be "fast" or "exact", got {decode!r}.')
        if color_mode not in CHANNELS:
            raise ValueError(f"`color_mode` must be one of {list(CHANNELS)}, got {color_mode!r}.")
        self.folder = _existing_folder(Path(folder))
        self.color_mode = color_mode
        self.decode = decode
        self.channels = CHANNELS[color_mode]
        self.dtype = np.dtype(np.uint8)
        self.image_size: tuple[int, int] | None = None
        self.weights: NDArray[Any] | None = None
        self.labels: NDArray[Any] | None = None
        self.class_names: list[str] = []
        self._root = os.path.join(self.folder, "")
        self.names = [] if labelled else _pictures_below(self.folder)
        if labelled:
            self._list_classes(classes)

    def _list_classes(self, classes: Sequence[str] | None) -> None:
        self.class_names = _class_names(self.folder) if classes is None else _checked_names(classes)
        listed = [_pictures_below(self.folder / name) for name in self.class_names]
        for class_name, names in zip(self.class_names, listed, strict=True):
            self.names += [f"{Path(class_name).as_posix()}/{name}" for name in names]
        counts = [len(names) for names in listed]
        self.labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in the order of `names`."""
        return _Paths(self.folder, self.names)

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Read and decode one file.

        Parameters
        ----------
        sample_id : int
        min_size : (height, width)
            The smallest size that is still useful: see `decode_image`.

        Returns
        -------
        (H, W, C) uint8

        Raises
        ------
        SampleError
            If the file is gone, cannot be read, or is not a whole picture.
        """
        path = self._root + self.names[sample_id]
        return decode_image(
            _read_file(path),
            path,
            color_mode=self.color_mode,
            min_size=min_size,
            is_fast=self.decode == "fast",
        )

    def read_into(self, sample_id: int, min_size: Extent, room: Room) -> Decoded | None:
        """Read and decode one file into memory that the caller gives: see `decode_into`.

        A subclass with a `read` of its own gets None, and is asked to read.
        """
        if _has_own_read(self, FolderSource):
            return None
        path = self._root + self.names[sample_id]
        return decode_into(
            _read_file(path),
            path,
            room,
            color_mode=self.color_mode,
            min_size=min_size,
            is_fast=self.decode == "fast",
        )

    def select(self, sample_ids: ArrayLike) -> "FolderSource":
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans
        """
        ids = checked_ids(sample_ids, len(self))
        selected = copy.copy(self)
        selected.names = [self.names[i] for i in ids]
        _select_fields(selected, ids)
        return selected


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise SampleError(
            f"{path} cannot be read ({error.strerror or error}). It was there when the folder "
            "was listed; restore it or make a new FolderSource."
        ) from error


def _has_own_read(source: Source, base: type) -> bool:
    """Tell whether somebody replaced the `read` of a class, which must then be called."""
    return getattr(source.read, "__func__", None) is not base.read  # type: ignore[attr-defined]


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


def _select_fields(source: "ArraySource | FolderSource", ids: NDArray[np.int64]) -> None:
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


def _existing_folder(folder: Path) -> Path:
    if not folder.exists():
        raise FileNotFoundError(f"The folder {folder} does not exist.")
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is a file; a folder with one sub-folder per class is needed."
        )
    return folder


def _class_names(folder: Path) -> list[str]:
    names = sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."
    )
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no sub-folders"
        raise ValueError(
            f"{folder} holds {found}; put the pictures of each class into a sub-folder of "
            "their own (at least two), or pass labelled=False to load pictures without labels."
        )
    return names


def _checked_names(classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str) or len(classes) == 0 or len(set(classes)) != len(classes):
        raise ValueError(f"`classes` must list different sub-folder names, got {classes!r}.")
    return list(classes)


class _Paths(Sequence[Path]):
    """The paths of named files; made on demand, for a million of them would fill memory."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [self._folder / name for name in self._names[index]]
        return self._folder / self._names[index]


def _pictures_below(folder: Path) -> list[str]:
    """Return the pictures of a folder, by their paths within it with forward slashes."""
    root = os.path.join(_existing_folder(folder), "")
    names = [path[len(root) :].replace(os.sep, "/") for path in _walk(folder)]
    if not names:
        raise ValueError(f"{folder} holds no pictures (looked for {', '.join(EXTENSIONS)}).")
    return names


def _walk(folder: Path) -> Iterator[str]:
    """Yield the pictures in an order that does not depend on the file system."""
    for directory, subdirectories, files in os.walk(folder, onerror=_raise):
        subdirectories[:] = sorted(name for name in subdirectories if name[0] != ".")
        for name in sorted(files):
            if name[0] != "." and name.lower().endswith(EXTENSIONS):
                yield os.path.join(directory, name)


def _raise(error: OSError) -> None:
    """Stop at a folder that cannot be listed: os.walk would leave its pictures out silently."""
    raise error
