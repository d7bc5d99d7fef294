"""Where each picture of a tar shard lies: found once, kept in a small file, checked when opened."""

import contextlib
import io
import json
import os
import uuid
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pack_format import flush_to_disk
from .shard_store import ShardStore, ShortReadError, Stamp, is_remote
from .tar_labels import LabelRule, ShardLabels, Value, labels_of
from .tar_members import BLOCK, IMAGE_EXTENSIONS, Member, RangeFile, Record, read_records

FORMAT, VERSION = "fusewarp-tar-index", 1
_CHECKED_HEADERS = 3  # when an index is opened; a read checks its own


@dataclass(frozen=True)
class IndexRule:
    """What is looked for in a record.

    Attributes
    ----------
    label : LabelRule
    image : str or None
        Extension of the picture; None: the one that a picture format has.
    """

    label: LabelRule
    image: str | None = None

    @property
    def text(self) -> str:
        """The rule, as the index names it."""
        return json.dumps([self.label.extension, self.label.field, self.image])


@dataclass(frozen=True)
class ShardIndex:
    """The records of one shard.

    Attributes
    ----------
    stamp : Stamp
        Of the shard.
    keys : (total,) uint8
        UTF-8, one after the other.
    key_offsets : (n + 1,) int64
        Where each begins and ends.
    starts, lengths : (n,) int64
        The bytes of the pictures.
    header_crcs : (n,) uint32
        CRC-32 of the 512 bytes before each: its header, with name, size and time.
    labels : ShardLabels or None
    defects : list of (key, message)
        Records without a picture or without a label.
    """

    stamp: Stamp
    keys: NDArray[np.uint8]
    key_offsets: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    header_crcs: NDArray[np.uint32]
    labels: ShardLabels | None
    defects: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.starts)


def open_index(
    store: ShardStore, shard: str, rule: IndexRule, index_folder: Path | None
) -> ShardIndex:
    """Return the index of a shard: the one that was kept if it fits, or a new one, which is kept.

    Parameters
    ----------
    store : ShardStore
    shard : str
        Path or URL.
    rule : IndexRule
    index_folder : Path, optional
        Default: beside the shard.

    Raises
    ------
    ValueError
        If the shard is no whole tar file, a key comes twice in it, or its index cannot be written.
    OSError
        If the shard cannot be read.
    """
    path = index_path(shard, rule, index_folder)
    try:
        stamp = store.stamp(shard)
        index = _read_index(path, rule)
        if index is not None and index.stamp == stamp and _fits(store, shard, index):
            return index
        index = build_index(store, shard, rule, stamp)
    except OSError as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        raise kind(f"The shard {shard} cannot be read ({error.strerror or error}).") from error
    _write_index(path, rule, index)
    return index


def index_path(shard: str, rule: IndexRule, index_folder: Path | None) -> Path:
    """Return where the index of a shard is kept; each rule has its own."""
    tag = f"{rule.label.extension or 'none'}-{zlib.crc32(rule.text.encode()):08x}"
    if index_folder is None:
        return Path(f"{shard}.{tag}.index.npz")
    name = shard.rstrip("/").replace(os.sep, "/").rsplit("/", 1)[-1].split("?")[0]
    place = zlib.crc32(shard.encode("utf-8", "surrogateescape"))  # shards may be called the same
    return index_folder / f"{name}-{place:08x}.{tag}.index.npz"


def build_index(store: ShardStore, shard: str, rule: IndexRule, stamp: Stamp) -> ShardIndex:
    """Read the headers of a shard, and the labels; see `open_index`."""
    file = RangeFile(store, shard, stamp)
    builder = _Builder(rule)
    try:
        for record in read_records(file, rule.label.extension):
            builder.add(record)
        index = builder.finished(stamp)
    except ValueError as error:
        raise ValueError(f"The shard {shard} {error}.") from error
    if store.stamp(shard) != stamp:
        raise ValueError(f"The shard {shard} was changed while it was read; begin again.")
    return index


