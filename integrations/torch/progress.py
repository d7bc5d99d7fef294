"""Which epoch comes next, in memory that worker processes share.

A DataLoader makes a copy of its dataset for each worker, most often anew for each iteration, and
tells the dataset nothing. What the copies must agree on lies in one shared tensor.
"""

import time
from typing import Any, NamedTuple

import torch

UNKNOWN = -1  # the epoch after an endless iteration
_POLL_SECONDS = 0.002
_SAME_SEED = (
    "This iteration of the DataLoader has the same seed as the last one, so that its workers "
    "cannot tell them apart. Whoever seeds PyTorch anew before each epoch calls "
    "`dataset.set_epoch(epoch)`."
)
_WAIT_SECONDS = 600.0  # for a worker to start: a spawned one imports and compiles first


class Position(NamedTuple):
    """Where an iteration begins."""

    epoch: int
    step: int


class SharedProgress:
    """Counts iterations: each one that is begun, whether or not it ends, takes its epochs.

    So the epochs of a run do not depend on how far workers ran ahead of a loop that stopped.

    Parameters
    ----------
    start : Position
        Of the next iteration.
    """

    def __init__(self, start: Position) -> None:
        # the next position; how often somebody has chosen it; then of the newest iteration of
        # workers its position, what tells it from others, and the seal of both
        self._shared = torch.tensor([*start, 0, 0, 0, 0, 0], dtype=torch.int64).share_memory_()
        self._iterations = 0  # of this worker

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._shared.is_shared():  # a deep copy, or out of a file
            self._shared.share_memory_()

    @property
    def next(self) -> Position:
        """Where the next iteration begins."""
        return Position(*self._shared[:2].tolist())

    @next.setter
    def next(self, position: Position) -> None:
        self._shared[:2] = torch.tensor(position)

    def choose(self, position: Position) -> None:
        """Let the next iteration begin there, because somebody said so."""
        self.next = position
        self._shared[2] += 1

    def begin(self, epochs: int | None) -> Position:
        """Return where an iteration of so many epochs begins, and count it."""
        start = self.next
        after = UNKNOWN if epochs is None else start.epoch + epochs
        self.next = Position(after, 0)
        return start

    def begin_in_worker(self, info: Any, epochs: int | None) -> Position:
        """Return the same to all workers of one iteration: the first decides for them.

        Parameters
        ----------
        info : torch.utils.data.WorkerInfo
        epochs : int, optional

        Raises
        ------
        RuntimeError
            If this iteration cannot be told from the last one.
        """
        # Fresh workers share a seed, workers that stay count, and whoever chooses counts too.
        iteration = hash((info.seed - info.id, self._iterations, int(self._shared[2])))
        self._iterations += 1
        if info.id == 0:
            if iteration == int(self._shared[5]):
                raise RuntimeError(_SAME_SEED)
            start = self.next
            if start.epoch != UNKNOWN:
                self.begin(epochs)
            self._shared[3:] = torch.tensor([*start, iteration, hash((iteration, *start))])
            return start
        return self._wait_for(iteration)

    def _wait_for(self, iteration: int) -> Position:
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            epoch, step, _, seal = self._shared[3:].tolist()
            if seal == hash((iteration, epoch, step)):  # whole, and of this iteration
                return Position(epoch, step)
            time.sleep(_POLL_SECONDS)
        raise RuntimeError(
            f"The first DataLoader worker did not begin within {_WAIT_SECONDS:g} seconds. One "
            "dataset takes one iteration at a time; make another one of a Loader of its own."
        )
