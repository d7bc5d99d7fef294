"""Where each record of a shard lies: found once, kept in a small file, checked when opened."""

import contextlib
import io
import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .pack_format import flush_to_disk
from .shard_list import INDEX_ENDING
from .shard_store import ShardStore, Stamp, is_remote
from .shards import open_each
from .tar_labels import ShardLabels, Value, labels_of

_CHECKED_RECORDS = 3  # when an index is opened; a read checks its own


class Place(NamedTuple):
    """Where a record lies, and what it is known by.

    Attributes
    ----------
    start, length : int
        Its bytes; or its number in the shard, where a library finds it.
    crc : int
        32 bits of checksum, of which bytes the format says: those that are read with the record,
        and so tell whether it is the one that was indexed.
    """

    start: int
    length: int
    crc: int


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
    crcs : (n,) uint32
        See `Place`.
    labels : ShardLabels or None
    defects : list of (key, message)
        Records without a picture or without a label.
    """

    stamp: Stamp
    keys: NDArray[np.uint8]
    key_offsets: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    crcs: NDArray[np.uint32]
    labels: ShardLabels | None
    defects: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.starts)

    def place(self, row: int) -> Place:
        """Return where a record lies."""
        return Place(int(self.starts[row]), int(self.lengths[row]), int(self.crcs[row]))


class IndexBuilder:
    """Collects the records of a shard."""

    def __init__(self) -> None:
        self._keys: dict[bytes, None] = {}  # in this order
        self._places: list[Place] = []
        self._labels: list[Value | None] = []
        self._defects: list[tuple[str, str]] = []

    def add(self, key: str, place: Place, label: Value | None) -> None:
        """Take in a record; all of a shard have labels, or none.

        Raises
        ------
        ValueError
            If its key came before; the message goes on from the shard's name.
        """
        encoded = key.encode("utf-8", "surrogateescape")
        if encoded in self._keys:
            raise ValueError(f"has two records of the name {key!r}, which must tell them apart")
        self._keys[encoded] = None
        self._places.append(place)
        self._labels.append(label)

    def note(self, key: str, defect: str) -> None:
        """Note what a record lacks, which is then left out."""
        self._defects.append((key, defect))

    def finished(self, stamp: Stamp) -> ShardIndex:
        """Return the index.

        Raises
        ------
        ValueError
            If labels are of two kinds, or some are missing; the message goes on from the shard's
            name.
        """
        places = np.array(self._places, np.int64).reshape(-1, 3)
        return ShardIndex(
            stamp,
            np.frombuffer(b"".join(self._keys), np.uint8),
            np.cumsum([0, *map(len, self._keys)], dtype=np.int64),
            places[:, 0].copy(),
            places[:, 1].copy(),
            places[:, 2].astype(np.uint32),
            self._joined_labels(),
            self._defects,
        )

    def _joined_labels(self) -> ShardLabels | None:
        labels = [label for label in self._labels if label is not None]
        if labels and len(labels) < len(self._labels):
            raise ValueError(f"has labels for {len(labels)} of {len(self._labels)} records only")
        return labels_of(labels) if labels else None


class ShardFormat(Protocol):
    """What kind of shards they are, and what is looked for in their records."""

    @property
    def version(self) -> list[Any]:
        """The name and the number that an index of this kind begins with."""

    @property
    def text(self) -> str:
        """What is looked for, as the index names it."""

    @property
    def tag(self) -> str:
        """A word for it, for file names."""

    def scan(self, store: ShardStore, shard: str, stamp: Stamp, builder: IndexBuilder) -> None:
        """Read a shard from end to end; raises ValueError that goes on from the shard's name."""

    def fits(self, store: ShardStore, shard: str, index: ShardIndex, rows: list[int]) -> bool:
        """Tell whether these records still are where, and what, an index says."""


def open_indices(
    store: ShardStore,
    shards: list[str],
    rule: ShardFormat,
    index_folder: Path | None,
    threads: int | None,
) -> list[ShardIndex]:
    """Return the indices of shards; see `open_index`.

    Parameters
    ----------
    threads : int, optional
        Default: all that the process may use; 16 for shards of a store.
    """
    return open_each(shards, lambda shard: open_index(store, shard, rule, index_folder), threads)


