"""Pictures in WebDataset's tar shards: read one by one, in any order, from disks and stores."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .decode import ColorMode
from .encoded import DecodeWay, EncodedSource, check_choice
from .errors import SampleError
from .packed import PackedNames
from .retry import Retry
from .shard_list import Shards, list_shards, short_names
from .shard_store import ShardStore, is_remote
from .sources import checked_ids, select_fields
from .tar_index import IndexRule, ShardIndex, check_index_folder, header_fits, open_index
from .tar_labels import combine, label_rule
from .tar_members import BLOCK
from .threads import available_threads, run_slices

RETRY = Retry()
_REMOTE_THREADS = 16  # that index: they wait for the store, not for a core
_SHOWN = 3  # defects in a message


class TarSource(EncodedSource):
    """The pictures of tar shards, as WebDataset writes them.

    A shard is read once from end to end (a local one: only its headers), and where its pictures
    lie is kept in a small index file; from then on pictures are read where they lie, so that a
    `Loader` shuffles all of them and goes on exactly as with files. May be pickled, and used after
    a fork.

    Parameters
    ----------
    shards : path, or sequence of paths
        Files, or URLs that fsspec reads ("s3://bucket/data.tar"). Each may be a pattern:
        "data-{000000..000099}.tar", "train/*.tar".
    label : {"cls", "txt", "json:<field>"}, optional
        The member of each record that holds its label: a whole number, a text, or a field of a
        JSON object, which may be text or a number. None: there are no labels.
    class_names : sequence of str, optional
        The classes. Labels of text are looked up in it, whole numbers count it from 0. Default: the
        texts that occur, sorted; none where labels are numbers.
    image : str, optional
        Extension of the picture's member ("input.jpg"), where a record has several. Default: the
        one that is a picture's ("jpg", "png", "webp", ...).
    index_folder : path, optional
        Where the indices are kept; made if it is not there. Default: beside the shards. Needed for
        URLs.
    storage_options : dict, optional
        For fsspec: keys, an endpoint, time limits.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
        As for `FolderSource`.
    on_error : {"raise", "skip"}
        What to do with records without a picture, or without a label that can be read. A shard that
        is cut off or damaged is always refused.
    threads : int, optional
        For the indices. Default: all that the process may use; 16 for URLs.

    Raises
    ------
    FileNotFoundError
        If a shard is not there, or nothing fits a pattern.
    ValueError
        If a shard is no whole tar file, holds a key twice, or is named twice; if a record lacks its
        picture or label, or a label is none of `class_names`; if there are no pictures.
    OSError
        If a shard cannot be read: from a store, after asking again several times.

    Attributes
    ----------
    shards : list of str
        Paths and URLs.
    names : sequence of str
        "shard.tar/key". Where shards lie in several folders, from their common folder on.
    labels : (n,) int64, float32 for fractions, or None
    class_names : list of str
    skipped : list of (name, message)
        Records that were left out.
    """

    def __init__(
        self,
        shards: Shards,
        label: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        image: str | None = None,
        index_folder: str | os.PathLike[str] | None = None,
        storage_options: dict[str, Any] | None = None,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_error: Literal["raise", "skip"] = "raise",
        threads: int | None = None,
    ) -> None:
        super().__init__(color_mode=color_mode, decode=decode)
        check_choice("on_error", on_error, ("raise", "skip"))
        rule = IndexRule(label_rule(label), None if image is None else image.lstrip(".").lower())
        self._store = ShardStore(storage_options, RETRY)
        self.shards = list_shards(shards, self._store)
        self._shard_names = short_names(self.shards)
        folder = None if index_folder is None else Path(index_folder)
        check_index_folder(self.shards, folder)
        self._set_records(_open_all(self._store, self.shards, rule, folder, threads), on_error)
        self._set_labels(label, class_names)

    def _set_records(self, indices: list[ShardIndex], on_error: str) -> None:
        """Join the indices of all shards: some 30 bytes a picture, and its key."""
        self.skipped = [
            (f"{shard}/{key}", message)
            for shard, index in zip(self._shard_names, indices, strict=True)
            for key, message in index.defects
        ]
        self._indices = indices  # until the labels are made
        counts = [len(index) for index in indices]
        if self.skipped and on_error == "raise":
            raise _defective(self.skipped, sum(counts))
        if not sum(counts):
            raise ValueError(
                f"The {len(indices)} shards hold no pictures ({self.shards[0]} the first)."
            )
        self._stamps = [index.stamp for index in indices]
        self._first_rows = np.cumsum([0, *counts], dtype=np.int64)
        self._starts = np.concatenate([index.starts for index in indices])
        self._lengths = np.concatenate([index.lengths for index in indices])
        self._header_crcs = np.concatenate([index.header_crcs for index in indices])
        self._keys = np.concatenate([index.keys for index in indices])
        self._key_offsets = _joined_offsets([index.key_offsets for index in indices])
        self._rows = np.arange(sum(counts), dtype=np.int64)

    def _set_labels(self, label: str | None, class_names: Sequence[str] | None) -> None:
        if class_names is not None and (label is None or isinstance(class_names, str)):
            raise ValueError(
                f"`class_names` must be a list of names, given with `label`; got {class_names!r}."
            )
        labels = [index.labels for index in self._indices if index.labels is not None]
        del self._indices
        if labels:
            self.labels, self.class_names = combine(labels, self.names, class_names)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> "TarNames":
        """The records, as "shard.tar/key"; made when asked for."""
        keys = PackedNames(self._keys, self._key_offsets, self._rows)
        return TarNames(keys, self._shard_names, self._first_rows, self._rows)

    @property
    def block_sizes(self) -> NDArray[np.int64]:
        """How many neighbouring pictures lie in one shard, (k,): what a `BlockShuffle` takes."""
        shards = np.searchsorted(self._first_rows, self._rows, side="right")
        ends = np.flatnonzero(np.diff(shards)) + 1
        sizes: NDArray[np.int64] = np.diff(np.concatenate([[0], ends, [len(shards)]]))
        return sizes.astype(np.int64)

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one picture, read with its header, and what to call it.

        Raises
        ------
        SampleError
            If the shard cannot be read there, or is another than was indexed. Names shard, key and
            offset.
        """
        row = self._rows[sample_id]
        shard = _shard_of(row, self._first_rows)
        start, length = int(self._starts[row]), int(self._lengths[row])
        path, key = self.shards[shard], PackedNames(self._keys, self._key_offsets, self._rows)
        name = f"{path}/{key[sample_id]} (bytes {start} to {start + length})"
        try:
            block = self._store.read(path, start - BLOCK, BLOCK + length, self._stamps[shard])
        except OSError as error:
            raise SampleError(
                f"{name} cannot be read: {error.strerror or error}. Restore the shard, or make the "
                "source anew, which indexes what was changed."
            ) from error
        if not header_fits(block[:BLOCK], int(self._header_crcs[row])):
            raise SampleError(
                f"{name} is not there: the header before it is not the one that was indexed. The "
                "shard was replaced; make the source anew, which indexes it again."
            )
        return block[BLOCK:], name

    def select(self, sample_ids: ArrayLike) -> "TarSource":
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans
        """
        ids = checked_ids(sample_ids, len(self))
        selected = object.__new__(type(self))
        selected.__dict__.update(self.__dict__)  # copy.copy would pickle, and open the files anew
        selected._rows = self._rows[ids]
        select_fields(selected, ids)
        return selected


class TarNames(Sequence[str]):
    """The names of records, made one at a time.

    Parameters
    ----------
    keys : PackedNames
    shard_names : list of str
    first_rows : (s + 1,) int64
        The first record of each shard.
    rows : (n,) int64
        Which records are in this sequence.
    """

    def __init__(
        self,
        keys: PackedNames,
        shard_names: list[str],
        first_rows: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> None:
        self._keys, self._shard_names = keys, shard_names
        self._first_rows, self._rows = first_rows, rows

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "TarNames": ...
    def __getitem__(self, index: int | slice) -> "str | TarNames":
        if isinstance(index, slice):
            rows = self._rows[index]
            return TarNames(self._keys[index], self._shard_names, self._first_rows, rows)
        shard = _shard_of(self._rows[index], self._first_rows)
        return f"{self._shard_names[shard]}/{self._keys[index]}"

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"TarNames([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} names)"


def _shard_of(row: np.int64, first_rows: NDArray[np.int64]) -> int:
    """Return the shard of a record; shards without any begin where the next does."""
    return int(np.searchsorted(first_rows, row, side="right")) - 1


def _open_all(
    store: ShardStore,
    shards: list[str],
    rule: IndexRule,
    folder: Path | None,
    threads: int | None,
) -> list[ShardIndex]:
    indices: list[Any] = [None] * len(shards)

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            indices[i] = open_index(store, shards[i], rule, folder)

    if threads is None and any(map(is_remote, shards)):
        threads = max(_REMOTE_THREADS, available_threads())
    run_slices(work, len(shards), threads)
    return indices


def _joined_offsets(offsets: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    lengths = np.concatenate([np.diff(part) for part in offsets])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _defective(defects: list[tuple[str, str]], num_whole: int) -> ValueError:
    shown = "; ".join(f"{name} {message}" for name, message in defects[:_SHOWN])
    more = f"; and {len(defects) - _SHOWN} more" if len(defects) > _SHOWN else ""
    return ValueError(
        f"{len(defects)} of {len(defects) + num_whole} records lack something: {shown}{more}. "
        'Write those shards anew; on_error="skip" leaves such records out and lists them in '
        "`skipped`."
    )
