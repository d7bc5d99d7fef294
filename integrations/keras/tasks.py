"""What a model is to say of a picture: one class, several, yes or no, or numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from numpy.typing import NDArray

TaskName = Literal["single-label", "multi-label", "binary", "regression"]

ACTIVATIONS: dict[TaskName, str] = {
    "single-label": "softmax",
    "multi-label": "sigmoid",
    "binary": "sigmoid",
    "regression": "linear",
}
METRICS: dict[TaskName, tuple[str, ...]] = {
    "single-label": ("accuracy",),
    "multi-label": ("accuracy",),
    "binary": ("accuracy",),
    "regression": ("mean_absolute_error",),
}


@dataclass(frozen=True)
class Task:
    """A task, and the names of what is predicted.

    Attributes
    ----------
    name : {"single-label", "multi-label", "binary", "regression"}
    outputs : tuple of str
        The classes; of "binary" the one that 0 means and the one that 1 means; of "regression" the
        quantities.
    label_smoothing : float
        0 to below 1; 0 for regression.
    """

    name: TaskName
    outputs: tuple[str, ...]
    label_smoothing: float = 0.0

    @property
    def num_outputs(self) -> int:
        """Numbers that the model gives for each picture."""
        return 1 if self.name == "binary" else len(self.outputs)

    @property
    def activation(self) -> str:
        """The activation of the head's last layer."""
        return ACTIVATIONS[self.name]

    def loss(self) -> keras.Loss:
        """Return the usual loss: cross-entropies of probabilities, the mean squared error."""
        if self.name == "regression":
            return keras.losses.MeanSquaredError()
        if self.name != "single-label":
            return keras.losses.BinaryCrossentropy(label_smoothing=self.label_smoothing)
        if self.label_smoothing:
            return keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy()

    def metric(self, metric: str | keras.Metric) -> str | keras.Metric:
        """Return a metric; "accuracy" is the one of this task, which Keras would have to guess."""
        if metric not in ("accuracy", "acc") or self.name == "regression":
            return metric
        if self.name != "single-label":
            return keras.metrics.BinaryAccuracy(name="accuracy")
        if self.label_smoothing:
            return keras.metrics.CategoricalAccuracy(name="accuracy")
        return keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    def targets(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return labels (n,) or (n, k) as the loss wants them."""
        if self.name == "single-label":
            if not self.label_smoothing:
                return labels
            one_hot: NDArray[Any] = np.eye(len(self.outputs), dtype=np.float32)[labels]
            return one_hot
        columns: NDArray[Any] = labels.reshape(len(labels), self.num_outputs)
        return columns.astype(np.float32)


def find_task(name: str | None, source: Any, label_smoothing: float = 0.0) -> Task:
    """Say what the labels of a source are to be taken for, after checking that they can be.

    Parameters
    ----------
    name : str or None
        None: integers (n,) are classes, 0 and 1 in (n, k) are several classes at once, and floats
        are quantities.
    source
        With `labels`, and `class_names` where they have names.
    label_smoothing : float

    Raises
    ------
    ValueError
        If there are no labels, or they do not fit the task.
    """
    labels = source.labels
    if labels is None:
        raise ValueError(
            "`train_source` has no labels. Give ArraySource `labels`, one per picture."
        )
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"The labels are {labels.dtype}; numbers are needed: "
            "class_names, labels = np.unique(labels, return_inverse=True)."
        )
    found = _checked_name(name) if name is not None else _guess(labels)
    _CHECKS[found](labels)
    if found == "regression" and label_smoothing:
        raise ValueError(f"`label_smoothing` is for classes; got {label_smoothing} for regression.")
    names = list(getattr(source, "class_names", []))
    return Task(found, tuple(_OUTPUTS[found](labels, names)), label_smoothing)


def check_labels(task: Task, name: str, source: Any) -> None:
    """Refuse a source whose labels are not of the task, or of other classes.

    Raises
    ------
    ValueError
        Naming the argument, what was found, and what would be right.
    """
    labels = source.labels
    if labels is None:
        raise ValueError(f"`{name}` has no labels. Give ArraySource `labels`, one per picture.")
    _CHECKS[task.name](labels)
    names = list(getattr(source, "class_names", []))
    if names and tuple(names) != task.outputs:
        raise ValueError(
            f"The classes are {list(task.outputs)} in training, but {names} here. Give "
            f"classes={list(task.outputs)} to FolderSource, or class_names to TableSource."
        )
    if task.name == "single-label" and int(labels.max()) >= task.num_outputs:
        raise ValueError(
            f"There is a label {int(labels.max())}, but training had {task.num_outputs} classes, "
            "numbered from 0."
        )
    width = 1 if labels.ndim == 1 else labels.shape[1]
    if task.name in ("multi-label", "regression") and width != task.num_outputs:
        raise ValueError(
            f"`{name}` has {width} label(s) for each picture; training had {task.num_outputs}."
        )


def _checked_name(name: Any) -> TaskName:
    for known in get_args(TaskName):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"`task` must be one of {list(get_args(TaskName))} or None, got {name!r}.")


def _guess(labels: NDArray[Any]) -> TaskName:
    if labels.dtype.kind == "f" and not _are_bits(labels):
        return "regression"
    if labels.ndim == 1:
        return "single-label" if labels.dtype.kind in "iu" else "binary"
    if labels.ndim == 2 and labels.shape[1] == 1:
        return "binary"
    if labels.ndim == 2 and _are_bits(labels) and (labels.sum(axis=1) == 1).all():
        raise ValueError(
            f"Each row of the labels, {labels.shape}, has one 1: of one-hot labels take "
            'labels.argmax(axis=1); or say task="multi-label".'
        )
    return "multi-label"


def _are_bits(labels: NDArray[Any]) -> bool:
    return bool(np.isin(labels, (0, 1)).all())


def _check_classes(labels: NDArray[Any]) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"One integer label per picture is needed, got {labels.dtype} labels of shape "
            f"{labels.shape}. Of one-hot labels take labels.argmax(axis=1)."
        )
    if labels.min() < 0:
        raise ValueError(f"Labels must start at 0, got {labels.min()}.")


def _check_bits(labels: NDArray[Any]) -> None:
    if labels.ndim not in (1, 2) or not _are_bits(labels):
        raise ValueError(
            f"Labels must be 0 or 1, got {labels.dtype} labels of shape {labels.shape} with values "
            f"from {labels.min()} to {labels.max()}."
        )


def _check_yes_or_no(labels: NDArray[Any]) -> None:
    if labels.ndim == 2 and labels.shape[1] != 1:
        raise ValueError(f"Binary labels are (n,) of 0 and 1, got shape {labels.shape}.")
    _check_bits(labels)


def _check_several(labels: NDArray[Any]) -> None:
    if labels.ndim != 2:
        raise ValueError(
            f"Multi-label labels are (n, classes) of 0 and 1, got shape {labels.shape}."
        )
    _check_bits(labels)


def _check_numbers(labels: NDArray[Any]) -> None:
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iuf":
        raise ValueError(
            f"Regression needs (n,) or (n, k) numbers, got {labels.dtype} {labels.shape}."
        )
    if not np.isfinite(labels).all():
        raise ValueError("The labels hold NaN or infinity; leave those pictures out.")


_CHECKS = {
    "single-label": _check_classes,
    "multi-label": _check_several,
    "binary": _check_yes_or_no,
    "regression": _check_numbers,
}


def _names_of_classes(labels: NDArray[Any], names: Sequence[str]) -> Sequence[str]:
    found = names or [str(label) for label in range(int(labels.max()) + 1)]
    if len(found) < 2:
        raise ValueError(
            f"`train_source` has {len(found)} class(es), {list(found)}; two are needed."
        )
    return found


def _names_of_columns(labels: NDArray[Any], names: Sequence[str]) -> Sequence[str]:
    width = 1 if labels.ndim == 1 else labels.shape[1]
    found = names or [str(column) for column in range(width)]
    if len(found) != width:
        raise ValueError(f"There are {width} labels for each picture, but names {list(found)}.")
    return found


def _names_of_yes_or_no(labels: NDArray[Any], names: Sequence[str]) -> Sequence[str]:
    if names and len(names) != 2:
        raise ValueError(f"A binary task has two classes; `train_source` has {list(names)}.")
    return names or ("0", "1")


def _names_of_numbers(labels: NDArray[Any], names: Sequence[str]) -> Sequence[str]:
    if not names and (labels.ndim == 1 or labels.shape[1] == 1):
        return ("value",)
    return _names_of_columns(labels, names)


_OUTPUTS = {
    "single-label": _names_of_classes,
    "multi-label": _names_of_columns,
    "binary": _names_of_yes_or_no,
    "regression": _names_of_numbers,
}