def open_index(
    store: ShardStore, shard: str, rule: ShardFormat, index_folder: Path | None
) -> ShardIndex:
    """Return the index of a shard: the one that was kept if it fits, or a new one, which is kept.

    Parameters
    ----------
    store : ShardStore
    shard : str
        Path or URL.
    rule : ShardFormat
    index_folder : Path, optional
        Default: beside the shard.

    Raises
    ------
    ValueError
        If the shard is not whole or of another format, or its index cannot be written.
    OSError
        If the shard cannot be read.
    """
    path = index_path(shard, rule, index_folder)
    try:
        stamp = store.stamp(shard)
        index = _read_index(path, rule)
        if index is not None and index.stamp == stamp and _fits(store, shard, rule, index):
            return index
        index = build_index(store, shard, rule, stamp)
    except OSError as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        raise kind(f"The shard {shard} cannot be read ({error.strerror or error}).") from error
    _write_index(path, rule, index)
    return index


def index_path(shard: str, rule: ShardFormat, index_folder: Path | None) -> Path:
    """Return where the index of a shard is kept; each rule has its own."""
    ending = f"{rule.tag}-{zlib.crc32(rule.text.encode()):08x}{INDEX_ENDING}"
    if index_folder is None:
        return Path(f"{shard}.{ending}")
    name = shard.rstrip("/").replace(os.sep, "/").rsplit("/", 1)[-1].split("?")[0]
    place = zlib.crc32(shard.encode("utf-8", "surrogateescape"))  # shards may be called the same
    return index_folder / f"{name}-{place:08x}.{ending}"


def build_index(store: ShardStore, shard: str, rule: ShardFormat, stamp: Stamp) -> ShardIndex:
    """Read a shard from end to end; see `open_index`."""
    builder = IndexBuilder()
    try:
        rule.scan(store, shard, stamp, builder)
        index = builder.finished(stamp)
    except ValueError as error:
        raise ValueError(f"The shard {shard} {error}.") from error
    if store.stamp(shard) != stamp:
        raise ValueError(f"The shard {shard} was changed while it was read; begin again.")
    return index


def _fits(store: ShardStore, shard: str, rule: ShardFormat, index: ShardIndex) -> bool:
    """Look at some records: a shard may be another although its size and time are the same."""
    if not len(index):
        return True
    rows = np.unique(np.linspace(0, len(index) - 1, _CHECKED_RECORDS).astype(int))
    return rule.fits(store, shard, index, rows.tolist())


def _write_index(path: Path, rule: ShardFormat, index: ShardIndex) -> None:
    """Write the file under another name first: whoever reads finds a whole one or none."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    whole = io.BytesIO()  # older NumPy leaves an archive open if the disk is full
    np.savez(whole, **_arrays_of(rule, index))
    try:
        with open(partial, "xb") as file:
            file.write(whole.getbuffer())
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


def _arrays_of(rule: ShardFormat, index: ShardIndex) -> dict[str, Any]:
    meta = {
        "format": rule.version,
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
        "header_crcs": index.crcs,
    }
    return arrays if index.labels is None else {**arrays, "labels": index.labels.values}


def _read_index(path: Path, rule: ShardFormat) -> ShardIndex | None:
    """Return what was kept; None if there is none, or it is damaged or of another version."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:  # CRCs are compared
            meta = json.loads(arrays["meta"].tobytes())
            if meta["format"] != rule.version or meta["rule"] != rule.text:
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


def check_index_folder(shards: Iterable[str], index_folder: Path | None) -> None:
    """Make the folder; raises ValueError if shards of a store have none."""
    if index_folder is not None:
        index_folder.mkdir(parents=True, exist_ok=True)
    elif any(map(is_remote, shards)):
        raise ValueError(
            "Shards of a store need an `index_folder` on this machine: nothing is written into "
            "the store."
        )
