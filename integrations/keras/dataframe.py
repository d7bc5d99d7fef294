"""Augmented batches of the image files that a frame names, with its labels or targets.

The frame is read once, at construction: a batch needs a few arrays, and its labels are gathered
without a Python loop.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import (
    array_columns,
    check_types,
    list_column,
    number_column,
    some_of,
    take,
    warn_if_not_finite,
)
from .files import BatchFromFilesMixin
from .iterators import Iterator
from .listing import find_files, join_all, tell, warn, warn_about_case, why_rejected
from .settings import floatx, image_data_format

_LABELLED = ("binary", "categorical", "sparse")
_DEPRECATED = {
    "has_ext": "file names in the frame have to be those on disk, with their extension.",
    "sort": "with `shuffle=False` the batches have the order of the frame.",
    "drop_duplicates": "drop them from the frame first: `frame.drop_duplicates(x_col)`.",
}


class DataFrameIterator(BatchFromFilesMixin, Iterator):
    """Augmented batches of the image files named in a column of a frame.

    Files are looked for once, here, and read with Pillow, on the pool's threads, when their batch
    is made. The frame is not changed, its index is ignored, and equal rows are all kept.

    Parameters
    ----------
    dataframe : pandas.DataFrame
        Or anything else whose columns are had by their names: a polars frame, a pyarrow table, a
        dict of lists.
    directory : path or None
        Where relative paths of `x_col` begin; None is the current folder. Absolute paths stay as
        they are.
    image_data_generator : ImageDataGenerator or None
        None resizes the images and does nothing else.
    x_col : str
        Column of the files' paths.
    y_col : str or list of str
        Column of the labels or targets; a list for `multi_output` and, if you like, `raw`.
    weight_col : str or None
        Column of the samples' weights, a batch's third part; not used without labels.
    target_size : (int, int)
        Height and width to which every image is resized.
    color_mode : str
        `rgb`, `rgba` or `grayscale`.
    classes : list of str or None
        The classes, in this order; other labels are left out, and rows of which none is left.
        None takes all labels, sorted.
    class_mode : str or None
        `categorical`: one-hot, (batch, classes) in `dtype`; a cell is one label, or a list or
        tuple of labels. `binary` and `sparse`: indices, (batch,) in `dtype`. `raw`: the values of
        `y_col` as they are. `multi_output`: a tuple of arrays, one for each column. `input`: a
        copy of the images. None: no labels.
    batch_size, shuffle, seed
        As in `Iterator`.
    data_format, dtype : str or None
        None takes Keras' settings.
    save_to_dir, save_prefix, save_format
        As in `NumpyArrayIterator`.
    subset : str or None
        `"validation"` is the first `validation_split` of the rows that are left, `"training"`
        the rest.
    interpolation, keep_aspect_ratio, use_fused_resize
        As in `DirectoryIterator`.
    validate_filenames : bool
        Leave out rows whose file is missing or of another format. Without, a missing file is
        noticed when its batch is made.

    Raises
    ------
    KeyError
        If a column is missing.
    TypeError
        If a path or label is not a string, `y_col` is no list for `multi_output`, or weights are
        not numbers.
    ValueError
        If an argument is not one that exists, `binary` does not meet two classes, or no row of
        the frame can be used.

    Warns
    -----
    UserWarning
        If files are missing, `classes` is not used, labels differ by case only, or weights or
        targets are not finite.
    """

    allowed_class_modes = frozenset(
        {"binary", "categorical", "input", "multi_output", "raw", "sparse", None}
    )

    def __init__(
        self,
        dataframe: Any,
        directory: Any = None,
        image_data_generator: Any = None,
        x_col: str = "filename",
        y_col: Any = "class",
        weight_col: str | None = None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = "channels_last",
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = "float32",
        validate_filenames: bool = True,
        *,
        use_fused_resize: bool = False,
    ):
        self.set_processing_attrs(
            image_data_generator,
            target_size,
            color_mode,
            data_format or image_data_format(),
            save_to_dir,
            save_prefix,
            save_format,
            subset,
            interpolation,
            keep_aspect_ratio,
            use_fused_resize=use_fused_resize,
        )
        self.directory = directory or ""
        self.class_mode = class_mode
        self.dtype = dtype or floatx()
        _check_class_mode(class_mode, y_col, self.allowed_class_modes)
        names = list_column(dataframe, x_col, "x_col")
        _check_names(names, x_col)
        cells = _read_labels(dataframe, y_col, class_mode, classes)
        weights = None if not weight_col else number_column(dataframe, weight_col, "weight_col")
        paths = join_all(self.directory, names)
        rows = np.arange(len(names))
        if validate_filenames:
            rows = self._rows_with_files(paths, x_col)
        if cells is not None:
            rows, cells, classes = _filter_classes(cells, rows, y_col, classes)
            self.class_indices = {name: index for index, name in enumerate(classes)}
        if self.split:
            rows = rows[int(self.split[0] * len(rows)) : int(self.split[1] * len(rows))]
        if cells is not None:
            self._set_classes(take(cells, rows))
        self._set_targets(dataframe, y_col, rows)
        self._sample_weight = None
        if weights is not None:
            self._sample_weight = weights[rows]
            warn_if_not_finite(self._sample_weight, rows, weight_col, "weight_col")
        self.filenames = take(names, rows)
        self.samples = len(self.filenames)
        self._filepaths = take(paths, rows)
        self._report(validate_filenames)
        super().__init__(self.samples, batch_size, shuffle, seed)

    def _rows_with_files(self, paths: list[str], x_col: str) -> NDArray[np.intp]:
        found = find_files(paths, self.white_list_formats)
        num_invalid = len(paths) - int(found.sum())
        if num_invalid:
            first = int(np.argmin(found))
            reason = why_rejected(paths[first], self.white_list_formats)
            where = f"Row {first}, counted from 0, is {paths[first]!r}: {reason}."
            if num_invalid == len(paths):
                _refuse_all(num_invalid, x_col, self.directory, where)
            warn(
                f'Found {num_invalid} invalid image filename(s) in x_col="{x_col}". '
                f"These filename(s) will be ignored. {where}"
            )
        return np.flatnonzero(found)

    def _set_classes(self, cells: list[Any]) -> None:
        indices = self.class_indices
        if set(map(type, cells)) <= {str}:
            self.classes = list(map(indices.__getitem__, cells))
        else:
            self.classes = [
                indices[cell] if isinstance(cell, str) else [indices[label] for label in cell]
                for cell in cells
            ]
        self._label_index = _LabelIndex.of(self.classes)

    def _set_targets(self, frame: Any, y_col: Any, rows: NDArray[np.intp]) -> None:
        if self.class_mode == "raw":
            self._targets: Any = array_columns(frame, y_col, "y_col")[rows]
            for name, values in _named_columns(self._targets, y_col):
                warn_if_not_finite(values, rows, name, "y_col")
        elif self.class_mode == "multi_output":
            self._targets = [_output(frame, name, rows) for name in y_col]

    def _report(self, is_validated: bool) -> None:
        message = f"Found {self.samples} {'' if is_validated else 'non-'}validated image filenames"
        if self.class_mode in _LABELLED:
            message += f" belonging to {len(self.class_indices)} classes"
        tell(f"{message}.")

    def _make_labels(self, index_array: NDArray[np.intp], batch_x: NDArray[Any]) -> Any:
        if self.class_mode == "categorical":
            return self._label_index.one_hot(index_array, len(self.class_indices), self.dtype)
        if self.class_mode in _LABELLED:
            return self._label_index.indices[index_array].astype(self.dtype)
        if self.class_mode == "raw":
            return self._targets[index_array]
        if self.class_mode == "multi_output":
            # Keras makes a list, which its own `fit` refuses when it runs on TensorFlow.
            return tuple(output[index_array] for output in self._targets)
        return batch_x.copy()

    @property
    def filepaths(self) -> list[str]:
        """Paths of the image files: the directory joined with each of `filenames`."""
        return self._filepaths

    @property
    def labels(self) -> Any:
        """The targets of `raw` and `multi_output`, else `classes`: a list of class indices."""
        return self._targets if self.class_mode in ("raw", "multi_output") else self.classes

    @property
    def sample_weight(self) -> NDArray[Any] | None:
        """The weight of every file, or None."""
        return self._sample_weight


class _LabelIndex(NamedTuple):
    """Class indices of all samples in one array; sample i has those from starts[i] on."""

    indices: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, classes: list[Any]) -> _LabelIndex:
        """Join the classes of samples that have one each, or a list."""
        if not any(isinstance(entry, list) for entry in classes):
            return cls(np.array(classes, np.intp), np.arange(len(classes) + 1))
        lists = [entry if isinstance(entry, list) else [entry] for entry in classes]
        lengths = np.fromiter(map(len, lists), np.intp, len(lists))
        joined = np.array([index for entry in lists for index in entry], np.intp)
        return cls(joined, np.concatenate(([0], np.cumsum(lengths))))

    def one_hot(self, chosen: NDArray[np.intp], num_classes: int, dtype: Any) -> NDArray[Any]:
        """Return (len(chosen), num_classes) of 0 and 1."""
        first = self.starts[chosen]
        lengths = self.starts[chosen + 1] - first
        rows = np.repeat(np.arange(len(chosen)), lengths)
        before = np.cumsum(lengths) - lengths  # labels of the batch's earlier samples
        places = np.arange(len(rows)) + np.repeat(first - before, lengths)
        labels = np.zeros((len(chosen), num_classes), dtype)
        labels[rows, self.indices[places]] = 1
        return labels


def read_deprecated(keywords: Mapping[str, Any], class_mode: str | None) -> str | None:
    """Warn of what old scripts pass to `flow_from_dataframe`; return today's `class_mode`.

    Raises
    ------
    TypeError
        If a keyword never existed. Keras drops it, and the typing error goes unnoticed.
    """
    for name in keywords:
        if name not in _DEPRECATED:
            raise TypeError(f"flow_from_dataframe() got an unexpected keyword argument {name!r}.")
        warnings.warn(f"`{name}` is deprecated: {_DEPRECATED[name]}", DeprecationWarning, 3)
    if class_mode == "other":
        message = '`class_mode="other"` is deprecated, please use `class_mode="raw"`.'
        warnings.warn(message, DeprecationWarning, 3)
        return "raw"
    return class_mode


def _check_class_mode(class_mode: Any, y_col: Any, allowed: frozenset[str | None]) -> None:
    if class_mode not in allowed:
        raise ValueError(
            f'Invalid class_mode: {class_mode}; expected one of: "binary", "categorical", '
            '"input", "multi_output", "raw", "sparse", None.'
        )
    if class_mode == "multi_output" and not isinstance(y_col, list):
        raise TypeError(
            'If class_mode="multi_output", y_col must be a list of column names. '
            f"Received {type(y_col).__name__}: {y_col!r}."
        )


def _check_names(names: list[Any], x_col: str) -> None:
    check_types(
        names,
        str,
        f"All values in column x_col={x_col} must be strings.",
        f"Drop rows without a file, `frame.dropna(subset=[{x_col!r}])`; turn paths into strings "
        f"with `frame[{x_col!r}].astype(str)`.",
    )


def _read_labels(frame: Any, y_col: Any, class_mode: str | None, classes: Any) -> list[Any] | None:
    if class_mode not in _LABELLED:
        if classes:
            warn(f'`classes` will be ignored given the class_mode="{class_mode}".')
        return None
    cells = list_column(frame, y_col, "y_col")
    _check_labels(cells, y_col, class_mode)
    if class_mode == "binary":
        _check_two(classes or set(cells), "were given" if classes else "were found")
    return cells


def _check_labels(cells: list[Any], y_col: Any, class_mode: str) -> None:
    is_multi = class_mode == "categorical"
    check_types(
        cells,
        (str, list, tuple) if is_multi else str,
        f'If class_mode="{class_mode}", y_col="{y_col}" column values must be '
        f"{'type string, list or tuple' if is_multi else 'strings'}.",
        f"Drop rows without a label, `frame.dropna(subset=[{y_col!r}])`; turn numbers that stand "
        f'for classes into strings with `.astype(str)`, or keep them with `class_mode="raw"`.',
    )


def _check_two(classes: Any, how: str) -> None:
    names = sorted(set(classes))
    if len(names) != 2:
        raise ValueError(
            'If class_mode="binary" there must be 2 classes. '
            f"{len(names)} {how}: {some_of(names)}. "
            'More classes need `class_mode="sparse"` or `"categorical"`.'
        )


def _filter_classes(
    cells: list[Any], rows: NDArray[np.intp], y_col: Any, classes: Any
) -> tuple[NDArray[np.intp], list[Any], list[Any]]:
    """Return the rows that keep a label, all cells without other labels, and the classes."""
    found = _labels_of(take(cells, rows))
    given = list(dict.fromkeys(classes or ()))
    if not found <= set(given):
        warn_about_case([*given, *found.difference(given)], f"labels of y_col={y_col}")
    if not given:
        return rows, cells, _in_order(found, y_col)
    allowed = set(given)
    cells = [_keep(cell, allowed) for cell in cells]
    kept = rows[[cells[row] is not None for row in rows]]
    if len(rows) and not len(kept):
        raise ValueError(
            f"Found 0 rows of the given `classes` {some_of(given)}: the labels of "
            f"y_col={y_col} are {some_of(_in_order(found, y_col))}."
        )
    return kept, cells, given


def _labels_of(cells: Sequence[Any]) -> set[Any]:
    labels = {cell for cell in cells if isinstance(cell, str)}
    labels.update(label for cell in cells if not isinstance(cell, str) for label in cell)
    return labels


def _in_order(labels: set[Any], y_col: Any) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        raise TypeError(
            f"The labels of y_col={y_col} are of several types, so that they have no order: "
            f"{some_of(sorted(labels, key=lambda label: (type(label).__name__, str(label))), 20)}."
        ) from error


def _keep(cell: Any, classes: set[Any]) -> Any:
    """Return the part of a cell that is in `classes`, or None."""
    if isinstance(cell, str):
        return cell if cell in classes else None
    return [label for label in cell if label in classes] or None


def _refuse_all(count: int, x_col: str, directory: Any, where: str) -> None:
    raise ValueError(
        f"Found 0 validated image filenames: all {count} in x_col={x_col} are invalid, looked for "
        f"in the directory {os.fspath(directory) or os.curdir!r}. {where}"
    )


def _named_columns(targets: NDArray[Any], y_col: Any) -> list[tuple[Any, NDArray[Any]]]:
    if isinstance(y_col, list):
        return [(name, targets[:, place]) for place, name in enumerate(y_col)]
    return [(y_col, targets)]


def _output(frame: Any, name: str, rows: NDArray[np.intp]) -> NDArray[Any]:
    """Return one of several targets; cells that are lists of one length give it more axes."""
    values = take(list_column(frame, name, "y_col"), rows)
    try:
        output = np.array(values)
    except ValueError as error:
        raise ValueError(
            f"The cells of column y_col={name} must all have one shape to become an array: {error}"
        ) from error
    warn_if_not_finite(output, rows, name, "y_col")
    return output
