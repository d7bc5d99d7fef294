"""The rows of one Parquet file: how many in which group, their labels, and those that lack one."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .parquet_columns import (
    Mask,
    is_null,
    label_values,
    name_values,
    shard_labels,
    weight_values,
    without_label,
)
from .parquet_file import (
    Footer,
    StoredFile,
    UnfitError,
    column_type,
    image_column,
    open_parquet,
    pictures_of,
    read_footer,
)
from .shard_store import ShardStore
from .tar_labels import ShardLabels


class ColumnRule(NamedTuple):
    """Which columns are read.

    Attributes
    ----------
    image : str
    label, weight, name : str or None
    """

    image: str
    label: str | None = None
    weight: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class FileRows:
    """What is known of a file without its pictures.

    Attributes
    ----------
    footer : Footer
    image_column : str
        The path of the column with the bytes.
    group_sizes : (g,) int64
        Rows of each row group.
    kept : (k,) int64
        The rows that lack nothing.
    labels : ShardLabels or None
        Of those that are kept, as the weights.
    weights : (k,) float32, or None
    names : list of bytes, or None
        Of all rows, UTF-8.
    class_names : list of str or None
        What Hugging Face's `datasets` wrote down for the label column.
    defects : list of (row, message)
    """

    footer: Footer
    image_column: str
    group_sizes: NDArray[np.int64]
    kept: NDArray[np.int64]
    labels: ShardLabels | None
    weights: NDArray[np.float32] | None
    names: list[bytes] | None
    class_names: list[str] | None
    defects: list[tuple[int, str]]

    @property
    def num_rows(self) -> int:
        """How many rows the file has, those that lack something too."""
        return int(self.group_sizes.sum())


def list_rows(store: ShardStore, path: str, rule: ColumnRule) -> FileRows:
    """Read the footer of a file, and its labels, weights and names, but no pictures.

    Which pictures are null is counted in the footer; a group is read only if some of it are. Of a
    file whose writer counted nothing all pictures are believed to be there.

    Parameters
    ----------
    store : ShardStore
    path : str
        Path or URL.
    rule : ColumnRule

    Raises
    ------
    ValueError
        If it is no whole Parquet file, or has not these columns. Names it.
    OSError
        If it cannot be read.
    """
    try:
        file = StoredFile(store, path, store.stamp(path))
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return _rows_of(file, rule)
    except (MemoryError, ModuleNotFoundError):
        raise
    except UnfitError as error:
        raise ValueError(f"The file {path} {error}.") from error
    except Exception as error:
        if file.failure is not None:
            raise _unreadable(path, file.failure) from error
        raise ValueError(f"The file {path} is damaged; pyarrow says: {error}") from error


def _unreadable(path: str, error: OSError) -> OSError:
    kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
    hint = ""
    if isinstance(error, IsADirectoryError):
        hint = f" The files of a folder are named by a pattern: {path}/*.parquet."
    return kind(f"The file {path} cannot be read ({error.strerror or error}).{hint}")


def _rows_of(file: StoredFile, rule: ColumnRule) -> FileRows:
    footer, metadata = read_footer(file)
    groups = range(metadata.num_row_groups)
    sizes = np.array([metadata.row_group(group).num_rows for group in groups], np.int64)
    with open_parquet(file, metadata) as parquet:
        schema = parquet.schema_arrow
        column = image_column(schema, rule.image)
        table = _read_others(parquet, rule)
        rows = _Rows(int(sizes.sum()))
        rows.check(_without_picture(parquet, column, sizes), f"no picture in column {column!r}")
    if rule.label is not None:
        rows.add_labels(table.column(rule.label), rule.label)
    if rule.weight is not None:
        rows.add_weights(table.column(rule.weight), rule.weight)
    if rule.name is not None:
        rows.add_names(table.column(rule.name), rule.name)
    class_names = None if rule.label is None else _class_names(schema, rule.label)
    return rows.finished(footer, column, sizes, class_names)


def _read_others(parquet: Any, rule: ColumnRule) -> Any:
    """Read the columns that are not pictures."""
    wanted = []
    for argument in ("label", "weight", "name"):
        column = getattr(rule, argument)
        if column is not None:
            column_type(parquet.schema_arrow, column, argument)
            wanted.append(column)
    return parquet.read(columns=wanted, use_threads=False) if wanted else None


class _Rows:
    """Collects the columns of a file, and which rows lack something."""

    def __init__(self, count: int) -> None:
        self._lacking = np.zeros(count, np.bool_)
        self._defects: list[tuple[int, str]] = []
        self._labels: Any = None
        self._weights: NDArray[np.float64] | None = None
        self._names: list[bytes] | None = None

    def check(self, lacking: Mask, what: str, values: Any = None) -> None:
        """Note rows that lack something, unless they lack something else already."""
        for row in np.flatnonzero(lacking & ~self._lacking).tolist():
            value = None if values is None else values[row].as_py()
            self._defects.append((row, f"has {what} ({value!r})"))
        self._lacking |= lacking

    def add_labels(self, values: Any, column: str) -> None:
        """Take in the labels."""
        self._labels = label_values(values, column)
        self.check(without_label(self._labels), f"no label in column {column!r}", values)

    def add_weights(self, values: Any, column: str) -> None:
        """Take in the weights."""
        self._weights = weight_values(values, column)
        bad = ~(np.isfinite(self._weights) & (self._weights >= 0))
        self.check(bad, f"no weight of at least 0 in column {column!r}", values)

    def add_names(self, values: Any, column: str) -> None:
        """Take in the names."""
        self._names = name_values(values, column)
        counts = Counter(name for name in self._names if name)
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            raise UnfitError(f"has the name {twice.decode()!r} twice in column {column!r}")
        self.check(
            np.array([not name for name in self._names], bool), f"no name in column {column!r}"
        )

    def finished(
        self,
        footer: Footer,
        column: str,
        sizes: NDArray[np.int64],
        class_names: list[str] | None,
    ) -> FileRows:
        """Return what is known, without the rows that lack something."""
        kept = np.flatnonzero(~self._lacking)
        return FileRows(
            footer,
            column,
            sizes,
            kept,
            None if self._labels is None else shard_labels(self._labels.take(kept)),
            None if self._weights is None else self._weights[kept].astype(np.float32),
            self._names,
            class_names,
            sorted(self._defects),
        )


def _without_picture(parquet: Any, column: str, sizes: NDArray[np.int64]) -> Mask:
    """Tell which pictures are null, by the counts in the footer where these suffice."""
    nulls = np.zeros(int(sizes.sum()), np.bool_)
    metadata, stop = parquet.metadata, 0
    paths = [metadata.schema.column(leaf).path for leaf in range(metadata.num_columns)]
    leaf = paths.index(column)
    for group, size in enumerate(sizes.tolist()):
        start, stop = stop, stop + size
        statistics = metadata.row_group(group).column(leaf).statistics
        if statistics is None or not statistics.has_null_count or not statistics.null_count:
            continue
        if statistics.null_count == size:
            nulls[start:stop] = True
        else:
            nulls[start:stop] = is_null(pictures_of(parquet, group, column, size))
    return nulls


def _class_names(schema: Any, label: str) -> list[str] | None:
    """Return the names of a `ClassLabel`, which `datasets` keeps beside the schema."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list and names else None
