"""TFRecord files: how their records follow each other, and what an index of them holds.

A record is its length (8 bytes), a checksum of these, its data, and a checksum of the data. The
checksums are CRC-32C, turned and shifted ("masked"); all numbers are little-endian.
"""

import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from .example_record import ExampleRule
from .shard_index import IndexBuilder, Place, ShardIndex
from .shard_store import ShardStore, ShortReadError, Stamp

FORMAT, VERSION = "fusewarp-tfrecord-index", 1
HEAD, TAIL = 12, 4  # bytes before and behind the data of a record
_WINDOW = 2**20  # bytes read at once
_COMPRESSED = {b"\x1f\x8b": "GZIP", b"\x78\x01": "ZLIB", b"\x78\x9c": "ZLIB", b"\x78\xda": "ZLIB"}


@dataclass(frozen=True)
class TFRecordRule:
    """What is looked for in TFRecord files; a `ShardFormat`.

    Attributes
    ----------
    record : ExampleRule
    """

    record: ExampleRule

    @property
    def version(self) -> list[Any]:
        """See `ShardFormat`."""
        return [FORMAT, VERSION]

    @property
    def text(self) -> str:
        """See `ShardFormat`."""
        return self.record.text

    @property
    def tag(self) -> str:
        """See `ShardFormat`."""
        return self.record.tag

    def scan(self, store: ShardStore, shard: str, stamp: Stamp, builder: IndexBuilder) -> None:
        """Read all records; a place is that of the data, its CRC the one that stands behind."""
        for number, frame in enumerate(read_frames(_Ahead(store, shard, stamp))):
            try:
                frame.check_data()
                name, label = self.record.describe(frame.data)
            except ValueError as error:
                builder.note(str(number), str(error))
            else:
                builder.add(name or str(number), frame.place, label)

    def fits(self, store: ShardStore, shard: str, index: ShardIndex, rows: list[int]) -> bool:
        """Compare the checksums that stand behind records."""
        for place in map(index.place, rows):
            try:
                tail = store.read(shard, place.start + place.length, TAIL, index.stamp)
            except ShortReadError:
                return False
            if tail != place.crc.to_bytes(TAIL, "little"):
                return False
        return True


class Frame(NamedTuple):
    """One record.

    Attributes
    ----------
    place : Place
        Of the data, and the checksum that was written with them.
    data : bytes
    """

    place: Place
    data: bytes

    def check_data(self) -> None:
        """Raise ValueError if the data are not those that were written."""
        crc = masked_crc(self.data)
        if crc != self.place.crc:
            raise ValueError(
                f"is damaged: its {len(self.data)} bytes have the checksum {crc:08x}, and were "
                f"written with {self.place.crc:08x}"
            )


def frame_at(block: bytes, place: Place) -> Frame:
    """Return the record that 16 bytes more than its data are.

    Raises
    ------
    ValueError
        If it is another than the one that was indexed, or damaged.
    """
    data = block[HEAD:-TAIL]
    written = Place(place.start, len(data), int.from_bytes(block[-TAIL:], "little"))
    if block[:HEAD] != _head(place.length) or written != place:
        raise ValueError("is not the one that was indexed: the shard was replaced or damaged")
    frame = Frame(place, data)
    frame.check_data()
    return frame


class _Ahead:
    """Reads a file from its beginning to its end, more at once than is asked for."""

    def __init__(self, store: ShardStore, path: str, stamp: Stamp) -> None:
        self._store, self._path, self._stamp = store, path, stamp
        self.at, self._kept, self._start = 0, b"", 0

    @property
    def left(self) -> int:
        return self._stamp.size - self.at

    def take(self, length: int) -> bytes:
        """Return the next bytes, fewer only where the file ends."""
        length = min(length, self.left)
        kept = len(self._kept) - self._start
        if kept < length:
            size = min(max(length, _WINDOW), self.left) - kept
            more = self._store.read(self._path, self.at + kept, size, self._stamp)
            self._kept, self._start = self._kept[self._start :] + more, 0
        self._start += length
        self.at += length
        return self._kept[self._start - length : self._start]


def read_frames(ahead: _Ahead) -> Iterator[Frame]:
    """Yield the records of a file; their data may be damaged.

    Raises
    ------
    ValueError
        If the file is no TFRecord file, compressed, cut off, or a length is damaged. The message
        goes on from the file's name.
    """
    number = 0
    while ahead.left:
        at = ahead.at
        head = ahead.take(HEAD)
        if len(head) == HEAD and head != _head(_length(head)):
            raise ValueError(_damaged(head, at, number))
        if len(head) < HEAD or _length(head) + TAIL > ahead.left:
            raise ValueError(
                f"is cut off at byte {at + len(head) + ahead.left}, in record {number}, which "
                f"begins at byte {at}. Write or copy it again"
            )
        length = _length(head)
        block = ahead.take(length + TAIL)
        crc = int.from_bytes(block[length:], "little")
        yield Frame(Place(at + HEAD, length, crc), block[:length])
        number += 1


def _length(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _head(length: int) -> bytes:
    number = struct.pack("<Q", length)
    return number + struct.pack("<I", masked_crc(number))


def _damaged(head: bytes, at: int, number: int) -> str:
    if number:
        return (
            f"is damaged at byte {at}: the length of record {number} has a wrong checksum, so no "
            "record from there on can be found. Write or copy it again"
        )
    packing = _COMPRESSED.get(head[:2])
    if packing is not None:
        return (
            f"is compressed ({packing}), and so cannot be read at random: write it anew without "
            "compression, pictures do not get smaller by it"
        )
    return "is no TFRecord file, or damaged at its beginning (the first length has no checksum)"


def masked_crc(data: bytes) -> int:
    """Return the checksum that TFRecord files hold: CRC-32C, turned by 15 bits and shifted."""
    crc = crc32c()(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def crc32c() -> Callable[[bytes], int]:
    """Return the function; raises ModuleNotFoundError if its package is not installed."""
    try:
        import google_crc32c
    except ImportError as error:
        raise ModuleNotFoundError(
            "The checksums of TFRecord files need google-crc32c: pip install 'fusewarp[tfrecord]'."
        ) from error
    value: Callable[[bytes], int] = google_crc32c.value
    return value
