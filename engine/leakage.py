"""Pictures that are on two sides of a split, and classes that nothing was learnt of."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import SampleError
from .files import FileSource, read_file
from .sources import Source
from .threads import run_slices

_SHOWN = 3  # pairs in a message
_Result = TypeVar("_Result")


class Leak(NamedTuple):
    """A picture for training that is on the other side too.

    Attributes
    ----------
    train_id, other_id : int
    train_name, other_name : str
    kind : {"same file", "same content"}
    """

    train_id: int
    other_id: int
    train_name: str
    other_name: str
    kind: Literal["same file", "same content"]


def find_leaks(
    train_source: Source, other_source: Source, *, threads: int | None = None
) -> list[Leak]:
    """Find the pictures of one source that are in the training source as well.

    Parameters
    ----------
    train_source, other_source : ArraySource, FolderSource, PackedSource, TableSource
        Or anything with their attributes. Two sources of files are compared by their files: the
        same one, by whatever path or link, or the same bytes. Otherwise every picture is read, and
        compared by its pixels.
    threads : int, optional
        For reading. Default: all that the process may use.

    Returns
    -------
    list of Leak
        One for each such picture of `other_source`, in its order, with the first of its copies in
        `train_source`.

    Raises
    ------
    SampleError
        If a file cannot be read.

    Notes
    -----
    A file is read only if one of the other side has its size; all pixels are looked at only if a
    picture of the other side has the same middle row.
    """
    by_bytes = isinstance(train_source, FileSource) and isinstance(other_source, FileSource)
    train = _Contents(train_source, by_bytes, threads)
    other = _Contents(other_source, by_bytes, threads)
    files = _first_ids(enumerate(train.files))
    found = {i: files[file] for i, file in enumerate(other.files) if file in files}
    is_same_file = set(found)

    seen = set(train.looks)
    others = [i for i, look in enumerate(other.looks) if look in seen and i not in found]
    looks = {other.looks[i] for i in others}
    candidates = [i for i, look in enumerate(train.looks) if look in looks]
    contents = _first_ids(zip(candidates, train.digests(candidates), strict=True))
    for i, digest in zip(others, other.digests(others), strict=True):
        if digest in contents:
            found[i] = contents[digest]
    train_names, other_names = train_source.names, other_source.names
    return [
        Leak(
            train_id,
            other_id,
            train_names[train_id],
            other_names[other_id],
            "same file" if other_id in is_same_file else "same content",
        )
        for other_id, train_id in sorted(found.items())
    ]


def check_no_leaks(
    train_source: Source,
    other_source: Source,
    name: str = "validation",
    *,
    threads: int | None = None,
) -> None:
    """Refuse two sources that have pictures in common: see `find_leaks`.

    Parameters
    ----------
    train_source, other_source : Source
    name : str
        What the other source is called in the message.
    threads : int, optional

    Raises
    ------
    ValueError
        If there are such pictures; names the first of them.
    SampleError
        If a file cannot be read.
    """
    leaks = find_leaks(train_source, other_source, threads=threads)
    if not leaks:
        return
    shown = [f"{leak.other_name} is {leak.train_name} ({leak.kind})" for leak in leaks[:_SHOWN]] + (
        [f"{len(leaks) - _SHOWN} more"] if leaks[_SHOWN:] else []
    )
    raise ValueError(
        f"{len(leaks)} of the {len(other_source)} {name} pictures are among those for training: "
        f"{'; '.join(shown)}. A model is not tested by what it has learnt from. Delete the copies "
        "on one side, or split so that copies stay together: "
        "stratified_split(..., groups=group_copies(source))."
    )


def group_copies(source: Source, *, threads: int | None = None) -> list[str]:
    """Give pictures of the same content the same group, for a split that keeps them together.

    Parameters
    ----------
    source : ArraySource, FolderSource, PackedSource, TableSource
    threads : int, optional
        For reading. Default: all that the process may use.

    Returns
    -------
    list of str
        For each picture its name, or the first in the alphabet of those of its copies. A picture
        without copies is therefore split as it is without groups.

    Raises
    ------
    SampleError
        If a file cannot be read.
    """
    contents = _Contents(source, isinstance(source, FileSource), threads)
    counts = Counter(contents.looks)
    candidates = [i for i, look in enumerate(contents.looks) if counts[look] > 1]
    groups = list(source.names)
    firsts: dict[Hashable, str] = {}
    digests = contents.digests(candidates)
    for i, digest in zip(candidates, digests, strict=True):
        firsts[digest] = min(groups[i], firsts.get(digest, groups[i]))
    for i, digest in zip(candidates, digests, strict=True):
        groups[i] = firsts[digest]
    return groups


def check_no_unseen_classes(
    train_source: Source, other_source: Source, name: str = "validation"
) -> None:
    """Refuse a source with classes of which there is no sample for training.

    Classes are compared by their names where both sources have them, else by number. Labels that
    are floats other than 0 and 1 are numbers to be predicted, and pass.

    Parameters
    ----------
    train_source, other_source : Source
        With labels; without, there is nothing to refuse.
    name : str
        What the other source is called in the message.

    Raises
    ------
    ValueError
        If there are such classes; names them.
    """
    has_names = all(getattr(s, "class_names", None) for s in (train_source, other_source))
    seen, found = (_classes(s, has_names) for s in (train_source, other_source))
    unseen = [label for label in found if label not in seen]
    if unseen and seen:
        more = f" and {len(unseen) - 10} more" if unseen[10:] else ""
        raise ValueError(
            f"The {name} pictures show classes of which none is for training: "
            f"{', '.join(map(repr, unseen[:10]))}{more}. Add training pictures of these, or leave "
            f"them out of the {name} pictures."
        )


def _classes(source: Source, has_names: bool) -> list[Any]:
    """List the classes that have a sample."""
    labels = source.labels
    if labels is None:
        return []
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        if not np.isin(labels, (0, 1)).all():
            return []
        labels = labels.astype(np.int64)
    present = np.flatnonzero(labels.any(axis=0)) if labels.ndim == 2 else np.unique(labels)
    classes: list[Any] = present.tolist()
    if has_names:
        names: Sequence[str] = source.class_names  # type: ignore[attr-defined]
        return [names[label] for label in classes]
    return classes


class _Contents:
    """What can be compared of the pictures of a source.

    Attributes
    ----------
    files : list
        Which file each is; empty when compared by pixels.
    looks : list
        What is equal if the content is, and costs little to find out.
    """

    def __init__(self, source: Source, by_bytes: bool, threads: int | None) -> None:
        self._threads = threads
        ids = range(len(source))
        if by_bytes and isinstance(source, FileSource):
            paths = source.paths
            stats = self._map(lambda i: _file_and_size(str(paths[i])), ids)
            self.files: list[Hashable] = [file for file, _ in stats]
            self.looks: list[Hashable] = [size for _, size in stats]
            self._content: Callable[[int], Any] = lambda i: read_file(str(paths[i]))
        else:
            self.files = []
            self.looks = self._map(lambda i: _look(source.read(i)), ids)
            self._content = lambda i: np.ascontiguousarray(source.read(i)).data

    def digests(self, ids: Sequence[int]) -> list[Hashable]:
        """Hash the contents of some pictures."""
        return self._map(lambda i: (self.looks[i], _digest(self._content(i))), ids)

    def _map(self, function: Callable[[int], _Result], ids: Sequence[int]) -> list[_Result]:
        results: list[Any] = [None] * len(ids)

        def work(start: int, stop: int) -> None:
            for at in range(start, stop):
                results[at] = function(ids[at])

        run_slices(work, len(ids), self._threads)
        return results


def _file_and_size(path: str) -> tuple[Hashable, int]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise SampleError(f"{path} cannot be read ({error.strerror or error}).") from error
    has_number = stat.st_ino != 0  # some network drives give none
    return (stat.st_dev, stat.st_ino) if has_number else os.path.realpath(path), stat.st_size


def _look(image: NDArray[Any]) -> Hashable:
    row = np.ascontiguousarray(image[len(image) // 2])
    return image.shape, image.dtype.str, _digest(row.data)


def _digest(content: Any) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _first_ids(pairs: Iterable[tuple[int, Hashable]]) -> dict[Hashable, int]:
    """Tell for each key which id has it first."""
    firsts: dict[Hashable, int] = {}
    for i, key in pairs:
        firsts.setdefault(key, i)
    return firsts
