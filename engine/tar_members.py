"""The records of a tar shard: its headers one after the other, grouped as WebDataset does."""

import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .listing import EXTENSIONS
from .shard_store import ShardStore, Stamp, is_remote

BLOCK = tarfile.BLOCKSIZE
IMAGE_EXTENSIONS = tuple(extension[1:] for extension in EXTENSIONS)
_LOCAL_WINDOW, _REMOTE_WINDOW = 4096, 2**20  # bytes read at once: a header, or what a request costs
_LOOKED_AT_BEHIND = 2**20  # bytes behind the end mark: tar fills up to 10,240, or what it was told

# WebDataset's rules: the key ends at the first dot of the file name; `__names__` are not records
_KEY = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_NO_RECORD = re.compile(r"__[^/]*__($|/)")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


class Member(NamedTuple):
    """Where a file of a record lies.

    Attributes
    ----------
    start, length : int
        Its bytes.
    header_crc : int
        CRC-32 of the 512 bytes before: its header, with name, size and time.
    """

    start: int
    length: int
    header_crc: int


@dataclass
class Record:
    """One sample: the members of a key, which stand next to each other.

    Attributes
    ----------
    key : str
    members : dict of str to Member
        By extension, in lower case.
    label : bytes
        What the member with the label holds.
    """

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    label: bytes = b""


class RangeFile(io.RawIOBase):
    """A shard as a file to read and seek in; a little more is read than asked for, and kept.

    Parameters
    ----------
    store : ShardStore
    path : str
    stamp : Stamp
    """

    def __init__(self, store: ShardStore, path: str, stamp: Stamp) -> None:
        self._store, self._path, self._stamp = store, path, stamp
        self._window = _REMOTE_WINDOW if is_remote(path) else _LOCAL_WINDOW
        self._at, self._start, self._kept = 0, 0, b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; see `io.IOBase.seek`."""
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stamp.size}
        self._at = bases[whence] + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer only where the shard ends."""
        left = max(0, self._stamp.size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        if not self._start <= self._at <= self._at + size <= self._start + len(self._kept):
            length = min(left, max(size, self._window))
            self._kept = self._store.read(self._path, self._at, length, self._stamp)
            self._start = self._at
        first = self._at - self._start
        self._at += size
        return self._kept[first : first + size]


def read_records(file: RangeFile, label: str | None = None) -> Iterator[Record]:
    """Yield the records of a shard.

    Parameters
    ----------
    file : RangeFile
    label : str, optional
        Extension of the members that are read; of all others only the headers are.

    Raises
    ------
    ValueError
        If the shard is no tar file, compressed, cut off or damaged, if a key comes twice, or a
        member is a link or sparse. The message goes on from the shard's name.
    """
    record: Record | None = None
    seen: set[str] = set()
    for member in _members(file):
        parts = _KEY.fullmatch(member.name)
        if parts is None:
            continue
        key, extension = parts[1], parts[2].lower()
        if record is None or key != record.key:
            if record is not None:
                yield record
            if key in seen:
                raise ValueError(
                    f"has the key {key!r} twice, again at byte {member.offset}: the members of a "
                    "record must follow each other, and keys differ. Write it anew, sorted by name"
                )
            seen.add(key)
            record = Record(key)
        if extension in record.members:
            raise ValueError(f"has {member.name!r} twice, again at byte {member.offset}")
        # both now, while the window is here: to come back later is a request to a store
        file.seek(member.offset_data - BLOCK)
        header_crc = zlib.crc32(file.read(BLOCK))
        record.members[extension] = Member(member.offset_data, member.size, header_crc)
        if extension == label:
            record.label = file.read(member.size)
    if record is not None:
        yield record


def _members(file: RangeFile) -> Iterator[tarfile.TarInfo]:
    """Yield the plain files of an archive that is whole."""
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or all headers stay
                if archive.offset <= member.offset:
                    raise ValueError(f"has a member of negative size at byte {member.offset}")
                if _is_record(member):
                    yield member
            end = archive.offset
    except tarfile.TarError as error:
        raise ValueError(_no_archive(file, error)) from error
    _check_end(file, end)


def _is_record(member: tarfile.TarInfo) -> bool:
    if member.isdir() or _NO_RECORD.match(member.name):
        return False
    if not member.isreg() or member.issparse():
        raise ValueError(
            f"has {member.name!r} at byte {member.offset}, which is a link, sparse or a device; "
            "only plain files can be read where they lie"
        )
    return True


def _check_end(file: RangeFile, end: int) -> None:
    """Refuse what `tarfile` takes for the end: a damaged header, or nothing at all."""
    file.seek(end)
    mark = file.read(BLOCK)
    if len(mark) < BLOCK:
        raise ValueError(
            f"is cut off at byte {end + len(mark)}: the mark is missing that ends a tar file. "
            "Write or copy it again"
        )
    if mark.strip(b"\0"):
        raise ValueError(f"is damaged: the header at byte {end} has a wrong checksum")
    if file.read(_LOOKED_AT_BEHIND).strip(b"\0"):
        raise ValueError(
            f"goes on behind its end at byte {end}, as tar files do that were joined by `cat`. "
            "Keep them apart, or join them with `tar --concatenate`"
        )


def _no_archive(file: RangeFile, error: Exception) -> str:
    file.seek(0)
    packing = _COMPRESSED.get(file.read(2))
    if packing is not None:
        return f"is compressed ({packing}): decompress it, pictures do not get smaller by it"
    if not file.seek(0, io.SEEK_END):
        return "is empty (0 bytes)"
    return f"is cut off, damaged or no tar file ({error})"
