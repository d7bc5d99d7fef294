"""A progress bar for each epoch, with images per second and the share of time spent waiting."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

UNSHOWN = ("images_per_second", "wait_share", "seconds", "learning_rate", "val_loss")


class TrainingProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Draws the epochs of a `TransferTrainer` with rich; to be used in a `with` statement.

    A bar shows the running epoch with its images per second; when it is over, one line stays, with
    the share of the time in which the model waited for data, and the validation figures.

    Parameters
    ----------
    console : rich.console.Console
    batch_size : int
    num_epochs : int
        Of all stages together.
    announce : callable, optional
        Called as each stage begins; returns the line that says what it is.
    """

    def __init__(
        self,
        console: Console,
        batch_size: int,
        num_epochs: int,
        announce: Callable[[], str] | None = None,
    ) -> None:
        super().__init__()
        self._announce, self._announced = announce, ""
        self._batch_size, self._num_epochs = batch_size, num_epochs
        self._task = TaskID(0)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "TrainingProgress":
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop drawing; the lines of finished epochs stay."""
        self._progress.stop()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Say which stage begins, once."""
        line = self._announce() if self._announce is not None else ""
        if line != self._announced:
            self._announced = line
            self._progress.console.print(line, highlight=False, soft_wrap=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put up the epoch's bar."""
        self._began = time.perf_counter()
        self._task = self._progress.add_task(
            self._place(epoch), total=self.params["steps"], figures="compiling"
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar on by one step."""
        images = (batch + 1) * self._batch_size
        speed = images / (time.perf_counter() - self._began)
        figures = f"{speed:4.0f} images/s  {_metrics(logs or {})}"
        self._progress.update(self._task, completed=batch + 1, figures=figures)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put one line in the bar's place."""
        logs = logs or {}
        speed, share = logs.get("images_per_second", 0.0), logs.get("wait_share", 0.0)
        self._progress.remove_task(self._task)
        self._progress.console.print(
            f"{self._place(epoch)}  {speed:4.0f} images/s  wait {share:3.0%}  {_metrics(logs)}",
            highlight=False,
        )

    def _place(self, epoch: int) -> str:
        return f"  {epoch + 1:2}/{self._num_epochs}"


def _metrics(logs: dict[str, Any]) -> str:
    shown = [name for name in logs if name not in UNSHOWN]
    return "  ".join(f"{name} {logs[name]:.3f}" for name in shown)
