"""Weights of classes, as weights of the samples that are of them."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .tasks import Task

ClassWeight = Literal["balanced"] | Mapping[str, float] | Mapping[int, float]


def class_weights(
    class_weight: ClassWeight | None, task: Task, labels: NDArray[Any]
) -> NDArray[np.float32] | None:
    """Return the weight of each class, or None for equal ones.

    Parameters
    ----------
    class_weight : "balanced", dict or None
        "balanced": samples / (classes * samples of the class), as scikit-learn has it. A dict: by
        class name or number; classes it leaves out weigh 1.
    task : Task
        Single-label or binary: elsewhere a sample is of no single class.
    labels : (n,) integers of the training samples

    Raises
    ------
    ValueError
        If the task has no single classes, a class is unknown, a weight is negative, or no training
        sample is of a class that "balanced" would weigh.
    """
    if class_weight is None:
        return None
    if task.name not in ("single-label", "binary"):
        raise ValueError(
            f"`class_weight` is for single-label and binary tasks; this is {task.name}. Give the "
            "source `weights`, one for each picture."
        )
    if isinstance(class_weight, str):
        return _balanced(class_weight, task, labels)
    weights = np.ones(len(task.outputs), np.float32)
    for key, value in class_weight.items():
        weights[_place_of(key, task)] = _checked_weight(key, value)
    return weights


def _balanced(class_weight: str, task: Task, labels: NDArray[Any]) -> NDArray[np.float32]:
    if class_weight != "balanced":
        raise ValueError(f'`class_weight` must be "balanced", a dict or None, got {class_weight!r}')
    counts = np.bincount(labels.astype(np.int64).ravel(), minlength=len(task.outputs))
    if not counts.all():
        missing = [task.outputs[place] for place in np.flatnonzero(counts == 0)]
        raise ValueError(f'class_weight="balanced": no training picture is of {missing}.')
    weights: NDArray[np.float32] = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights


def _place_of(key: Any, task: Task) -> int:
    if key in task.outputs:
        return task.outputs.index(key)
    if isinstance(key, int | np.integer) and 0 <= key < len(task.outputs):
        return int(key)
    raise ValueError(f"`class_weight` has {key!r}; the classes are {list(task.outputs)}.")


def _checked_weight(key: Any, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise ValueError(f"`class_weight` of {key!r} must be a number of at least 0, got {value!r}")
    return float(value)
