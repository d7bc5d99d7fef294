"""A stage of training while it runs: what is recorded, checked and saved after each step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .checkpoint import Position, State, restore, save_state
from .interrupt import Interrupted, Wish


class Diverged(ValueError):
    """The loss, or a weight, became NaN or infinite."""


@dataclass(frozen=True)
class Stage:
    """One stage as it was run: how many numbers of the model could change, and how fast."""

    name: str
    epochs: int
    learning_rate: float
    trainable_parameters: int
    frozen_parameters: int

    def __str__(self) -> str:
        return (
            f"Stage {self.name}: {self.epochs} epochs at learning rate {self.learning_rate:g}, "
            f"{self.trainable_parameters:,} parameters trainable, "
            f"{self.frozen_parameters:,} frozen"
        )


@dataclass(frozen=True)
class Saving:
    """Where and how often the state of a run is kept.

    Attributes
    ----------
    folder : Path or None
        None: nowhere.
    seconds : float
        At least so long between two within an epoch; 0: after every step. The end of an epoch is
        always kept.
    digest : str
        Of what the run does not change.
    """

    folder: Path | None
    seconds: float
    digest: str

    def save(self, network: keras.Model, position: Position, history: list[dict[str, Any]]) -> None:
        """Keep the state, unless it is of no use.

        Raises
        ------
        Diverged
            If a weight is NaN or infinite; what was kept before stays.
        OSError
            If it cannot be written.
        """
        for weight in network.trainable_weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise Diverged(_diverged(f"The weight {weight.path}", position))
        if self.folder is not None:
            save_state(self.folder, network, position, history, self.digest)


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds val_loss, val_... to an epoch's logs, for the callbacks that come after it.

    Keras' own `validation_data` is not used: before every validation it starts a generator anew,
    from the batches it had looked at and then wherever the generator stands, so that it validates
    on some pictures twice and on others never.
    """

    def __init__(self, evaluate: Callable[[], dict[str, float]]) -> None:
        super().__init__()
        self._evaluate = evaluate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate."""
        values = self._evaluate()
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in values.items()})


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps each epoch's logs as soon as it ends: a run that is stopped has its history too."""

    def __init__(self, history: list[dict[str, Any]], stage: Stage) -> None:
        super().__init__()
        self.history, self.stage = history, stage

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add a row."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch, "stage": self.stage.name, **figures, "learning_rate": rate}
        self.history.append(row)


class Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the state of the run, stops it when that is wished, or when its loss is no number.

    Parameters
    ----------
    saving : Saving
    start : Position
        Of the first step that is trained.
    num_steps : int
        Of a whole epoch.
    history : list of dict
    wish : Wish
    state : State, optional
        Where the run goes on from within an epoch: Keras sets the metrics back as it begins.
    """

    def __init__(
        self,
        saving: Saving,
        start: Position,
        num_steps: int,
        history: list[dict[str, Any]],
        wish: Wish,
        state: State | None = None,
    ) -> None:
        super().__init__()
        self._saving, self._start, self._num_steps = saving, start, num_steps
        self._history, self._wish, self._state = history, wish, state
        self._saved_at = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the place up."""
        self._epoch = epoch
        self._offset = self._start.step if epoch == self._start.epoch else 0
        if self._state is not None and self._offset:
            restore(self.model, self._state)
        self._state = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss, the clock and the wish."""
        place = Position(self._start.stage, self._epoch, self._offset + batch + 1)
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            raise Diverged(_diverged("The loss", place))
        if place.step == self._num_steps:
            return  # the epoch's own end keeps it
        is_due = time.monotonic() - self._saved_at >= self._saving.seconds
        if self._wish or (is_due and self._saving.folder is not None):
            self._save(place)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the end of the epoch."""
        self._save(Position(self._start.stage, epoch + 1, 0))

    def _save(self, place: Position) -> None:
        self._saving.save(self.model, place, self._history)
        self._saved_at = time.monotonic()
        if self._wish:
            kept = f"; its state is kept in {self._saving.folder}" if self._saving.folder else ""
            raise Interrupted(
                f"{self._wish.name} stopped the training in epoch {place.epoch + 1}, after "
                f"{place.step} steps{kept}."
            )


def _diverged(what: str, place: Position) -> str:
    return (
        f"{what} is not finite any more, in epoch {place.epoch + 1} after step {place.step}. Use a "
        "lower `learning_rate`, or look for labels and pictures that make no sense; the last "
        "state that was kept is from before."
    )
