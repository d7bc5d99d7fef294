"""How good predictions are: the usual figures of classes and of quantities, as NumPy formulas.

A figure that is not defined (the precision of a class that was never predicted) is NaN, not 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def confusion_counts(
    labels: NDArray[Any], predicted: NDArray[Any], num_classes: int
) -> NDArray[np.int64]:
    """Count pairs (true class, predicted class).

    Parameters
    ----------
    labels, predicted : (n,) integers from 0 to num_classes - 1
    num_classes : int

    Returns
    -------
    (num_classes, num_classes) int64
        A row is a true class, a column a predicted one.
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def precision_recall_f1(
    truth: NDArray[np.bool_], said: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Return precision, recall and F1 of each column.

    Parameters
    ----------
    truth, said : (n, k) bool
        Whether a picture is of a class, and whether that was predicted.

    Returns
    -------
    three (k,) float64
    """
    hits = (truth & said).sum(axis=0)
    num_true, num_said = truth.sum(axis=0), said.sum(axis=0)
    return (
        _ratio(hits, num_said),
        _ratio(hits, num_true),
        _ratio(2 * hits, num_true + num_said),
    )


def average_precision(truth: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """Return the area under the steps of precision over recall.

    Parameters
    ----------
    truth : (n,) bool
    scores : (n,) float
        The higher, the likelier; equal ones are one step.

    Returns
    -------
    float
        NaN if nothing is true.
    """
    hits, given = _hits_by_threshold(truth, scores)
    if hits[-1] == 0:
        return float("nan")
    recall = hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / given))


def area_under_roc(truth: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """Return the chance that something true scores higher than something false.

    Parameters
    ----------
    truth : (n,) bool
    scores : (n,) float
        Equal ones count half.

    Returns
    -------
    float
        NaN if all or none are true.
    """
    hits, given = _hits_by_threshold(truth, scores)
    misses = given - hits
    if hits[-1] == 0 or misses[-1] == 0:
        return float("nan")
    heights = (hits + np.concatenate([[0], hits[:-1]])) / 2  # the trapezium rule
    area = np.sum(heights * np.diff(misses, prepend=0))
    return float(area / (hits[-1] * misses[-1]))


def regression_errors(values: Floats, predicted: Floats) -> tuple[Floats, Floats, Floats]:
    """Return mean absolute error, root mean squared error and R2 of each column.

    Parameters
    ----------
    values, predicted : (n, k) float
        In the unit of the quantity.

    Returns
    -------
    three (k,) float64
        R2 is 1 where all is right and 0 where the mean would do as well; NaN for a quantity that
        is the same everywhere.
    """
    errors = predicted - values
    squares = np.square(errors).sum(axis=0)
    spread = np.square(values - values.mean(axis=0)).sum(axis=0)
    return np.abs(errors).mean(axis=0), np.sqrt(squares / len(values)), 1 - _ratio(squares, spread)


def _hits_by_threshold(
    truth: NDArray[np.bool_], scores: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lower the threshold score by score: how many are true so far, and how many there are."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_equals = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits: NDArray[np.int64] = np.cumsum(truth[order])[last_of_equals]
    return hits, last_of_equals + 1


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole != 0)
    return ratio
