"""Lists image files: all those of a folder's classes, and those of a frame that exist.

A folder is read once, with `os.scandir`, whose entries already know what they are: no file is
looked at by itself, save links. What a frame names is grouped by folder, and a name is looked up
in the set of its folder's files, as asking the disk for every file takes longest where it is slow.

A million empty files in 100 folders, in the page cache, on one of two cores: a folder takes 1.4 s
to 2.6 s (Keras, in threads: 6.4 s to 8.9 s), a frame of shuffled rows 2.6 s to 4.3 s (Keras: 7.0 s
to 8.3 s). Some half of that is the scan and its names, the rest strings and lists in Python.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .settings import is_interactive

_BLOCK = 4096  # entries between two looks at the clock
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_IGNORES_CASE = sys.platform in ("win32", "darwin")
# What Windows and POSIX say of paths that lead nowhere; anything else is trouble to be told.
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}

Identity = tuple[int, int]


def list_class_names(directory: Any) -> list[str]:
    """Return the names of a folder's sub-folders, links to folders among them, sorted.

    Raises
    ------
    OSError
        If the folder is not there or cannot be read.

    Warns
    -----
    UserWarning
        If two names differ by case only.
    """
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry))
    warn_about_case(names, f"class folders of {os.fspath(directory)!r}")
    return names


def list_classes(
    directory: Any,
    names: Iterable[str],
    formats: tuple[str, ...],
    follow_links: bool = False,
    split: tuple[float, float] | None = None,
) -> list[list[str]]:
    """List the image files of each class, in Keras' order.

    Parameters
    ----------
    directory : path
    names : iterable of str
        Sub-folders of `directory`, one a class.
    formats : tuple of str
        Ends of the file names to take, in lower case.
    follow_links : bool
        Go into links to folders; the class folders themselves may be links in any case.
    split : (float, float) or None
        Take this part of each class only: from 0 <= start to stop <= 1.

    Returns
    -------
    list of list of str
        For each class, paths relative to its folder: folders sorted by path, names within each.

    Raises
    ------
    OSError
        If a folder cannot be read. Keras leaves such a folder out, silently.

    Warns
    -----
    UserWarning
        If a class has no folder, a link leads back to a folder above it, or a file is a ".tiff".
    """
    with _progress() as bar:
        found = [_list_class(directory, name, formats, follow_links, bar) for name in names]
    _warn_about_tiff(sum(name[-5:].lower() == ".tiff" for files in found for name in files))
    if split is None:
        return found
    start, stop = split
    return [files[int(start * len(files)) : int(stop * len(files))] for files in found]


def find_files(paths: Sequence[str], formats: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which paths are files of these formats, as Keras' `validate_filename` would.

    Parameters
    ----------
    paths : sequence of str
    formats : tuple of str
        Ends of the file names to take, in lower case.

    Returns
    -------
    (len(paths),) bool
        False where there is no such file or folder, for a folder, a link that leads nowhere, and
        a name of another format.

    Raises
    ------
    OSError
        If the disk fails or forbids to look; Keras takes the file for missing.
    """
    starts = _base_starts(paths)
    folders = [path[:start] for path, start in zip(paths, starts, strict=True)]
    with _progress() as bar:
        names = {
            folder: _image_names(folder, formats, _BLOCK + 50 * count, bar)
            for folder, count in Counter(folders).items()
        }
    unread = {folder for folder, files in names.items() if files is None or _IGNORES_CASE}
    known = {folder: files or frozenset() for folder, files in names.items()}
    rows = zip(paths, starts, folders, strict=True)
    found = np.array([path[start:] in known[folder] for path, start, folder in rows], bool)
    for index in np.flatnonzero(~found).tolist() if unread else ():
        if folders[index] in unread:
            found[index] = paths[index].lower().endswith(formats) and _is_file(paths[index])
    return found


def why_rejected(path: str, formats: tuple[str, ...]) -> str:
    """Say why `find_files` refuses a path."""
    if not path.lower().endswith(formats):
        return f"its name does not end with one of {', '.join(formats)}"
    if os.path.isdir(path):
        return "it is a folder"
    if os.path.islink(path):
        return "it is a link that leads nowhere"
    folder = os.path.dirname(path) or "."
    return "there is no such file" if os.path.isdir(folder) else f"there is no folder {folder!r}"


def join_all(directory: Any, names: Sequence[str]) -> list[str]:
    """Return ``os.path.join(directory, name)`` for each name."""
    if os.name == "nt":
        return [os.path.join(directory, name) for name in names]
    prefix = os.path.join(directory, "")
    return [name if name.startswith("/") else prefix + name for name in names]


