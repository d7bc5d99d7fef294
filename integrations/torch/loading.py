"""A loader for what PyTorch's workers ask of it: every n-th batch."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...engine import Augmenter, Loader
from ...engine.batch import BatchInWork, PlannedBatch


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
            decode_on=loader.decode_on,
        )

    def _planned(self) -> Iterator[PlannedBatch]:
        return islice(super()._planned(), self._index, None, self._count)

    def _is_last(self, work: BatchInWork) -> bool:
        return work.step + self._count >= len(self)


def for_one_of(augmenter: Augmenter, num_workers: int) -> Augmenter:
    """Return the augmenter with its part of the threads, where `num_workers` share them."""
    return augmenter.with_threads(max(1, augmenter.threads // num_workers))


def check_may_leave_process(augmenter: Augmenter) -> None:
    """Refuse worker processes for an augmenter that works on a CUDA device."""
    device: Any = augmenter.device
    if device.kind == "cuda":
        raise RuntimeError(
            f"The Augmenter works on cuda:{device.index}, whose batches stay in their process. Use "
            "DataLoader(..., num_workers=0): fusewarp's threads load ahead."
        )
