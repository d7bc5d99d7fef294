"""A source and an augmenter as a map-style dataset, for PyTorch's samplers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, get_worker_info

from ...engine import Augmenter, Loader
from ...engine.sources import Source
from .elements import Elements
from .loading import check_may_leave_process, for_one_of
from .progress import Position, SharedProgress


def as_map_dataset(
    source: Source,
    augmenter: Augmenter,
    epoch: int = 0,
    *,
    sample_ids: bool = False,
    as_dict: bool = False,
) -> "SourceDataset":
    """Return a dataset whose `dataset[i]` is sample i, augmented.

    Parameters
    ----------
    source : Source
    augmenter : Augmenter
        Sample i has the pixels that a `Loader` gives it in the same epoch.
    epoch : int
        Of the augmentation, until `set_epoch`.
    sample_ids : bool
        Append the sample ids to each element.
    as_dict : bool
        Give dictionaries with the keys "images", "labels", "weights", "sample_ids", as far as the
        source has them.

    Returns
    -------
    SourceDataset
        `dataset[i]` is `(image, label)`, `(image, label, weight)`, or the image alone.
        `dataset[[i, j]]` is a whole batch of such, made in one call of the kernels. Text labels are
        strings.

    Raises
    ------
    ValueError
        If the source has weights but no labels, which a tuple cannot tell; if the pictures differ
        in size and the augmenter has no `size`.
    TypeError
        If labels or weights are of a type that PyTorch has no tensors of.
    """
    return SourceDataset(source, augmenter, Elements(source, sample_ids, as_dict), epoch)


class SourceDataset(Dataset):  # type: ignore[misc]
    """Samples on demand; made by `as_map_dataset`.

    A DataLoader with ``batch_size`` or ``batch_sampler`` fetches a batch in one call, and collates
    it with one copy. ``DataLoader(dataset, batch_size=None, sampler=BatchSampler(...))`` makes the
    batch in one piece, without that copy.
    """

    def __init__(
        self, source: Source, augmenter: Augmenter, elements: Elements, epoch: int
    ) -> None:
        self._loader, self._elements = Loader(source, augmenter), elements
        self._knows_worker = False
        self._progress = SharedProgress(Position(0, 0))
        self.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._loader.source)

    def __getitem__(self, index: Any) -> Any:
        """Return one sample for an integer, a batch for a list of them.

        Raises
        ------
        IndexError
            If an index is not from 0 to len - 1.
        """
        if np.ndim(index) == 0:
            return self._elements.rows(self._batch([index]))[0]
        return self._batch(index)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Return several samples, as DataLoader fetches a batch: in one call of the kernels."""
        return self._elements.rows(self._batch(indices))

    def __getstate__(self) -> dict[str, Any]:
        """Give a worker a loader with no memory of its own."""
        check_may_leave_process(self._loader.augmenter)
        loader = Loader(self._loader.source, self._loader.augmenter)
        return {**self.__dict__, "_loader": loader}

    @property
    def epoch(self) -> int:
        """The epoch of the augmentation."""
        return self._progress.next.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the augmentation; workers that are running see it too.

        Call it before the iteration, beside the sampler's own `set_epoch`.

        Raises
        ------
        TypeError, ValueError
            If `epoch` is not an integer from 0 to 2**32 - 1.
        """
        self._loader.augmenter.explain(0, epoch)  # refuses what is no epoch
        self._progress.next = Position(int(epoch), 0)

    def _batch(self, indices: Any) -> Any:
        self._know_worker()
        ids = self._checked(indices)
        return self._elements.of(self._loader.make(ids, self.epoch))

    def _know_worker(self) -> None:
        """In a worker, take its part of the threads."""
        info = get_worker_info()
        if info is None or self._knows_worker:
            return
        check_may_leave_process(self._loader.augmenter)
        part = for_one_of(self._loader.augmenter, info.num_workers)
        self._loader = Loader(self._loader.source, part)
        self._knows_worker = True

    def _checked(self, indices: Any) -> NDArray[np.int64]:
        ids = np.asarray(indices)
        if ids.ndim != 1 or len(ids) == 0 or ids.dtype.kind not in "iu":
            raise IndexError(f"An index must be an integer or a list of them, got {indices!r}.")
        if ids.min() < 0 or ids.max() >= len(self):
            raise IndexError(f"An index must be from 0 to {len(self) - 1}, got {indices!r}.")
        return ids.astype(np.int64)
