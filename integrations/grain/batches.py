"""A loader as a `grain.MapDataset` whose elements are whole batches, without a copy."""

import sys
import threading
import warnings
from typing import Any

import grain
import numpy as np
from numpy.typing import NDArray

from ...engine import Loader, SampleError
from ...engine.loader import check_is_loader
from .elements import Elements
from .workers import check_may_leave_process, take_part_of_threads

_READ_THREADS = 2  # while one batch's last slices run, the next one's first do
_Repeated = type(grain.MapDataset.range(1).repeat(1))


def as_map_dataset(
    loader: Loader,
    *,
    order: grain.MapDataset | None = None,
    sample_ids: bool = False,
    as_dict: bool = False,
) -> "BatchDataset":
    """Return a `grain.MapDataset` whose element i is batch i.

    Batch i is step ``i % len(loader)`` of epoch ``i // len(loader)``: what the loader itself gives
    there, whoever asks, in whatever order. Grain's iterator keeps the position; the loader's own
    is neither used nor moved.

    Parameters
    ----------
    loader : Loader
        Its `epochs` give the length. With ``epochs=None`` that is `sys.maxsize`, as Grain's own
        ``repeat()``.
    order : grain.MapDataset, optional
        One epoch of batches of sample ids, in place of the loader's order, shard and batch size;
        for example ``grain.MapDataset.range(n).shuffle(seed=0).batch(64)``. What it gives behind
        its length is the next epoch. Repeat the dataset that is returned, not this one.
    sample_ids : bool
        Append the sample ids to each element.
    as_dict : bool
        Give dictionaries with the keys "images", "labels", "weights", "sample_ids", as far as the
        source has them.

    Returns
    -------
    BatchDataset
        Elements `(images, labels)`, `(images, labels, weights)`, or `images` alone, as the source
        has labels and weights: NumPy arrays, the batch's own memory. An element is None, which
        Grain leaves out, if ``on_error="skip"`` left out all of its samples.

    Raises
    ------
    ValueError
        If the source has weights but no labels, which a tuple cannot tell; if `order` is empty,
        endless or repeated.
    TypeError
        If `loader` is no Loader, or `order` no `grain.MapDataset`.
    """
    check_is_loader(loader)
    elements = Elements(loader.source, sample_ids, as_dict)
    return BatchDataset(loader, LoaderOrder(loader) if order is None else _checked(order), elements)


class BatchDataset(grain.MapDataset):  # type: ignore[misc]
    """Batches at random access; made by `as_map_dataset`.

    An index behind the length is a later epoch, as in Grain's own datasets, so `repeat` gives
    epochs that are augmented anew, and ``repeat(reseed_each_epoch=False)`` the same ones again.
    """

    def __init__(self, loader: Loader, order: Any, elements: Elements) -> None:
        super().__init__()
        self._loader, self._order, self._elements = loader, order, elements
        self._lost: set[int] = set()  # batches in a row of which nothing could be read

    def __len__(self) -> int:
        epochs = self._loader.epochs
        return sys.maxsize if epochs is None else min(len(self._order) * epochs, sys.maxsize)

    def __str__(self) -> str:
        return f"fusewarp.BatchDataset({len(self._order)} batches an epoch)"

    def __getitem__(self, index: Any) -> Any:
        """Return batch `index`, or of a slice the dataset of its batches.

        Raises
        ------
        IndexError
            If the index is below 0.
        SampleError, OSError
            If a sample cannot be read, with ``on_error="raise"``; with "skip", if nothing of a
            whole epoch's number of batches could be read.
        """
        if isinstance(index, slice):
            return self.slice(index)
        if index < 0:
            raise IndexError(f"The batches count from 0, got {index}.")
        ids = self._order[int(index)]
        if ids is None:  # Grain's mark of an element that a filter left out
            return None
        batch = self._loader.make(ids, int(index) // len(self._order))
        if self._loader.skipped and len(batch.sample_ids) < np.size(ids):
            self._warn_of_skipped()
        if len(batch.sample_ids) == 0:
            return self._note_lost(int(index))
        self._lost.clear()
        return self._elements.of(batch)

    def to_iter_dataset(
        self, read_options: grain.ReadOptions | None = None, *, allow_nones: bool = False
    ) -> grain.IterDataset:
        """Return the dataset as an iterable one, which reads ahead.

        Parameters
        ----------
        read_options : grain.ReadOptions, optional
            Default: the loader's `prefetch` batches ahead, made by at most two of Grain's threads,
            each of which shares its batch out over the loader's `threads`. Grain's own default,
            which holds for what `map` returns, is 500 batches ahead: give the options there.
        allow_nones : bool
            Give None for a batch that is left out.
        """
        options = self._read_ahead() if read_options is None else read_options
        return super().to_iter_dataset(options, allow_nones=allow_nones)

    def __getstate__(self) -> dict[str, Any]:
        check_may_leave_process(self._loader)
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        take_part_of_threads(self._loader)

    def _read_ahead(self) -> grain.ReadOptions:
        ahead, threads = self._loader.prefetch, self._loader.augmenter.threads
        return grain.ReadOptions(
            num_threads=min(_READ_THREADS, ahead, threads), prefetch_buffer_size=ahead
        )

    def _warn_of_skipped(self) -> None:
        """Warn, which Python shows once."""
        warnings.warn(
            f"Samples could not be read and are left out, {self._loader.skipped[0].name} the first "
            "of them. `loader.skipped` of this process lists all, with the reasons.",
            stacklevel=3,
        )

    def _note_lost(self, index: int) -> None:
        """Raise if as many batches as an epoch has were lost, and none came between them."""
        self._lost.add(index)
        if len(self._lost) >= len(self._order):
            raise SampleError(
                f"Not one sample of {len(self._order)} batches, an epoch's number, could be read. "
                f"{self._loader.skipped[0].message}"
            )


class LoaderOrder:
    """The batches of sample ids of a loader, as `order` has them.

    Parameters
    ----------
    loader : Loader
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._loader)

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        epoch, step = divmod(index, len(self))
        with self._lock:  # Grain's threads would each compute the order of an epoch
            return self._loader.sample_ids(epoch, step)

    def __reduce__(self) -> Any:
        return LoaderOrder, (self._loader,)


def _checked(order: Any) -> Any:
    """Return `order`, an epoch of batches."""
    if not isinstance(order, grain.MapDataset):
        raise TypeError(
            f"`order` must be a grain.MapDataset of batches of sample ids, got "
            f"{type(order).__name__}. An IterDataset does not know its epochs."
        )
    if not 0 < len(order) < sys.maxsize or _is_repeated(order):
        raise ValueError(
            f"`order` must be one epoch of batches, got {order} of length {len(order)}. The epoch "
            "decides the augmentation: leave `repeat` out, and repeat what as_map_dataset returns."
        )
    return order


def _is_repeated(dataset: Any) -> bool:
    return isinstance(dataset, _Repeated) or any(map(_is_repeated, dataset.parents))
