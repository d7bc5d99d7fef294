"""Loaders for what PyTorch asks of them: every n-th batch, and samples of its own choice."""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine import Augmenter, Batch, Loader
from ...engine.loader import _BatchInWork, _PlannedBatch
from ...engine.sources import Source
from ...engine.threads import run_slices


class StridedLoader(Loader):
    """Makes the batches `index`, `index + count`, ... of another loader, and no others.

    Dealt out in turns, the batches of `count` such loaders are those of the whole, in its order.

    Parameters
    ----------
    loader : Loader
        The whole. Its source is shared with it, its position is not.
    index, count : int
    """

    def __init__(self, loader: Loader, index: int = 0, count: int = 1) -> None:
        self._index, self._count = index, count
        super().__init__(
            loader.source,
            for_one_of(loader.augmenter, count),
            loader.batch_size,
            shuffle=loader.shuffle,
            shard=loader.shard,
            epochs=loader.epochs,
            drop_remainder=loader.drop_remainder,
            even_shards=loader.even_shards,
            prefetch=loader.prefetch,
            on_error=loader.on_error,
        )

    def _planned(self) -> Iterator[_PlannedBatch]:
        return islice(super()._planned(), self._index, None, self._count)

    def _is_last(self, work: _BatchInWork) -> bool:
        return work.step + self._count >= len(self)


class ChosenSamples(Loader):
    """Makes batches of the samples that it is told, in the epoch that it is told.

    Parameters
    ----------
    source : Source
    augmenter : Augmenter
    """

    def __init__(self, source: Source, augmenter: Augmenter) -> None:
        super().__init__(source, augmenter, 1)

    def make(self, sample_ids: NDArray[np.int64], epoch: int) -> Batch:
        """Return a batch with the pixels that a `Loader` gives these samples in this epoch."""
        planned = _PlannedBatch(epoch, 0, sample_ids, self._plan_of(sample_ids, epoch))
        work = _BatchInWork(self, planned)
        run_slices(work.load_slice, len(sample_ids), self.augmenter.threads)
        return work.batch()


def for_one_of(augmenter: Augmenter, num_workers: int) -> Augmenter:
    """Return the augmenter with its part of the threads, where `num_workers` share them."""
    part = copy.copy(augmenter)
    part.threads = max(1, augmenter.threads // num_workers)
    return part


def check_may_leave_process(augmenter: Augmenter) -> None:
    """Refuse worker processes for an augmenter that works on a CUDA device."""
    device: Any = augmenter.device
    if device.kind == "cuda":
        raise RuntimeError(
            f"The Augmenter works on cuda:{device.index}, whose batches stay in their process. Use "
            "DataLoader(..., num_workers=0): fusewarp's threads load ahead."
        )
