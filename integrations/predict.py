"""What a saved run says of single files: classes with probabilities, or quantities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine import Policy
from ..engine.decode import decode_image
from .copies import predict_source
from .keras.outcome import THRESHOLD
from .keras.tasks import Task
from .saved_run import SavedRun


@dataclass(frozen=True)
class Guess:
    """One class and its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Quantity:
    """One quantity of a regression."""

    label: str
    value: float


def predict_files(
    run: SavedRun,
    paths: Sequence[Path],
    *,
    top: int = 5,
    threshold: float = THRESHOLD,
    copies: int = 1,
    policy: Policy | None = None,
) -> list[list[Guess]] | list[list[Quantity]]:
    """Say what pictures show.

    Parameters
    ----------
    run : SavedRun
    paths : sequence of Path
    top : int
        How many classes for each picture, at least 1; where a picture is of one class.
    threshold : float
        0 to 1: the labels that are given; where a picture may have several.
    copies, policy
        See `predict_source`.

    Returns
    -------
    list of lists
        One class of many: the likeliest `top`, the likeliest first. Yes or no: the second class
        alone. Several labels: those above `threshold`, maybe none. Quantities: all of them.

    Raises
    ------
    ValueError
        If an argument makes no sense.
    FileNotFoundError, SampleError
        If a picture is not there or cannot be decoded; the message names it.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")
    predictions = predict_source(run, _Files(paths), copies=copies, policy=policy)
    if run.task.name == "regression":
        return [_quantities(row, run.task) for row in predictions]
    return [_guesses(row, run.task, top, threshold) for row in predictions]


class _Files:
    """Single files as a source."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
        path = self.paths[sample_id]
        if not path.is_file():
            raise FileNotFoundError(f"There is no picture {path}.")
        return decode_image(path.read_bytes(), str(path), min_size=min_size)


def _quantities(values: NDArray[Any], task: Task) -> list[Quantity]:
    return [Quantity(n, float(value)) for n, value in zip(task.outputs, values, strict=True)]


def _guesses(row: NDArray[Any], task: Task, top: int, threshold: float) -> list[Guess]:
    if task.name == "binary":
        return [Guess(task.outputs[1], float(row[0]))]
    order = np.argsort(-row, kind="stable")
    if task.name == "single-label":
        order = order[:top]
    else:
        order = order[row[order] > threshold]
    return [Guess(task.outputs[i], float(row[i])) for i in order]
