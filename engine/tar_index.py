"""What an index of a tar shard holds: the pictures and labels of its records, known by headers."""

import json
import zlib
from dataclasses import dataclass
from typing import Any

from .shard_index import IndexBuilder, Place, ShardIndex
from .shard_store import ShardStore, ShortReadError, Stamp
from .tar_labels import LabelRule, Value
from .tar_members import BLOCK, IMAGE_EXTENSIONS, RangeFile, Record, read_records

FORMAT, VERSION = "fusewarp-tar-index", 1


@dataclass(frozen=True)
class IndexRule:
    """What is looked for in a record; a `ShardFormat`.

    Attributes
    ----------
    label : LabelRule
    image : str or None
        Extension of the picture; None: the one that a picture format has.
    """

    label: LabelRule
    image: str | None = None

    @property
    def version(self) -> list[Any]:
        """See `ShardFormat`."""
        return [FORMAT, VERSION]

    @property
    def text(self) -> str:
        """See `ShardFormat`."""
        return json.dumps([self.label.extension, self.label.field, self.image])

    @property
    def tag(self) -> str:
        """See `ShardFormat`."""
        return self.label.extension or "none"

    def scan(self, store: ShardStore, shard: str, stamp: Stamp, builder: IndexBuilder) -> None:
        """Read the headers of a shard, and the labels; a place is that of the picture.

        The CRC is of the 512 bytes before: the picture's header, with name, size and time.
        """
        for record in read_records(RangeFile(store, shard, stamp), self.label.extension):
            try:
                image, label = self._image_of(record), self._label_of(record)
            except ValueError as error:
                builder.note(record.key, str(error))
            else:
                builder.add(record.key, image, label)

    def fits(self, store: ShardStore, shard: str, index: ShardIndex, rows: list[int]) -> bool:
        """Compare headers."""
        for place in map(index.place, rows):
            try:
                block = store.read(shard, place.start - BLOCK, BLOCK, index.stamp)
            except ShortReadError:
                return False
            if not header_fits(block, place.crc):
                return False
        return True

    def _image_of(self, record: Record) -> Place:
        wanted = IMAGE_EXTENSIONS if self.image is None else (self.image,)
        images = [extension for extension in record.members if extension in wanted]
        has = f"has .{', .'.join(record.members)}"
        if not images:
            raise ValueError(f"{has}, and no picture (looked for .{', .'.join(wanted)})")
        if len(images) > 1:
            raise ValueError(f"{has}: which is the picture? Say so with `image`")
        return Place(*record.members[images[0]])

    def _label_of(self, record: Record) -> Value | None:
        rule = self.label
        if rule.extension is None:
            return None
        if rule.extension not in record.members:
            raise ValueError(f"has .{', .'.join(record.members)}, and no label .{rule.extension}")
        try:
            return rule.parse(record.label)
        except ValueError as error:
            raise ValueError(f"has a .{rule.extension} that {error}") from error


def header_fits(block: bytes, crc: int) -> bool:
    """Tell whether 512 bytes are the header that was indexed."""
    return zlib.crc32(block) == crc