def warn_about_case(names: Iterable[Any], what: str) -> None:
    """Warn of names that differ by case only; they are usually one class, misspelt."""
    groups: dict[str, set[str]] = {}
    for name in map(str, names):
        groups.setdefault(name.casefold(), set()).add(name)
    clashes = [
        " and ".join(map(repr, sorted(group))) for group in groups.values() if len(group) > 1
    ]
    if clashes:
        warn(
            f"Some {what} differ by case only and are taken for different classes: "
            f"{', '.join(clashes)}."
        )


def warn(message: str) -> None:
    """Warn at the line of the script that called into this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def tell(message: str) -> None:
    """Print a message, or log it where Keras is told to log."""
    if is_interactive():
        print(message)
    else:
        logging.getLogger("fusewarp").info(message)


def _progress() -> Any:
    """Return a bar of the entries seen, for listings that take more than a second."""
    return tqdm(
        desc="Listing images", unit=" files", delay=1, leave=False, disable=not is_interactive()
    )


def _blocks(folder: str, bar: Any) -> Iterator[list[os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        while block := list(islice(entries, _BLOCK)):
            bar.update(len(block))
            yield block


def _list_class(
    directory: Any, name: str, formats: tuple[str, ...], follow_links: bool, bar: Any
) -> list[str]:
    folder = os.path.join(directory, name)
    if not os.path.isdir(folder):
        warn(f"There is no folder {folder!r} for the class {name!r}; it has no images.")
        return []
    files = []
    for root, names in sorted(_walk(folder, follow_links, bar)):
        prefix = os.path.join(root, "")
        files += [prefix + name for name in sorted(names) if name.lower().endswith(formats)]
    return files


def _walk(folder: str, follow_links: bool, bar: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder, relative to the first, with the names of its files, in no order."""
    pending = [("", _ancestors(folder) if follow_links else frozenset())]
    while pending:
        root, above = pending.pop()
        files: list[str] = []
        for block in _blocks(os.path.join(folder, root), bar):
            folders = [entry for entry in block if _is_folder(entry)]
            inside = {entry.name for entry in folders}
            files += [entry.name for entry in block if entry.name not in inside]
            for entry in folders:
                below = _enter(entry, above) if follow_links else _enter_no_link(entry)
                if below is not None:
                    pending.append((os.path.join(root, entry.name), below))
        yield root, files


def _enter_no_link(entry: os.DirEntry[str]) -> frozenset[Identity] | None:
    return None if entry.is_symlink() else frozenset()


def _enter(entry: os.DirEntry[str], above: frozenset[Identity]) -> frozenset[Identity] | None:
    """Return the folders above those in this one, or None where a link would go round."""
    identity = _identity(entry.path)
    if identity in above:
        warn(f"{entry.path!r} leads back, by a link, to a folder that contains it; it is left out.")
        return None
    return above | {identity}


def _ancestors(folder: str) -> frozenset[Identity]:
    """Identify a folder and all folders that contain it."""
    path, identities = os.path.realpath(folder), set()
    while True:
        with suppress(OSError):
            identities.add(_identity(path))
        if path == os.path.dirname(path):
            return frozenset(identities)
        path = os.path.dirname(path)


def _identity(path: str) -> Identity:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _image_names(
    folder: str, formats: tuple[str, ...], max_entries: int, bar: Any
) -> frozenset[str] | None:
    """Return a folder's image files; None if they are to be asked for one by one.

    That is so in a folder with far more entries than `max_entries`, of which few are wanted, and
    in one that may be entered but not listed.
    """
    names: set[str] = set()
    try:
        for block in _blocks(folder or ".", bar):
            max_entries -= len(block)
            if max_entries < 0:
                return None
            images = (entry for entry in block if entry.name.lower().endswith(formats))
            names.update(entry.name for entry in images if _is_file_entry(entry))
    except PermissionError:
        return None
    except (OSError, ValueError) as error:
        _raise_unless_missing(error)
    return frozenset(names)


def _base_starts(paths: Sequence[str]) -> list[int]:
    """Return where the file's name begins in each path."""
    if os.name == "nt":
        return [max(path.rfind("/"), path.rfind("\\")) + 1 for path in paths]
    return [path.rfind("/") + 1 for path in paths]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere or round; os.walk takes it for a file too
        return False


def _is_file_entry(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:
        _raise_unless_missing(error)
        return False


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        _raise_unless_missing(error)
        return False


def _raise_unless_missing(error: OSError | ValueError) -> None:
    """Let pass what says that a path leads nowhere; ValueError: it has a null character."""
    if isinstance(error, OSError) and error.errno not in _MISSING:
        raise error


def _warn_about_tiff(count: int) -> None:
    if count:
        warn(
            'Using ".tiff" files with multiple bands will cause distortion. Please verify your '
            f"output. The listing has {count} such file(s)."
        )
