"""What sources of shards share: the records of all shards, one after the other, and their names."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .decode import ColorMode
from .encoded import DecodeWay, EncodedSource, check_choice
from .errors import SampleError
from .packed import PackedNames
from .shard_index import Place, ShardFormat, ShardIndex, check_index_folder, open_indices
from .shard_list import Shards, list_shards, short_names
from .shard_store import ShardStore, Stamp
from .shards import block_sizes, defective, place_of, select_rows
from .tar_labels import combine

_Source = TypeVar("_Source", bound="ShardSource")


class Record(NamedTuple):
    """Where a sample is, and what it is called in messages."""

    shard: str
    stamp: Stamp
    place: Place
    name: str


class ShardSource(EncodedSource):
    """The base of sources whose pictures lie in shards: a subclass says how one is read.

    Parameters
    ----------
    shards : path, or sequence of paths
        See `list_shards`.
    rule : ShardFormat
        What is looked for in them.
    store : ShardStore
    class_names : sequence of str, optional
        Default: the texts that occur, sorted; none where labels are numbers.
    index_folder : path, optional
        Default: beside the shards.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
    on_error : {"raise", "skip"}
        What to do with records that lack something.
    threads : int, optional
        For the indices.
    separator : str
        Between the shard and the key in a name.

    Raises
    ------
    FileNotFoundError
        If a shard is not there, or nothing fits a pattern.
    ValueError
        If a shard is not whole, or of another format; if a record lacks something, a label is none
        of `class_names`, or there are no pictures.
    OSError
        If a shard cannot be read.

    Attributes
    ----------
    shards : list of str
        Paths and URLs.
    skipped : list of (name, message)
        Records that were left out.
    """

    def __init__(
        self,
        shards: Shards,
        rule: ShardFormat,
        store: ShardStore,
        *,
        class_names: Sequence[str] | None,
        index_folder: str | os.PathLike[str] | None,
        color_mode: ColorMode,
        decode: DecodeWay,
        on_error: Literal["raise", "skip"],
        threads: int | None,
        separator: str = "/",
    ) -> None:
        super().__init__(color_mode=color_mode, decode=decode)
        check_choice("on_error", on_error, ("raise", "skip"))
        self._store, self._separator = store, separator
        self.shards = list_shards(shards, store)
        self._shard_names = short_names(self.shards)
        folder = None if index_folder is None else Path(index_folder)
        check_index_folder(self.shards, folder)
        indices = open_indices(store, self.shards, rule, folder, threads)
        self._list_defects(indices, on_error)
        self._set_records(indices)
        self._set_labels(indices, class_names)

    def _list_defects(self, indices: list[ShardIndex], on_error: str) -> None:
        self.skipped = [
            (f"{shard}{self._separator}{key}", message)
            for shard, index in zip(self._shard_names, indices, strict=True)
            for key, message in index.defects
        ]
        count = sum(map(len, indices))
        if self.skipped and on_error == "raise":
            raise defective("records", self.skipped, count)
        if not count:
            raise ValueError(
                f"The {len(indices)} shards hold no pictures ({self.shards[0]} the first)."
            )

    def _set_records(self, indices: list[ShardIndex]) -> None:
        """Join the indices of all shards: some 30 bytes a picture, and its key."""
        counts = [len(index) for index in indices]
        self._stamps = [index.stamp for index in indices]
        self._first_rows = np.cumsum([0, *counts], dtype=np.int64)
        self._starts = np.concatenate([index.starts for index in indices])
        self._lengths = np.concatenate([index.lengths for index in indices])
        self._crcs = np.concatenate([index.crcs for index in indices])
        self._keys = np.concatenate([index.keys for index in indices])
        self._key_offsets = _joined_offsets([index.key_offsets for index in indices])
        self._rows = np.arange(sum(counts), dtype=np.int64)

    def _set_labels(self, indices: list[ShardIndex], class_names: Sequence[str] | None) -> None:
        filled = [(i, index.labels) for i, index in enumerate(indices) if len(index)]
        labels = [found for _, found in filled if found is not None]
        if class_names is not None and (not labels or isinstance(class_names, str)):
            raise ValueError(
                f"`class_names` must be a list of names, given with `label`; got {class_names!r}."
            )
        if labels and len(labels) < len(filled):
            without = next(i for i, found in filled if found is None)
            raise ValueError(f"The shard {self.shards[without]} has no labels; others have.")
        if labels:
            self.labels, self.class_names = combine(labels, self.names, class_names)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> "RecordNames":
        """The records, as "shard.tar/key"; made when asked for."""
        keys = PackedNames(self._keys, self._key_offsets, self._rows)
        return RecordNames(
            keys, self._shard_names, self._first_rows, self._rows, separator=self._separator
        )

    @property
    def block_sizes(self) -> NDArray[np.int64]:
        """How many neighbouring pictures lie in one shard, (k,): what a `BlockShuffle` takes."""
        return block_sizes(self._rows, self._first_rows)

    def _record(self, sample_id: int) -> Record:
        row = self._rows[sample_id]
        shard = place_of(row, self._first_rows)
        path, keys = self.shards[shard], PackedNames(self._keys, self._key_offsets, self._rows)
        place = Place(int(self._starts[row]), int(self._lengths[row]), int(self._crcs[row]))
        name = f"{path}{self._separator}{keys[sample_id]}"
        return Record(path, self._stamps[shard], place, name)

    def select(self: _Source, sample_ids: ArrayLike) -> _Source:
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans
        """
        return select_rows(self, sample_ids)


class RecordNames(Sequence[str]):
    """The names of records, made one at a time.

    Parameters
    ----------
    keys : PackedNames
    shard_names : list of str
    first_rows : (s + 1,) int64
        The first record of each shard.
    rows : (n,) int64
        Which records are in this sequence.
    separator : str
        Between shard and key.
    """

    def __init__(
        self,
        keys: PackedNames,
        shard_names: list[str],
        first_rows: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        separator: str,
    ) -> None:
        self._keys, self._shard_names, self._separator = keys, shard_names, separator
        self._first_rows, self._rows = first_rows, rows

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "RecordNames": ...
    def __getitem__(self, index: int | slice) -> "str | RecordNames":
        if isinstance(index, slice):
            rows, keys = self._rows[index], self._keys[index]
            return RecordNames(
                keys, self._shard_names, self._first_rows, rows, separator=self._separator
            )
        shard = place_of(self._rows[index], self._first_rows)
        return f"{self._shard_names[shard]}{self._separator}{self._keys[index]}"

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"RecordNames([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} names)"


def _joined_offsets(offsets: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    lengths = np.concatenate([np.diff(part) for part in offsets])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def unreadable(name: str, error: OSError | ValueError) -> SampleError:
    """Return the error of a record that a shard no longer gives as it was indexed."""
    reason: object = error
    if isinstance(error, OSError):
        reason = f"cannot be read: {error.strerror or error}"
    return SampleError(
        f"{name} {reason}. Restore the shard, or make the source anew, which indexes what was "
        "changed."
    )