class _Builder:
    """Collects what an index holds."""

    def __init__(self, rule: IndexRule) -> None:
        self._rule = rule
        self._keys: list[bytes] = []
        self._images: list[Member] = []
        self._labels: list[Value] = []
        self._defects: list[tuple[str, str]] = []

    def add(self, record: Record) -> None:
        """Take in a record, or note what it lacks."""
        try:
            image = self._image_of(record)
            label = self._label_of(record)
        except ValueError as error:
            self._defects.append((record.key, str(error)))
            return
        if label is not None:
            self._labels.append(label)
        self._images.append(image)
        self._keys.append(_encoded(record.key))

    def _image_of(self, record: Record) -> Member:
        wanted = IMAGE_EXTENSIONS if self._rule.image is None else (self._rule.image,)
        images = [extension for extension in record.members if extension in wanted]
        has = f"has .{', .'.join(record.members)}"
        if not images:
            raise ValueError(f"{has}, and no picture (looked for .{', .'.join(wanted)})")
        if len(images) > 1:
            raise ValueError(f"{has}: which is the picture? Say so with `image`")
        return record.members[images[0]]

    def _label_of(self, record: Record) -> Value | None:
        rule = self._rule.label
        if rule.extension is None:
            return None
        if rule.extension not in record.members:
            raise ValueError(f"has .{', .'.join(record.members)}, and no label .{rule.extension}")
        try:
            return rule.parse(record.label)
        except ValueError as error:
            raise ValueError(f"has a .{rule.extension} that {error}") from error

    def finished(self, stamp: Stamp) -> ShardIndex:
        """Return the index."""
        places = np.array(self._images, np.int64).reshape(-1, 3)
        ends = np.cumsum([0, *map(len, self._keys)], dtype=np.int64)
        return ShardIndex(
            stamp,
            np.frombuffer(b"".join(self._keys), np.uint8),
            ends,
            places[:, 0].copy(),
            places[:, 1].copy(),
            places[:, 2].astype(np.uint32),
            None if self._rule.label.extension is None else labels_of(self._labels),
            self._defects,
        )


def header_fits(block: bytes, crc: int) -> bool:
    """Tell whether 512 bytes are the header that was indexed."""
    return zlib.crc32(block) == crc


def _fits(store: ShardStore, shard: str, index: ShardIndex) -> bool:
    """Look at some headers: a shard may be another although its size and time are the same."""
    for row in np.unique(np.linspace(0, len(index) - 1, _CHECKED_HEADERS).astype(int)):
        if row < 0:  # no records
            return True
        start = int(index.starts[row]) - BLOCK
        try:
            block = store.read(shard, start, BLOCK, index.stamp)
        except ShortReadError:
            return False
        if not header_fits(block, int(index.header_crcs[row])):
            return False
    return True


def _write_index(path: Path, rule: IndexRule, index: ShardIndex) -> None:
    """Write the file under another name first: whoever reads finds a whole one or none."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "xb") as file:
            np.savez(file, **_arrays_of(rule, index))
            flush_to_disk(file)
        os.replace(partial, path)
    except OSError as error:
        raise ValueError(
            f"The index {path} cannot be written ({error.strerror or error}). Name a folder that "
            "has room and may be written to as `index_folder`."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)


def _arrays_of(rule: IndexRule, index: ShardIndex) -> dict[str, Any]:
    meta = {
        "format": [FORMAT, VERSION],
        "rule": rule.text,
        "stamp": list(index.stamp),
        "texts": None if index.labels is None else index.labels.texts,
        "defects": index.defects,
    }
    arrays = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "keys": index.keys,
        "key_offsets": index.key_offsets,
        "starts": index.starts,
        "lengths": index.lengths,
        "header_crcs": index.header_crcs,
    }
    return arrays if index.labels is None else {**arrays, "labels": index.labels.values}


def _read_index(path: Path, rule: IndexRule) -> ShardIndex | None:
    """Return what was kept; None if there is none, or it is damaged or of another version."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:  # CRCs are compared
            meta = json.loads(arrays["meta"].tobytes())
            if meta["format"] != [FORMAT, VERSION] or meta["rule"] != rule.text:
                return None
            return _index_of(meta, {name: arrays[name] for name in arrays.files})
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        return None


def _index_of(meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ShardIndex:
    labels = arrays.get("labels")
    return ShardIndex(
        Stamp(*meta["stamp"]),
        arrays["keys"],
        arrays["key_offsets"],
        arrays["starts"],
        arrays["lengths"],
        arrays["header_crcs"],
        None if labels is None else ShardLabels(labels, meta["texts"]),
        [(key, message) for key, message in meta["defects"]],
    )


def _encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def check_index_folder(shards: list[str], index_folder: Path | None) -> None:
    """Make the folder; raises ValueError if shards of a store have none."""
    if index_folder is not None:
        index_folder.mkdir(parents=True, exist_ok=True)
    elif any(map(is_remote, shards)):
        raise ValueError(
            "Shards of a store need an `index_folder` on this machine: nothing is written into "
            "the store."
        )
