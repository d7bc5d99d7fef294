"""From columns of a table to labels: classes, several labels a picture, or numbers."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

TableTask = Literal["single-label", "multi-label", "regression"]


class TableLabels(NamedTuple):
    """The labels of a table.

    Attributes
    ----------
    task : {"single-label", "multi-label", "regression"}
    class_names : list of str
        Of a regression: the names of its columns.
    labels : array
        (n,) int64, (n, k) uint8 of zeros and ones, or (n,) or (n, k) float32.
    """

    task: TableTask
    class_names: list[str]
    labels: NDArray[Any]


def read_labels(
    columns: dict[str, list[Any]],
    names: Sequence[str],
    task: TableTask | None = None,
    class_names: Sequence[str] | None = None,
) -> TableLabels:
    """Turn label columns into an array.

    Parameters
    ----------
    columns : dict of lists
        One entry per file in each.
    names : sequence of str
        The files, for messages.
    task : {"single-label", "multi-label", "regression"}, optional
        Default: what the values look like. One column of text or whole numbers: single-label; of
        lists or sets: multi-label; of floats: regression. Several columns: multi-label if they
        hold only zeros and ones, else regression.
    class_names : sequence of str, optional
        The classes of a single column, in this order. Default: those that occur, sorted.

    Raises
    ------
    ValueError
        If a value is missing, does not fit the task, or is none of `class_names`.
    """
    if task is not None and task not in get_args(TableTask):
        raise ValueError(f"`task` must be one of {list(get_args(TableTask))}, got {task!r}.")
    for column, values in columns.items():
        _check_values(column, values, names)
    task = task or _guess_task(list(columns.values()))
    if class_names is not None:
        _check_class_names(class_names, task, len(columns))
    if task == "regression":
        return _numbers(columns, names)
    if len(columns) > 1:
        return _flags(columns, names, task)
    ((column, values),) = columns.items()
    if task == "single-label":
        return _classes(column, values, names, class_names)
    return _sets(column, values, names, class_names)


def plain(value: Any) -> Any:
    """Return NumPy's scalars and arrays as Python's numbers and lists."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _is_set(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _check_values(column: str, values: list[Any], names: Sequence[str]) -> None:
    """Refuse missing values, and what no label can be."""
    for value, name in zip(values, names, strict=True):
        is_label = isinstance(value, str | int | float) or _is_set(value)
        if not is_label or value == "" or (isinstance(value, float) and math.isnan(value)):
            raise ValueError(
                f"{name} has no label in column {column!r} (it holds {value!r}). Fill it in, or "
                "leave the row out of the table."
            )


def _guess_task(columns: list[list[Any]]) -> TableTask:
    values = [value for column in columns for value in column]
    if any(_is_set(value) for value in values):
        return "multi-label"
    if len(columns) > 1:
        return "multi-label" if all(value in (0, 1) for value in values) else "regression"
    return "regression" if any(isinstance(value, float) for value in values) else "single-label"


def _check_class_names(class_names: Sequence[str], task: TableTask, num_columns: int) -> None:
    if task == "regression" or num_columns > 1:
        raise ValueError(
            "`class_names` are for one column of classes; several columns, and numbers, are named "
            f"by their columns. Got {class_names!r}."
        )
    if isinstance(class_names, str) or not class_names or len(set(class_names)) < len(class_names):
        raise ValueError(f"`class_names` must list different names, got {class_names!r}.")


def _numbers(columns: dict[str, list[Any]], names: Sequence[str]) -> TableLabels:
    for column, values in columns.items():
        for value, name in zip(values, names, strict=True):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(
                    f"{name} has {value!r} in column {column!r}; a regression needs a finite "
                    "number in every row."
                )
    labels = np.array(list(columns.values()), np.float32).T
    return TableLabels("regression", list(columns), labels[:, 0] if len(columns) == 1 else labels)


def _flags(columns: dict[str, list[Any]], names: Sequence[str], task: TableTask) -> TableLabels:
    """Read a column of zeros and ones for each label."""
    if task == "single-label":
        raise ValueError(
            f"A single label comes from one column, got {list(columns)}. Name one, or use "
            'task="multi-label".'
        )
    for column, values in columns.items():
        for value, name in zip(values, names, strict=True):
            if _is_set(value) or value not in (0, 1):
                raise ValueError(
                    f"{name} has {value!r} in column {column!r}; several label columns hold 0 or "
                    "1 each."
                )
    labels = np.array(list(columns.values()), np.uint8).T
    return TableLabels("multi-label", list(columns), np.ascontiguousarray(labels))


def _classes(
    column: str, values: list[Any], names: Sequence[str], class_names: Sequence[str] | None
) -> TableLabels:
    """Read one class per row: text, whole numbers, or indices into the given names."""
    _check_one_type(column, values, names)
    index = _index(values, class_names)
    if len(index) < 2 and class_names is None:
        raise ValueError(
            f"Column {column!r} holds one class only, {values[0]!r}. If that is meant, pass "
            "`class_names`."
        )
    labels = np.array(_indices(column, values, names, index), np.int64)
    return TableLabels("single-label", _texts(class_names or index), labels)


def _sets(
    column: str, values: list[Any], names: Sequence[str], class_names: Sequence[str] | None
) -> TableLabels:
    """Read a list of class names per row, which may be empty."""
    for value, name in zip(values, names, strict=True):
        if not _is_set(value):
            raise ValueError(
                f"{name} has {value!r} in column {column!r}; several labels in one column are a "
                "list or a set of names (of text: `text.split(';')`)."
            )
    owners = [name for value, name in zip(values, names, strict=True) for _ in value]
    members = [plain(member) for value in values for member in value]
    if not members and class_names is None:
        raise ValueError(f"No row of column {column!r} names a class.")
    _check_values(column, members, owners)
    _check_one_type(column, members, owners)
    index = _index(members, class_names)
    labels = np.zeros((len(values), len(index)), np.uint8)
    rows = np.repeat(np.arange(len(values)), [len(value) for value in values])
    labels[rows, _indices(column, members, owners, index)] = 1
    return TableLabels("multi-label", _texts(class_names or index), labels)


def _check_one_type(column: str, values: list[Any], names: Sequence[str]) -> None:
    """Refuse what is not a class, and text among numbers."""
    is_text = bool(values) and isinstance(values[0], str)
    for value, name in zip(values, names, strict=True):
        if not isinstance(value, str if is_text else int):
            raise ValueError(
                f"{name} has {value!r} in column {column!r}; classes are all text or all whole "
                "numbers."
            )


def _index(values: list[Any], class_names: Sequence[Any] | None) -> dict[Any, int]:
    """Give each class its number: the given ones, or those that occur, sorted.

    Whole numbers among given names are the names, where those are whole numbers too, as written in
    another table; else they count the names from 0.
    """
    if class_names is None or not values or not isinstance(values[0], int):
        return {value: number for number, value in enumerate(class_names or sorted(set(values)))}
    if all(_is_whole(name) for name in class_names):
        return {int(name): number for number, name in enumerate(class_names)}
    return {number: number for number in range(len(class_names))}


def _is_whole(name: Any) -> bool:
    return isinstance(name, int) or re.fullmatch(r"-?\d+", str(name)) is not None


def _indices(
    column: str, values: list[Any], names: Sequence[str], index: dict[Any, int]
) -> list[int]:
    for value, name in zip(values, names, strict=True):
        if value not in index:
            raise ValueError(
                f"{name} has {value!r} in column {column!r}, which is none of the classes "
                f"{list(index)[:20]}."
            )
    return [index[value] for value in values]


def _texts(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values]
