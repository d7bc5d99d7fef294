"""What Ray's workers import: they see no test file."""

import os
import signal
from pathlib import Path

import numpy as np

from fusewarp import ArraySource
from fusewarp.integrations.ray.actor import of_this_actor


class DeadlySource(ArraySource):
    """Kills the process that reads one of its samples: the first one, or every one.

    Parameters
    ----------
    images, labels
        As for `ArraySource`.
    deadly_id : int
    mark : path, optional
        A file that the first process to die leaves behind. None: every process dies.
    """

    def __init__(self, images, labels, deadly_id, mark=None):
        super().__init__(images, labels)
        self.deadly_id, self.mark = deadly_id, mark

    def read(self, sample_id, min_size=(0, 0)):
        if sample_id == self.deadly_id and (self.mark is None or not Path(self.mark).exists()):
            if self.mark is not None:
                Path(self.mark).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(sample_id, min_size)


class ThreadsOfActor:
    """Tells on how many threads an augmenter works in an actor."""

    def __init__(self, augmenter):
        self.threads = of_this_actor(augmenter).threads

    def __call__(self, rows):
        return {"threads": np.full(len(rows["item"]), self.threads)}
