"""Which picture files lie below a folder: read once, several directories at a time, and kept.

A directory's modification time changes when an entry is added, removed or renamed. So a listing
that was kept is checked by one `stat` a directory, whatever the number of files.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .threads import run_slices

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")
_FORMAT = {"format": "fusewarp-listing", "version": 1, "extensions": list(EXTENSIONS)}
# A change in the same tick as the scan leaves the time as it is; file systems have ticks of up to
# 2 seconds. So a directory that had just been changed is read anew the next time.
_SETTLED_NS = 3 * 10**9
_AT_ONCE = 8  # directories: reading one is waiting, above all on a network drive


class Directory(NamedTuple):
    """What a directory held.

    Attributes
    ----------
    changed : int
        Its modification time in ns; 0 if that was too near to the scan to be trusted.
    directories, pictures : list of str
        Names, sorted; neither hidden ones nor, among the directories, symbolic links.
    """

    changed: int
    directories: list[str]
    pictures: list[str]


class Listing:
    """The pictures below a folder.

    Parameters
    ----------
    folder : Path
    index : path, optional
        A file that keeps the listing between processes; made if it is not there. Without one
        everything is read anew.

    Raises
    ------
    ValueError
        If the file `index` is something else.
    """

    def __init__(self, folder: Path, index: str | os.PathLike[str] | None = None) -> None:
        self._folder = folder
        self._index = None if index is None else Path(index)
        self._kept = {} if self._index is None else _read_index(self._index, folder)
        self._seen: dict[str, Directory] = {}
        self._has_news = False

    def below(self, start: str) -> list[str]:
        """Return the pictures below a directory, by their paths within it, with forward slashes.

        A directory's own pictures come first, then those of its directories, each in the order of
        names.

        Parameters
        ----------
        start : str
            Within the folder; "" is the folder itself.

        Raises
        ------
        OSError
            If a directory cannot be read: its pictures would be missing silently.
        """
        level = [start]
        while level:
            found = self._look(level)
            for path, directory in zip(level, found, strict=True):
                self._seen[path] = directory
            level = [
                _join(path, name)
                for path, directory in zip(level, found, strict=True)
                for name in directory.directories
            ]
        return list(self._pictures(start, ""))

    def keep(self) -> None:
        """Write the index, if there is one and anything in it has changed.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if self._index is None or not (self._has_news or self._kept.keys() - self._seen.keys()):
            return
        whole = {**_FORMAT, "folder": str(self._folder.resolve()), "directories": self._seen}
        writer = f"{os.getpid()}-{threading.get_ident()}"
        partial = self._index.with_name(f"{self._index.name}.{writer}.partial")
        try:
            partial.write_text(json.dumps(whole, ensure_ascii=True), encoding="ascii")
            partial.replace(self._index)
        except OSError as error:
            raise OSError(
                f"The index {self._index} cannot be written ({error.strerror or error}). Name a "
                "place that has room and may be written to as `index`, or leave it out."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def _look(self, level: list[str]) -> list[Directory]:
        """Return what some directories hold, several at a time."""
        found: list[Any] = [None] * len(level)

        def look(start: int, stop: int) -> None:
            for at in range(start, stop):
                found[at] = self._directory(level[at])

        run_slices(look, len(level), min(_AT_ONCE, len(level)))
        return found

    def _directory(self, path: str) -> Directory:
        where = self._folder / path
        changed = os.stat(where).st_mtime_ns
        kept = self._kept.get(path)
        if kept is not None and kept.changed == changed:
            return kept
        self._has_news = True
        return _scan(where, changed)

    def _pictures(self, path: str, prefix: str) -> Iterator[str]:
        directory = self._seen[path]
        for name in directory.pictures:
            yield prefix + name
        for name in directory.directories:
            yield from self._pictures(_join(path, name), f"{prefix}{name}/")


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _scan(where: Path, changed: int) -> Directory:
    began = time.time_ns()
    directories, pictures = [], []
    with os.scandir(where) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            if entry.is_dir():
                if not entry.is_symlink():
                    directories.append(name)
            elif name.lower().endswith(EXTENSIONS):
                pictures.append(name)
    is_settled = changed < began - _SETTLED_NS
    return Directory(changed if is_settled else 0, sorted(directories), sorted(pictures))


def _read_index(index: Path, folder: Path) -> dict[str, Directory]:
    """Return what was kept; nothing if there is no file yet, or one of another version or folder.

    A copy of a folder may have the times of the original.
    """
    try:
        whole = json.loads(index.read_text(encoding="ascii"))
    except FileNotFoundError:
        return {}
    except ValueError:
        whole = None
    if not isinstance(whole, dict) or whole.get("format") != _FORMAT["format"]:
        raise ValueError(
            f"{index} is not an index of a listing; name another file as `index`, or remove it."
        )
    if {name: whole.get(name) for name in _FORMAT} != _FORMAT:
        return {}  # of another version, which looked for other files
    if whole.get("folder") != str(folder.resolve()):
        return {}
    return {path: Directory(*parts) for path, parts in whole["directories"].items()}
