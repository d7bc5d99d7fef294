"""What stands on a conv base: pooling, dense layers, dropout and the outputs, or the user's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import layers

from .tasks import Task

Pooling = Literal["avg", "max"]
TRIED, TOLERANCE = 8, 1e-3  # random features that a head of the user's own is tried on


@dataclass(frozen=True)
class Head:
    """A head of pooling, hidden layers with dropout before each, and the outputs.

    Attributes
    ----------
    dropout : float
        0 <= dropout < 1, in front of every dense layer.
    units : tuple of int
        Hidden dense layers with ReLU, from the base on; none by default.
    pooling : {"avg", "max"}
        Over rows and columns.
    """

    dropout: float = 0.2
    units: tuple[int, ...] = ()
    pooling: Pooling = "avg"

    def __post_init__(self) -> None:
        if isinstance(self.dropout, bool) or not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and below 1, got {self.dropout!r}.")
        units = (self.units,) if isinstance(self.units, int) else tuple(self.units)
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in units):
            raise ValueError(f"`units` must be whole numbers of at least 1, got {self.units!r}.")
        object.__setattr__(self, "units", units)
        if self.pooling not in get_args(Pooling):
            raise ValueError(
                f"`pooling` must be one of {list(get_args(Pooling))}, got {self.pooling!r}."
            )

    def pool(self) -> keras.Layer:
        """Make the pooling layer: (n, rows, columns, c) to (n, c)."""
        kind = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
        return kind[self.pooling](name="pooling")

    def top(self, task: Task, seed: int) -> list[keras.Layer]:
        """Make what follows the pooling: (n, c) to (n, outputs)."""
        made: list[keras.Layer] = []
        for number, units in enumerate(self.units, start=1):
            made.append(self._dropout(f"dropout_{number}", seed + number))
            made.append(_dense(units, "relu", f"hidden_{number}", seed + number))
        made.append(self._dropout("dropout", seed))
        made.append(_dense(task.num_outputs, task.activation, "predictions", seed, "float32"))
        return made

    def _dropout(self, name: str, seed: int) -> keras.Layer:
        return layers.Dropout(self.dropout, seed=seed, name=name)


def _dense(
    units: int, activation: str, name: str, seed: int, dtype: str | None = None
) -> keras.Layer:
    initializer = keras.initializers.GlorotUniform(seed=seed)
    return layers.Dense(
        units, activation=activation, kernel_initializer=initializer, dtype=dtype, name=name
    )


def check_own_head(head: keras.Model, features: Sequence[Any], task: Task) -> None:
    """Refuse a head of the user's own that does not fit the base or the task.

    Parameters
    ----------
    head : keras.Model
        From the base's features to the outputs.
    features : (None, rows, columns, channels)
        What the base gives.
    task : Task

    Raises
    ------
    ValueError
        If its input or output has another shape, or its outputs are no probabilities: accuracy,
        the report and the saved model take them for such.
    """
    taken = list(head.input_shape[1:])
    wanted = list(features[1:])
    fits = len(taken) == len(wanted) and all(
        have in (None, want) for have, want in zip(taken, wanted, strict=True)
    )
    if not fits:
        raise ValueError(f"`head` takes {taken} for each picture; the base gives {wanted}.")
    if tuple(head.output_shape[1:]) != (task.num_outputs,):
        raise ValueError(
            f"`head` gives {list(head.output_shape[1:])} for each picture; {task.name} with "
            f"{list(task.outputs)} needs [{task.num_outputs}]."
        )
    if task.name != "regression":
        _check_probabilities(head, [side or 1 for side in wanted], task)


def _check_probabilities(head: keras.Model, shape: list[int], task: Task) -> None:
    features = np.random.default_rng(0).normal(0, 10, (TRIED, *shape)).astype(np.float32)
    outputs = keras.ops.convert_to_numpy(head(features, training=False)).astype(np.float64)
    low, high = float(outputs.min()), float(outputs.max())
    are_shares = low >= 0 and high <= 1 + TOLERANCE
    if are_shares and task.name == "single-label":
        are_shares = all(math.isclose(total, 1, abs_tol=TOLERANCE) for total in outputs.sum(axis=1))
    if not are_shares:
        raise ValueError(
            f"`head` gives values from {low:.3g} to {high:.3g}, which are no probabilities; "
            f"{task.name} needs a {task.activation} at its end."
        )
