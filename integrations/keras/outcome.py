"""Predictions beside labels, and what they come to: a table, a confusion matrix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scores import (
    area_under_roc,
    average_precision,
    confusion_counts,
    precision_recall_f1,
    regression_errors,
)
from .tasks import Task

THRESHOLD = 0.5  # a probability above it says yes, as in Keras' BinaryAccuracy
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model predicted for labelled pictures.

    Parameters
    ----------
    task : Task
    predictions : (n, task.num_outputs) float32
    labels : (n,) or (n, k)
        As `Task` has them.
    """

    task: Task
    predictions: NDArray[np.float32]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def has_classes(self) -> bool:
        """Whether each picture is of exactly one class."""
        return self.task.name in ("single-label", "binary")

    @property
    def true_classes(self) -> NDArray[np.int64]:
        """The class of each picture, (n,); where `has_classes`."""
        classes: NDArray[np.int64] = self.labels.reshape(-1).astype(np.int64)
        return classes

    @property
    def predicted_classes(self) -> NDArray[np.int64]:
        """The likeliest class of each picture, (n,); where `has_classes`."""
        classes: NDArray[np.int64] = self.probabilities().argmax(axis=1).astype(np.int64)
        return classes

    def probabilities(self) -> NDArray[np.float32]:
        """Return one column for each class; of "binary" two."""
        if self.task.name != "binary":
            return self.predictions
        columns: NDArray[np.float32] = np.concatenate(
            [1 - self.predictions, self.predictions], axis=1
        )
        return columns

    def truth(self) -> NDArray[np.bool_]:
        """Return whether each picture is of each class, (n, classes)."""
        if self.task.name == "multi-label":
            return self.labels.astype(np.bool_)
        return self._one_hot(self.true_classes)

    def said(self) -> NDArray[np.bool_]:
        """Return whether each class was predicted of each picture, (n, classes)."""
        if self.task.name == "multi-label":
            return self.predictions > THRESHOLD
        return self._one_hot(self.predicted_classes)

    def confusion(self) -> NDArray[np.int64] | None:
        """Count (true, predicted) classes; None where a picture has not exactly one."""
        if not self.has_classes:
            return None
        num_classes = len(self.task.outputs)
        return confusion_counts(self.true_classes, self.predicted_classes, num_classes)

    def table(self) -> list[Row]:
        """Return a row of figures for each class, label or quantity.

        Returns
        -------
        list of dict
            Classes: class, precision, recall, f1, support (pictures that show it); labels and
            yes or no also average_precision and auc. Quantities: output, mean_absolute_error,
            root_mean_squared_error, r2. None where a figure is not defined.
        """
        return self._errors() if self.task.name == "regression" else self._class_rows()

    def values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return true and predicted quantities, both (n, k)."""
        shape = self.predictions.shape
        return self.labels.reshape(shape).astype(np.float64), self.predictions.astype(np.float64)

    def _one_hot(self, classes: NDArray[np.int64]) -> NDArray[np.bool_]:
        columns: NDArray[np.bool_] = classes[:, np.newaxis] == np.arange(len(self.task.outputs))
        return columns

    def _class_rows(self) -> list[Row]:
        truth, said, probabilities = self.truth(), self.said(), self.probabilities()
        figures = precision_recall_f1(truth, said)
        rows = []
        for k, name in enumerate(self.task.outputs):
            row: Row = {"class": name}
            for column, values in zip(("precision", "recall", "f1"), figures, strict=True):
                row[column] = _defined(values[k])
            row["support"] = int(truth[:, k].sum())
            if self.task.name != "single-label":
                scores = probabilities[:, k]
                row["average_precision"] = _defined(average_precision(truth[:, k], scores))
                row["auc"] = _defined(area_under_roc(truth[:, k], scores))
            rows.append(row)
        return rows

    def _errors(self) -> list[Row]:
        figures = regression_errors(*self.values())
        columns = ("mean_absolute_error", "root_mean_squared_error", "r2")
        return [
            {"output": name, **{c: _defined(f[k]) for c, f in zip(columns, figures, strict=True)}}
            for k, name in enumerate(self.task.outputs)
        ]


def column_means(table: list[Row]) -> Row:
    """Return the mean of each figure over the rows where it is defined: macro averages."""
    figures = [name for name in table[0] if name not in ("class", "output", "support")]
    means: Row = {}
    for name in figures:
        values = [row[name] for row in table if row[name] is not None]
        means[name] = float(np.mean(values)) if values else None
    return means


def _defined(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
