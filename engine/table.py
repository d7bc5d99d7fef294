"""Pictures that a table lists: a data frame, a dict of columns, or a CSV file."""

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .csv_columns import numbers_if_all_are, read_csv, split_texts
from .decode import ColorMode
from .encoded import DecodeWay
from .files import FileSource
from .sources import checked_ids
from .table_labels import TableTask, plain, read_labels


class TableSource(FileSource):
    """The picture files that a table lists, with their labels.

    Parameters
    ----------
    table : mapping
        Anything with ``table[column]``: a pandas or polars data frame, a pyarrow Table, a dict of
        lists, a structured array.
    folder : path
        Where the relative paths of the table begin.
    path : str
        The column of the files.
    label : str or sequence of str, optional
        The column, or columns, of the labels; which task they are for is seen from the values:

        - one column of text or whole numbers: one class per picture, int64 labels;
        - one column of lists or sets of class names, or several columns of zeros and ones: any
          number of classes per picture, (n, k) uint8 labels;
        - one or several columns of numbers: a regression, (n,) or (n, k) float32 labels.
    weight : str, optional
        The column of the sample weights.
    group : str, optional
        A column that says what must stay together when the samples are split, such as the patient.
    class_names : sequence of str, optional
        The classes of a single label column, in this order; a column of whole numbers then counts
        them from 0. Default: the values that occur, sorted. Needed where another table may name
        other classes.
    task : {"single-label", "multi-label", "regression"}, optional
        Where the values mislead: whole numbers to be predicted are a "regression".
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
        As for `FolderSource`.
    on_missing : {"raise", "skip"}
        What to do with rows whose file is not there.

    Raises
    ------
    FileNotFoundError
        If the folder or, with ``on_missing="raise"``, a file is not there.
    ValueError
        If a column or a value is missing, or a label does not fit the others.

    Attributes
    ----------
    names : list of str
        Paths within `folder` where a file is below it, as the table writes them otherwise.
    labels : array or None
    task : str or None
    class_names : list of str
        Of several columns, and of numbers: the names of the columns.
    weights : (n,) float32, or None
    groups : list of str, or None
        For ``stratified_split(..., groups=source.groups)``.
    missing : list of str
        Files that were left out because they are not there.
    """

    def __init__(
        self,
        table: Any,
        folder: str | os.PathLike[str] = ".",
        *,
        path: str = "path",
        label: str | Sequence[str] | None = None,
        weight: str | None = None,
        group: str | None = None,
        class_names: Sequence[str] | None = None,
        task: TableTask | None = None,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_missing: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(folder, color_mode=color_mode, decode=decode)
        if on_missing not in ("raise", "skip"):
            raise ValueError(f'`on_missing` must be "raise" or "skip", got {on_missing!r}.')
        label_columns = [label] if isinstance(label, str) else list(label or [])
        others = [column for column in (weight, group) if column is not None]
        columns = _read_columns(table, [path, *label_columns, *others])
        names = _names(columns[path], path, os.path.join(os.path.abspath(folder), ""))
        kept = self._list_files(names, is_skipping=on_missing == "skip")
        columns = {name: [values[i] for i in kept] for name, values in columns.items()}
        self.task: TableTask | None = None
        if label_columns:
            labels = {name: columns[name] for name in label_columns}
            self.task, self.class_names, self.labels = read_labels(
                labels, self.names, task, class_names
            )
        if weight is not None:
            self.weights = _weights(columns[weight], weight, self.names)
        self.groups = None if group is None else _groups(columns[group], group, self.names)

    def _list_files(self, names: list[str], *, is_skipping: bool) -> list[int]:
        """Set `names` and `missing`; return the rows that are kept."""
        missing = set(_missing_files(self._root, names))
        if missing and (not is_skipping or len(missing) == len(names)):
            raise FileNotFoundError(
                f"{len(missing)} of the table's {len(names)} files are not there: "
                f"{_first(sorted(missing))} (looked for below {self.folder}). Correct `folder` or "
                'the table; on_missing="skip" leaves such rows out, if others remain.'
            )
        kept = [row for row, name in enumerate(names) if name not in missing]
        self.names = [names[row] for row in kept]
        self.missing = [name for name in names if name in missing]
        return kept

    @classmethod
    def from_csv(
        cls,
        file: str | os.PathLike[str],
        folder: str | os.PathLike[str] | None = None,
        *,
        label_separator: str | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8-sig",
        **options: Any,
    ) -> "TableSource":
        """Read the table from a CSV file whose first line names the columns.

        Parameters
        ----------
        file : path
        folder : path, optional
            Where relative paths begin. Default: the folder of the CSV file.
        label_separator : str, optional
            What stands between the classes of a picture that has several: ";" for "cat;outdoors".
            An empty field is then a picture without any.
        delimiter, encoding : str
            Of the CSV file.
        **options
            As for `TableSource`.

        Raises
        ------
        FileNotFoundError, ValueError
            As for `TableSource`, and if the file is missing, empty, or a line has more or fewer
            fields than the first.

        Notes
        -----
        Label and weight columns that hold only numbers are read as numbers, unless `class_names`
        lists their values or they have leading zeros.
        """
        table: dict[str, list[Any]] = dict(read_csv(file, delimiter, encoding))
        label = options.get("label")
        labels = [label] if isinstance(label, str) else list(label or [])
        class_names = set(options.get("class_names") or ())
        for column in [*labels, options.get("weight")]:
            if column not in table:
                continue
            if label_separator is not None and column in labels:
                table[column] = split_texts(table[column], label_separator)
            elif not class_names.issuperset(table[column]):
                table[column] = numbers_if_all_are(table[column])
        return cls(table, os.path.dirname(file) or "." if folder is None else folder, **options)

    def select(self, sample_ids: ArrayLike) -> "TableSource":
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans
        """
        selected = super().select(sample_ids)
        if self.groups is not None:
            selected.groups = [self.groups[i] for i in checked_ids(sample_ids, len(self))]
        return selected


def _read_columns(table: Any, wanted: list[str]) -> dict[str, list[Any]]:
    """Return columns of anything that has columns as lists of Python's own types."""
    available = _column_names(table)
    for column in wanted:
        if column not in available:
            raise ValueError(f"The table has no column {column!r}; it has {_first(available, 20)}.")
    columns = {column: _values(table[column]) for column in wanted}
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"The columns must be of one length, and not empty; got {lengths}.")
    return columns


