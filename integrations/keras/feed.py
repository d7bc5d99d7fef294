"""From a loader to what `keras.Model.fit` takes, and how long the model waited for it."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from ...engine import Batch
from .tasks import Task

Result = TypeVar("Result")


class Meter(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures images per second and the share of time an epoch waited for data.

    Adds `seconds`, `images_per_second` and `wait_share` to the logs of each epoch. The seconds run
    from the epoch's begin to its last training batch, so validation is not in them; compiling the
    training step is, in the first epoch of a stage.

    Notes
    -----
    `Loader.wait_seconds` cannot serve here: Keras asks for batches ahead of the training step, so
    a wait in its thread is no loss while the model is still busy. Counted is only the time in
    which the model had finished all that it was given.
    """

    def __init__(self, num_images: int, num_steps: int) -> None:
        super().__init__()
        self.num_images, self.num_steps = num_images, num_steps
        self._given = self._finished = 0  # batches
        self._idle = 0.0  # seconds
        self._last_finish = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._began = self._last_finish = time.perf_counter()
        self._idle, self._epoch_idle, self._steps = 0.0, 0.0, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note that the model has nothing to do unless a batch is ready."""
        self._last_finish = time.perf_counter()
        self._finished += 1
        self._steps += 1
        self._epoch_idle = self._idle

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's figures to its logs, for the callbacks that come after."""
        if logs is None:
            return
        seconds = self._last_finish - self._began
        images = self.num_images * self._steps / self.num_steps
        logs["seconds"] = seconds
        logs["images_per_second"] = images / seconds if seconds > 0 else 0.0
        logs["wait_share"] = min(1.0, self._epoch_idle / seconds) if seconds > 0 else 0.0

    def time_next(self, batches: Iterator[Any]) -> Any:
        """Take the next batch (None at the end), counting the time in which the model was idle."""
        began = time.perf_counter()
        batch = next(batches, None)
        if self._finished >= self._given:
            self._idle += max(0.0, time.perf_counter() - max(began, self._last_finish))
        self._given += 1
        return batch


class Batches(Protocol):
    """What a feed reads: a Loader, or something that is iterated like one and never ends."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """Iterate from the position on."""

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position, {"seed", "epoch", "step"}."""


class Feed:
    """Endless batches as the Python generator of tuples that Keras takes.

    Keras passes the arrays on without a copy. Its TensorFlow backend turns an error in the
    generator into one of its own; the original is kept in `error`, see `run`.

    Parameters
    ----------
    loader : Batches
    task : Task, optional
        Yield (images, targets) or (images, targets, weights). None: (images,) for `predict`.
    meter : Meter, optional
    class_weights : (classes,) float32, optional
        They multiply the samples' weights.
    """

    def __init__(
        self,
        loader: Batches,
        task: Task | None = None,
        *,
        meter: Meter | None = None,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        self.steps = len(loader)
        self.error: Exception | None = None
        self._loader, self._task, self._meter = loader, task, meter
        self._class_weights = class_weights
        self.keep_labels = False
        self.labels: list[Any] = []
        self._stop = threading.Event()
        self.batches = self._generate()

    def _generate(self) -> Generator[tuple[Any, ...], None, None]:
        loaded = iter(self._loader)
        try:
            while not self._stop.is_set():
                batch = self._meter.time_next(loaded) if self._meter else next(loaded, None)
                if batch is None:
                    return
                yield self._fields(batch)
        except Exception as error:
            self.error = error
            raise

    def _fields(self, batch: Batch) -> tuple[Any, ...]:
        if self.keep_labels:
            self.labels.append(batch.labels)
        if self._task is None:
            return (batch.images,)
        targets, weights = self._task.targets(np.asarray(batch.labels)), batch.weights
        if self._class_weights is not None:
            own = self._class_weights[np.asarray(batch.labels).reshape(-1).astype(np.int64)]
            weights = own if weights is None else own * weights
        return (batch.images, targets) if weights is None else (batch.images, targets, weights)

    def close(self) -> None:
        """Let go of the loader; a batch that Keras is just waiting for is the last."""
        self._stop.set()
        with contextlib.suppress(ValueError):  # "generator already executing", in Keras' thread
            self.batches.close()


def run(call: Callable[[], Result], *feeds: Feed) -> Result:
    """Call Keras, close the feeds behind it, and raise a feed's own error rather than Keras'."""
    try:
        return call()
    except Exception:
        for feed in feeds:
            if feed.error is not None:
                raise feed.error from None
        raise
    finally:
        for feed in feeds:
            feed.close()
