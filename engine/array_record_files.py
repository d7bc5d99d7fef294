"""ArrayRecord files, read by their library, which is given no file that it might not know."""

import os
import re
from typing import Any

from .fork_gate import ForkGate
from .shard_store import OpenShards, ShardStore, Stamp, check_stamp

# a Riegeli file begins with a fixed chunk, and an ArrayRecord file ends with a block of this size
_BEGINNING = bytes.fromhex(
    "83af70d10d884a3f0000000000000000400000000000000091bac23c9287e1a9"
    "0000000000000000e19f13c0e9b1c37273000000000000000000000000000000"
)
_BLOCK = 2**16
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # for random access, by the calling thread
_BUFFER = 2**15  # bytes of a reader
_LIBRARY_ERRORS = (RuntimeError, ValueError, IndexError)

_in_library = ForkGate()  # it keeps its decompressors in a pool for all threads, behind a lock


class ArrayRecordFile:
    """One open file; may be read by many threads at once.

    Parameters
    ----------
    path : str
    stamp : Stamp
        Of the file that is meant.

    Raises
    ------
    ChangedError
        If the file is another.
    ValueError
        If it is no whole ArrayRecord file; the message goes on from the file's name.
    OSError
        If it cannot be read.

    Attributes
    ----------
    group_size : int
        How many records are compressed together; 1 where the file does not say.
    """

    def __init__(self, path: str, stamp: Stamp) -> None:
        check_stamp(ShardStore().stamp(path), stamp)
        _check_beginning(path)
        module = array_record_module()
        try:
            with _in_library:
                self._reader = module.ArrayRecordReader(
                    os.fsencode(path), _OPTIONS, file_reader_buffer_size=_BUFFER
                )
        except _LIBRARY_ERRORS as error:
            raise ValueError(_broken(str(error))) from error
        if not self._reader.ok():  # it raises nothing, and has no records
            raise ValueError(_broken(self._why_not()))
        self.group_size = _group_size(self._reader.writer_options_string() or "")
        try:
            check_stamp(ShardStore().stamp(path), stamp)
        except OSError:  # another file, or none
            self.close()
            raise

    def __len__(self) -> int:
        """Return how many records it has."""
        return int(self._reader.num_records())

    def read(self, start: int, stop: int) -> list[bytes]:
        """Return neighbouring records; where the file was cut off, they may be empty.

        Raises
        ------
        ValueError
            If one is damaged; the message goes on from the record's name.
        """
        try:
            # a range, and not a list of numbers: for that the library looks at all chunks
            with _in_library:
                records: list[bytes] = self._reader.read(start, stop)
        except _LIBRARY_ERRORS as error:
            raise ValueError(f"is damaged ({error})") from error
        return records

    def close(self) -> None:
        """Close it."""
        self._why_not()

    def _why_not(self) -> str:
        """Close the reader, which then says what was wrong."""
        try:
            with _in_library:
                self._reader.close()
        except RuntimeError as error:
            return str(error)
        return ""


class OpenArrayRecords(OpenShards[ArrayRecordFile]):
    """Files that stay open between reads: see `OpenShards`. May be pickled, without the files."""

    def __init__(self) -> None:
        super().__init__(ArrayRecordFile)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def _let_go_in_child(self, shards: list[ArrayRecordFile]) -> None:
        """Close nothing: a reader would wait for the parent's threads that are reading with it."""
        _left_behind.append(shards)


_left_behind: list[list[ArrayRecordFile]] = []


def _group_size(options: str) -> int:
    found = re.search(r"\bgroup_size:(\d+)", options)
    return max(1, int(found[1])) if found else 1


def _broken(reason: str) -> str:
    return (
        "is cut off, damaged or no ArrayRecord file "
        f"({reason or 'its end is not there'}). Write or copy it again"
    )


def _check_beginning(path: str) -> None:
    with open(path, "rb") as file:
        beginning = file.read(len(_BEGINNING))
        size = file.seek(0, os.SEEK_END)
    if beginning != _BEGINNING:
        raise ValueError("is no ArrayRecord file, or damaged: it does not begin as one")
    if size < 2 * _BLOCK or size % _BLOCK:
        raise ValueError(
            f"is cut off: ArrayRecord files end with a block of {_BLOCK} bytes, and this one has "
            f"{size}. Write or copy it again"
        )


def array_record_module() -> Any:
    """Return the library; raises ModuleNotFoundError if it is not installed."""
    try:
        from array_record.python import array_record_module as module
    except ImportError as error:
        raise ModuleNotFoundError(
            "ArrayRecord files are read by the package array_record, which exists for Linux: "
            "pip install 'fusewarp[arrayrecord]'."
        ) from error
    return module
