"""Pictures that are files: what every source of files can do, and the files of a folder."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from .decode import ColorMode
from .encoded import DecodeWay, EncodedSource
from .errors import SampleError
from .listing import EXTENSIONS, Listing
from .sources import checked_ids, select_fields

Files = TypeVar("Files", bound="FileSource")


class FileSource(EncodedSource):
    """Picture files, read and decoded when asked for; `FolderSource` and `TableSource` list them.

    Parameters
    ----------
    folder : path
        Where relative names begin.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}

    Attributes
    ----------
    names : list of str
        The files: paths within `folder` with forward slashes, or absolute ones.
    labels, weights : array or None
        One entry or row per file.
    class_names : list of str
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, color_mode: ColorMode, decode: DecodeWay
    ) -> None:
        super().__init__(color_mode=color_mode, decode=decode)
        self.folder = _existing_folder(Path(folder))
        self.names: list[str] = []
        self._root = os.path.join(self.folder, "")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in the order of `names`."""
        return _Paths(self.folder, self.names)

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one file, and its path.

        Raises
        ------
        SampleError
            If the file is gone or cannot be read.
        """
        path = os.path.join(self._root, self.names[sample_id])
        return read_file(path), path

    def select(self: Files, sample_ids: ArrayLike) -> Files:
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans
        """
        ids = checked_ids(sample_ids, len(self))
        selected = copy.copy(self)
        selected.names = [self.names[i] for i in ids]
        select_fields(selected, ids)
        return selected


class FolderSource(FileSource):
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

    index : path, optional
        A file that keeps the listing, made if it is not there: later only the directories are
        looked at, not their files. What was added, removed or renamed since is noticed; several
        folders need an index each.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If the folder, or one of `classes`, is not there.
    ValueError
        If there are no pictures, a class has none, or there is one class only (name it in
        `classes` if that is meant); if the file `index` is something else.
    OSError
        If a directory cannot be read, or the index not written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        color_mode: ColorMode = "rgb",
        labelled: bool = True,
        decode: DecodeWay = "fast",
        index: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(folder, color_mode=color_mode, decode=decode)
        listing = Listing(self.folder, index)
        if labelled:
            self._list_classes(listing, classes)
        else:
            self.names = _some_pictures(listing, self.folder, "")
        listing.keep()

    def _list_classes(self, listing: Listing, classes: Sequence[str] | None) -> None:
        self.class_names = _class_names(self.folder) if classes is None else _checked_names(classes)
        listed = [_some_pictures(listing, self.folder, name) for name in self.class_names]
        for class_name, names in zip(self.class_names, listed, strict=True):
            self.names += [f"{Path(class_name).as_posix()}/{name}" for name in names]
        counts = [len(names) for names in listed]
        self.labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)


def read_file(path: str) -> bytes:
    """Return the bytes of a file; raises SampleError if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise SampleError(
            f"{path} cannot be read ({error.strerror or error}). It was there when the folder "
            "was listed; restore it, or list the files anew."
        ) from error


def _existing_folder(folder: Path) -> Path:
    if not folder.exists():
        raise FileNotFoundError(f"The folder {folder} does not exist.")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name the folder that the pictures are in.")
    return folder


def _some_pictures(listing: Listing, folder: Path, name: str) -> list[str]:
    """Return the pictures below a directory of the folder, of which there must be some."""
    where = _existing_folder(folder / name)
    pictures = listing.below(Path(name).as_posix() if name else "")
    if not pictures:
        raise ValueError(f"{where} holds no pictures (looked for {', '.join(EXTENSIONS)}).")
    return pictures


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