def _column_names(table: Any) -> list[Any]:
    if isinstance(table, np.ndarray) and table.dtype.names:
        return list(table.dtype.names)
    if callable(getattr(table, "to_pylist", None)):
        return list(table.column_names)  # of pyarrow, whose `columns` are the values
    names = getattr(table, "columns", None)  # of a data frame
    if names is None and hasattr(table, "keys"):
        names = table.keys()
    if names is None or not hasattr(table, "__getitem__"):
        raise TypeError(
            "`table` must be a data frame, a pyarrow Table, a dict of lists or a structured array, "
            f"got {type(table).__name__}. For a CSV file use TableSource.from_csv."
        )
    return list(names)


def _values(column: Any) -> list[Any]:
    for method in ("to_pylist", "to_list"):  # pyarrow; pandas and polars
        if hasattr(column, method):
            column = getattr(column, method)()
            break
    return [plain(value) for value in column]


def _names(values: list[Any], column: str, root: str) -> list[str]:
    """Write paths with forward slashes, from `root` on where they lie below it."""
    for row, value in enumerate(values):
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise ValueError(f"Row {row} of the table has no file in column {column!r}: {value!r}.")
    paths = [os.fspath(value).removeprefix(root) for value in values]
    return [path.replace(os.sep, "/") for path in paths]


def _missing_files(root: str, names: list[str]) -> list[str]:
    """Return the names that are no files; each folder is listed once, which asks for none alone."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[os.path.dirname(name)].append(name)
    missing = []
    for folder, members in by_folder.items():
        listed = _files_in(os.path.join(root, folder))
        unlisted = (name for name in members if os.path.basename(name) not in listed)
        # the file system may not care about case, or write an accent in two letters
        missing += [name for name in unlisted if not os.path.isfile(os.path.join(root, name))]
    return missing


def _files_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_dir()}
    except OSError:  # not there, or not to be listed: its files are looked for one by one
        return set()


def _weights(values: list[Any], column: str, names: list[str]) -> NDArray[np.float32]:
    for value, name in zip(values, names, strict=True):
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(
                f"{name} has {value!r} in column {column!r}; a weight is a number of at least 0."
            )
    return np.array(values, np.float32)


def _groups(values: list[Any], column: str, names: list[str]) -> list[str]:
    for value, name in zip(values, names, strict=True):
        if not isinstance(value, str | int) or value == "":
            raise ValueError(
                f"{name} has {value!r} in column {column!r}; a group is named by text or a whole "
                "number."
            )
    return [str(value) for value in values]


def _first(values: Sequence[Any], count: int = 5) -> str:
    more = f" and {len(values) - count} more" if len(values) > count else ""
    return ", ".join(map(repr, values[:count])) + more
