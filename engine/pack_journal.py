"""The record of a pack in progress: which blocks are on the disk, and what they were made of."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .pack_format import flush_to_disk

JOURNAL = "journal.jsonl"
_FORMAT = {"format": "fusewarp-pack-journal", "version": 1}

Input = list[Any]  # [name, label, bytes, modification time in ns] of a file; a list, as JSON has it


class BlockRecord(NamedTuple):
    """A block that is on the disk.

    Attributes
    ----------
    inputs : list of [name, label, bytes, modification time in ns]
        The files it was made of; bytes and time are None for one that could not be opened.
    failed : dict of str to str
        Position among the inputs -> why that file was left out. (JSON's keys are text.)
    crc32 : int
        Of the block's pictures.
    """

    inputs: list[Input]
    failed: dict[str, str]
    crc32: int


class Journal:
    """A file of one JSON record a line, which only one process at a time may write.

    Parameters
    ----------
    path : Path
        Made, with `options` as its first line, if it does not exist.
    options : dict
        What decides the pixels.

    Raises
    ------
    ValueError
        If the file is something else, was begun with other options, or is in use.
    """

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self._path = path
        self._file = open(path, "a+b")
        try:
            _lock(self._file, path)
            self._begin({**_FORMAT, **options})
        except BaseException:
            self._file.close()
            raise

    def _begin(self, header: dict[str, Any]) -> None:
        self._file.seek(0)
        line = self._file.readline()
        if line.endswith(b"\n"):
            self._check_header(line, header)
        elif _line(header).startswith(line):  # new, or killed while it was begun
            self._file.truncate(0)
            self._append(header)
        else:
            raise self._foreign()

    def records(self) -> Iterator[BlockRecord]:
        """Yield the blocks on the disk; then drop a line that was still being written."""
        self._file.seek(0)
        end = len(self._file.readline())
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                record = BlockRecord(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise self._foreign() from error
            yield record
        self._file.truncate(end)

    def _check_header(self, line: bytes, header: dict[str, Any]) -> None:
        try:
            found = json.loads(line)
            begun = {name: found[name] for name in header}
        except (ValueError, KeyError, TypeError) as error:
            raise self._foreign() from error
        for name, value in json.loads(_line(header)).items():
            if begun[name] != value:
                raise ValueError(
                    f"{self._path.parent} was begun with {name} = {begun[name]!r}, now it is "
                    f"{value!r}. Give the same as then to go on, or delete that folder to begin "
                    "anew."
                )

    def add(self, record: BlockRecord) -> None:
        """Note a block whose pictures are on the disk; on the disk itself when this returns."""
        self._append(record._asdict())

    def _append(self, fields: dict[str, Any]) -> None:
        self._file.write(_line(fields))
        flush_to_disk(self._file)

    def close(self) -> None:
        """Close the file, and let others write it."""
        with contextlib.suppress(OSError):  # of a line that could not be written: told already
            self._file.close()

    def _foreign(self) -> ValueError:
        return ValueError(
            f"{self._path} is not the journal of a pack that this fusewarp can go on with. Move "
            f"{self._path.parent} away, or delete it if nothing in it is wanted."
        )


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _lock(file: Any, path: Path) -> None:
    """Refuse a second process; the lock goes when the process does. Windows does without."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(f"{path.parent} is being written by another process.") from error
