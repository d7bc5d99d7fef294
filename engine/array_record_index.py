"""What an index of an ArrayRecord file holds: labels, and what each record is known by."""

import zlib
from dataclasses import dataclass
from typing import Any

from .array_record_files import ArrayRecordFile
from .array_record_rule import FunctionRule
from .example_record import ExampleRule
from .shard_index import IndexBuilder, Place, ShardIndex
from .shard_store import ShardStore, Stamp
from .tar_labels import Value

FORMAT, VERSION = "fusewarp-arrayrecord-index", 1
_END = 512  # bytes at each end of a record that are compared; its library has a hash of all


@dataclass(frozen=True)
class ArrayRecordRule:
    """What is looked for in ArrayRecord files; a `ShardFormat`.

    Attributes
    ----------
    record : ExampleRule or FunctionRule
    """

    record: ExampleRule | FunctionRule

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
        """Read all records; a place is the number of one, and its length."""
        file = ArrayRecordFile(shard, stamp)
        try:
            for start in range(0, len(file), file.group_size):
                self._scan_group(file, start, builder)
        finally:
            file.close()

    def _scan_group(self, file: ArrayRecordFile, start: int, builder: IndexBuilder) -> None:
        """Read what is compressed together at once, or else it is decompressed for each record."""
        numbers = range(start, min(start + file.group_size, len(file)))
        try:
            records = file.read(numbers.start, numbers.stop)
        except ValueError as error:
            for number in numbers:
                builder.note(str(number), str(error))
            return
        for number, data in zip(numbers, records, strict=True):
            try:
                name, label = self.record.describe(data)
            except ValueError as error:
                builder.note(str(number), str(error))
            else:
                builder.add(name or str(number), place_of(number, data), label)

    def fits(self, store: ShardStore, shard: str, index: ShardIndex, rows: list[int]) -> bool:
        """Compare records, and what is said of them: a function may have been changed."""
        try:
            file = ArrayRecordFile(shard, index.stamp)
        except ValueError:
            return False
        try:
            return all(self._fits(file, index, row) for row in rows)
        finally:
            file.close()

    def _fits(self, file: ArrayRecordFile, index: ShardIndex, row: int) -> bool:
        place = index.place(row)
        try:
            data = file.read(place.start, place.start + 1)[0]
            label = self.record.describe(data)[1]
        except ValueError:
            return False
        return place_of(place.start, data) == place and label == _label(index, row)


def place_of(number: int, data: bytes) -> Place:
    """Return what a record is known by; the CRC is of its two ends."""
    return Place(number, len(data), zlib.crc32(data[-_END:], zlib.crc32(data[:_END])))


def _label(index: ShardIndex, row: int) -> Value | None:
    if index.labels is None:
        return None
    value: Value = index.labels.values[row].item()
    texts = index.labels.texts
    return value if texts is None else texts[int(value)]
