"""Pictures in Parquet files: read by row groups, of which the last ones stay in memory."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .decode import ColorMode
from .encoded import DecodeWay, EncodedSource, check_choice
from .errors import SampleError
from .packed import PackedNames
from .parquet_cache import GroupCache, GroupCacheInfo
from .parquet_file import parquet_module, read_pictures
from .parquet_rows import ColumnRule, FileRows, list_rows
from .retry import Retry
from .shard_list import Shards, list_shards, short_names
from .shard_store import ShardStore
from .shards import block_sizes, defective, open_each, place_of, select_rows
from .tar_labels import ShardLabels, combine

RETRY = Retry()
CACHE_BYTES = 2**28


class ParquetSource(EncodedSource):
    """The encoded pictures of a column of Parquet files, read by pyarrow.

    A Parquet file is read by the row group: the first picture of a group that is asked for reads
    and decompresses the pictures of all its rows (and no other column), and the groups that were
    read last stay in memory. So an order that keeps to few groups at a time reads each once an
    epoch, while one that jumps among more than fit reads a whole group for each picture:

    >>> shuffle = BlockShuffle(source.block_sizes, window=16)  # doctest: +SKIP
    >>> loader = Loader(source, augmenter, shuffle=shuffle)  # doctest: +SKIP

    May be pickled, and used after a fork; both start with no groups in memory.

    Parameters
    ----------
    shards : path, or sequence of paths
        Files, or URLs that fsspec reads ("s3://bucket/data.parquet"). Each may be a pattern:
        "data-{00..99}.parquet", "train/*.parquet".
    label : str, optional
        The column of the labels: text, whole numbers, or numbers (regression).
    image : str
        The column of the pictures: binary, or a struct with a binary field `bytes`, as Hugging
        Face's `datasets` writes them.
    weight : str, optional
        The column of the sample weights.
    name : str, optional
        A column of text or whole numbers that names the pictures, so that a split stays as it is
        when the files are written anew. Default: the file and the row.
    class_names : sequence of str, optional
        The classes. Labels of text are looked up in it, whole numbers count it from 0. Default: the
        names that `datasets` wrote down; else the texts that occur, sorted, and none for numbers.
    storage_options : dict, optional
        For fsspec: keys, an endpoint, time limits.
    cache_bytes : int
        How much memory the groups may take that are kept; the last one is kept anyway. What is
        being read comes on top: for each thread a group, as it is stored and decompressed.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
        As for `FolderSource`.
    on_error : {"raise", "skip"}
        What to do with rows without a picture, label, weight or name. A file that is cut off or
        damaged is always refused.
    threads : int, optional
        For the labels. Default: all that the process may use; 16 for URLs.

    Raises
    ------
    FileNotFoundError
        If a file is not there, or nothing fits a pattern.
    ModuleNotFoundError
        If pyarrow is not installed.
    ValueError
        If a file is no whole Parquet file, has not these columns, has labels that the first one
        cannot have, or is named twice; if a row lacks something, or a label is none of
        `class_names`; if there are no pictures.
    OSError
        If a file cannot be read: from a store, after asking again several times.

    Attributes
    ----------
    shards : list of str
        Paths and URLs of the files.
    names : sequence of str
        "file.parquet/row", counted from 0, or those of the column.
    labels : (n,) int64, float32 for fractions, or None
    weights : (n,) float32, or None
    class_names : list of str
    skipped : list of (name, message)
        Rows that were left out, by file and row.
    """

    def __init__(
        self,
        shards: Shards,
        label: str | None = None,
        *,
        image: str = "image",
        weight: str | None = None,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        storage_options: dict[str, Any] | None = None,
        cache_bytes: int = CACHE_BYTES,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_error: Literal["raise", "skip"] = "raise",
        threads: int | None = None,
    ) -> None:
        super().__init__(color_mode=color_mode, decode=decode)
        check_choice("on_error", on_error, ("raise", "skip"))
        _check_class_names(class_names, label)
        parquet_module()
        self._cache = GroupCache(_checked_bytes(cache_bytes))
        self._store = ShardStore(storage_options, RETRY)
        self.shards = list_shards(shards, self._store)
        self._file_names = short_names(self.shards)
        rule = ColumnRule(image, label, weight, name)
        listed = open_each(self.shards, lambda file: list_rows(self._store, file, rule), threads)
        self._set_rows(listed, on_error)
        self._set_fields(listed, class_names)

    def _set_rows(self, listed: list[FileRows], on_error: str) -> None:
        """Join the rows of all files: 8 bytes a picture, and its name where a column holds it."""
        self.skipped = [
            (f"{file}/{row}", message)
            for file, rows in zip(self._file_names, listed, strict=True)
            for row, message in rows.defects
        ]
        num_kept = sum(len(rows.kept) for rows in listed)
        if self.skipped and on_error == "raise":
            raise defective("rows", self.skipped, num_kept)
        if not num_kept:
            raise ValueError(
                f"The {len(listed)} files hold no pictures ({self.shards[0]} the first)."
            )
        self._footers = [rows.footer for rows in listed]
        self._image_columns = [rows.image_column for rows in listed]
        self._first_rows = _starts([rows.num_rows for rows in listed])
        self._first_groups = _starts([len(rows.group_sizes) for rows in listed])
        self._group_starts = _starts(np.concatenate([rows.group_sizes for rows in listed]))
        kept = zip(self._first_rows, listed, strict=False)
        self._rows = np.concatenate([first + rows.kept for first, rows in kept])

    def _set_fields(self, listed: list[FileRows], class_names: Sequence[str] | None) -> None:
        self._name_column = _joined_names(listed)
        labels = [rows.labels for rows in listed if rows.labels is not None]
        if labels:
            _check_same_kind(self.shards, labels)
            if class_names is None:
                class_names = _shared_class_names(self.shards, listed)
            self.labels, self.class_names = combine(labels, self.names, class_names)
        weights = [rows.weights for rows in listed if rows.weights is not None]
        self.weights = np.concatenate(weights) if weights else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> "PackedNames | RowNames":
        """The pictures, as "file.parquet/row", or as their column says; made when asked for."""
        if self._name_column is not None:
            return PackedNames(*self._name_column, self._rows)
        return RowNames(self._file_names, self._first_rows, self._rows)

    @property
    def block_sizes(self) -> NDArray[np.int64]:
        """How many neighbouring pictures lie in one row group, (k,): for a `BlockShuffle`."""
        return block_sizes(self._rows, self._group_starts)

    def cache_info(self) -> GroupCacheInfo:
        """Return how many row groups were read, and how much memory those take that are kept.

        More reads in an epoch than there are groups say that the order jumps among more groups
        than fit: use a `BlockShuffle`, a smaller window of it, or more `cache_bytes`.
        """
        return self._cache.info()

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one picture, and what to call it.

        Raises
        ------
        SampleError
            If its row group cannot be read or decompressed, or the file is another now. Names file,
            row and row group.
        """
        row = int(self._rows[sample_id])
        group = place_of(row, self._group_starts)
        file = place_of(group, self._first_groups)
        row_in_file = row - int(self._first_rows[file])
        group_in_file = group - int(self._first_groups[file])
        name = f"{self.shards[file]}/{row_in_file} (row group {group_in_file})"
        try:
            pictures = self._cache.get(group, self._read_group)
        except MemoryError:
            raise
        except Exception as error:  # pyarrow raises many kinds for damaged pages
            raise SampleError(
                f"{name} cannot be read: {getattr(error, 'strerror', None) or error}. Restore the "
                "file, or make the source anew if it was replaced."
            ) from error
        data: bytes | None = pictures[row - int(self._group_starts[group])].as_py()
        if data is None:
            raise SampleError(f"{name} has no picture (null). Leave the row out of the file.")
        return data, name

    def _read_group(self, group: int) -> Any:
        """Read the pictures of a row group, numbered over all files."""
        file = place_of(group, self._first_groups)
        return read_pictures(
            self._store,
            self.shards[file],
            self._footers[file],
            group - int(self._first_groups[file]),
            self._image_columns[file],
            int(self._group_starts[group + 1] - self._group_starts[group]),
        )

    def select(self, sample_ids: ArrayLike) -> "ParquetSource":
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans

        Notes
        -----
        Both keep their row groups in one cache.
        """
        return select_rows(self, sample_ids)


class RowNames(Sequence[str]):
    """The names of rows, made one at a time.

    Parameters
    ----------
    file_names : list of str
    first_rows : (f + 1,) int64
        The first row of each file.
    rows : (n,) int64
        Which rows are in this sequence, counted over all files.
    """

    def __init__(
        self, file_names: list[str], first_rows: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        self._file_names, self._first_rows, self._rows = file_names, first_rows, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "RowNames": ...
    def __getitem__(self, index: int | slice) -> "str | RowNames":
        if isinstance(index, slice):
            return RowNames(self._file_names, self._first_rows, self._rows[index])
        row = int(self._rows[index])
        file = place_of(row, self._first_rows)
        return f"{self._file_names[file]}/{row - int(self._first_rows[file])}"

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"RowNames([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} names)"


def _starts(sizes: ArrayLike) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _joined_names(listed: list[FileRows]) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    names = [name for rows in listed for name in rows.names or []]
    if not names:
        return None
    return np.frombuffer(b"".join(names), np.uint8), _starts([len(name) for name in names])


def _check_same_kind(files: list[str], labels: list[ShardLabels]) -> None:
    """Refuse text in one file and numbers in another; an empty one has neither."""
    filled = [(file, one) for file, one in zip(files, labels, strict=True) if len(one.values)]
    first, expected = filled[0]
    for file, found in filled:
        if (found.texts is None) != (expected.texts is None):
            raise ValueError(
                f"The labels of {file} are {found.kind}, those of {first} {expected.kind}. "
                "Write one of them anew, or read them as two sources."
            )


def _shared_class_names(files: list[str], listed: list[FileRows]) -> list[str] | None:
    """Return the class names that are written down in the files; raises if they differ."""
    first, expected = files[0], listed[0].class_names
    for file, rows in zip(files, listed, strict=True):
        if rows.class_names != expected:
            raise ValueError(
                f"{file} says that the classes are {rows.class_names}, {first} says {expected}; a "
                "label would mean two things. Give `class_names` if they are the same after all."
            )
    return expected


def _check_class_names(class_names: Any, label: str | None) -> None:
    if class_names is not None and (label is None or isinstance(class_names, str)):
        raise ValueError(
            f"`class_names` must be a list of names, given with `label`; got {class_names!r}."
        )


def _checked_bytes(cache_bytes: Any) -> int:
    is_whole = isinstance(cache_bytes, int | np.integer) and not isinstance(cache_bytes, bool)
    if not is_whole or cache_bytes < 0:
        raise ValueError(f"`cache_bytes` must be a number of bytes, got {cache_bytes!r}.")
    return int(cache_bytes)
