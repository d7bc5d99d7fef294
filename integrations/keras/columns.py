"""Columns of a frame as lists and arrays, checked; pandas, polars and the like, none imported."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .listing import warn


def list_column(frame: Any, name: Any, argument: str) -> list[Any]:
    """Return the values of one column as a new list.

    Parameters
    ----------
    frame : frame
        Anything whose columns are had by ``frame[name]``.
    name : str
    argument : str
        The argument that named the column, for messages.

    Raises
    ------
    KeyError
        If there is no such column, as pandas does.
    TypeError
        If `frame` is a path, or `name` stands for several columns.
    """
    column = _column(frame, name, argument)
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def number_column(frame: Any, name: Any, argument: str) -> NDArray[Any]:
    """Return the values of one column of numbers, in the column's dtype.

    Raises
    ------
    TypeError
        If they are not numbers.
    """
    column = _column(frame, name, argument)
    values = _to_numpy(column)
    scalar = getattr(getattr(column, "dtype", None), "type", None)
    if values.dtype == object and isinstance(scalar, type) and issubclass(scalar, np.number):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)  # pandas' Int64 with a gap
    if not np.issubdtype(values.dtype, np.number):
        raise TypeError(
            f"Column {argument}={name} must be numeric, got {values.dtype}{_first_of(values)}. "
            f"Convert it first: `frame[{name!r}] = frame[{name!r}].astype(float)`."
        )
    return values


def array_columns(frame: Any, names: Any, argument: str) -> NDArray[Any]:
    """Return one column as (rows,), or a list of columns as (rows, columns)."""
    if isinstance(names, list):
        columns = [_to_numpy(_column(frame, name, argument)) for name in names]
        is_frame = hasattr(frame, "to_numpy")  # pandas and polars: they know a common dtype
        return _to_numpy(frame[names]) if is_frame else np.stack(columns, axis=1)
    return _to_numpy(_column(frame, names, argument))


def check_types(
    values: list[Any], types: type | tuple[type, ...], message: str, advice: str
) -> None:
    """Refuse a column with a value of another type, naming the first such row.

    Raises
    ------
    TypeError
    """
    if all(issubclass(kind, types) for kind in set(map(type, values))):
        return
    for row, value in enumerate(values):
        if not isinstance(value, types):
            raise TypeError(
                f"{message} Row {row}, counted from 0, has {value!r} ({type(value).__name__}). "
                f"{advice}"
            )


def warn_if_not_finite(
    values: NDArray[Any], rows: NDArray[np.intp], name: Any, argument: str
) -> None:
    """Warn of numbers that would turn the loss into NaN.

    Parameters
    ----------
    values : array, first axis rows
    rows : (rows,) int
        Their places in the frame, for the message.
    name, argument : str
        The column, and the argument that named it.
    """
    wrong = _is_not_finite(values)
    if wrong.any():
        first = int(np.argmax(wrong))
        warn(
            f"Column {argument}={name} has {wrong.sum()} value(s) that are missing or not finite, "
            f"the first in row {rows[first]}, counted from 0: {values[first]}. The loss will not "
            f"be finite either; drop those rows, or fill them: `frame[{name!r}].fillna(...)`."
        )


def take(values: list[Any], rows: NDArray[np.intp]) -> list[Any]:
    """Return the values of these rows."""
    return list(map(values.__getitem__, rows.tolist()))


def some_of(names: Collection[Any], limit: int = 5) -> str:
    """Write out the first few names, for a message."""
    shown = ", ".join(repr(name) for name in list(names)[:limit])
    return shown + (", ..." if len(names) > limit else "")


def _column(frame: Any, name: Any, argument: str) -> Any:
    if isinstance(frame, (str, os.PathLike)):
        raise TypeError(
            f"`dataframe` must be a frame, got the path {os.fspath(frame)!r}. "
            "Read it first: `pandas.read_csv(path, dtype=str)`."
        )
    if isinstance(name, list):
        raise TypeError(
            f"`{argument}` must be the name of one column, got the list {name}. "
            'Several target columns need `class_mode="raw"` or `"multi_output"`.'
        )
    try:
        column = frame[name]
    except KeyError as error:
        names = [column for column in getattr(frame, "columns", frame) if isinstance(column, str)]
        raise KeyError(
            f"The frame has no column {name!r} ({argument}); it has {some_of(names, 20)}."
        ) from error
    if getattr(column, "ndim", 1) != 1:
        raise TypeError(f"The frame has several columns of the name {name!r} ({argument}).")
    return column


def _to_numpy(column: Any) -> NDArray[Any]:
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)


def _first_of(values: NDArray[Any]) -> str:
    return f"; the first value is {values[0]!r}" if len(values) else ""


def _is_not_finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind in "fc":
        wrong = ~np.isfinite(values)
    elif values.dtype == object:
        wrong = np.frompyfunc(_is_gap, 1, 1)(values).astype(bool)
    else:
        wrong = np.zeros(len(values), bool)
    return np.asarray(wrong.any(axis=tuple(range(1, wrong.ndim))))


def _is_gap(value: Any) -> bool:
    if isinstance(value, float):
        return not np.isfinite(value)
    return value is None or type(value).__name__ == "NAType"  # pandas.NA
