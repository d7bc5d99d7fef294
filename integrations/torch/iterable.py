"""A loader as a `torch.utils.data.IterableDataset`: whole batches, without a copy."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from ...engine import Loader
from ...engine.loader import check_is_loader
from .elements import Elements
from .loading import StridedLoader, check_may_leave_process
from .progress import UNKNOWN, Position, SharedProgress

_ENDLESS = (
    "With epochs=None and workers, nobody knows where the last iteration stopped. Call "
    "`set_epoch(epoch)` or `load_state_dict(state)` before the next one."
)


def as_iterable_dataset(
    loader: Loader, *, sample_ids: bool = False, as_dict: bool = False
) -> "LoaderDataset":
    """Return a dataset of the loader's batches, for ``DataLoader(dataset, batch_size=None)``.

    With ``num_workers=0`` each tensor is the memory that the kernels wrote to; decoding and
    warping run on fusewarp's threads, ahead by the loader's `prefetch`.

    Parameters
    ----------
    loader : Loader
        From here on ask the dataset for the position, not the loader. Convolutions of PyTorch want
        ``Augmenter(..., layout="CHW")``. On a CUDA device the images are tensors that lie there.
    sample_ids : bool
        Append the sample ids to each element.
    as_dict : bool
        Give dictionaries with the keys "images", "labels", "weights", "sample_ids", as far as the
        source has them.

    Returns
    -------
    LoaderDataset
        Elements `(images, labels)`, `(images, labels, weights)`, or `images` alone, as the source
        has labels and weights. Text labels are lists of strings.

    Raises
    ------
    ValueError
        If the source has weights but no labels, which a tuple cannot tell.
    TypeError
        If labels or weights are of a type that PyTorch has no tensors of.
    """
    check_is_loader(loader)
    return LoaderDataset(loader, Elements(loader.source, sample_ids, as_dict))


class LoaderDataset(IterableDataset):  # type: ignore[misc]
    """An iterable over the batches of a loader; made by `as_iterable_dataset`.

    Each iteration takes the loader's `epochs`, and the next one the epochs after, even if it was
    given up: workers run ahead, so how far they came must not decide what comes next. With
    `epochs=None` and no workers, an iteration goes on where the last one stopped.

    With workers, worker w of W makes the batches w, w + W, ...; a DataLoader takes them in turns,
    so batches and their order are those without workers. The loader's threads are shared out.
    """

    def __init__(self, loader: Loader, elements: Elements) -> None:
        self._loader, self._elements = loader, elements
        state = loader.state_dict()
        self._progress = SharedProgress(Position(state["epoch"], state["step"]))
        self._written = self._progress.next

    def __len__(self) -> int:
        """Return the number of batches of an iteration that begins at an epoch."""
        if self._loader.epochs is None:
            raise TypeError("An endless loader has no length; it has `len(loader)` steps an epoch.")
        return len(self._loader) * self._loader.epochs

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        if info is None:
            return self._batches()
        check_may_leave_process(self._loader.augmenter)
        return self._share(info)

    def __getstate__(self) -> dict[str, Any]:
        """Give a worker a loader with the same position and no memory of its own."""
        check_may_leave_process(self._loader.augmenter)
        loader = StridedLoader(self._loader)
        loader.load_state_dict(self._loader.state_dict())
        return {**self.__dict__, "_loader": loader}

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration begin with this epoch."""
        seed = self._loader.augmenter.seed
        self.load_state_dict({"seed": seed, "epoch": epoch, "step": 0})

    def state_dict(self) -> dict[str, int]:
        """Return {"seed", "epoch", "step"}.

        Without workers: the batch that comes next, in the middle of an iteration too. With
        workers: where the next iteration begins; a state in the middle of this one is the epoch
        that it began with and the number of batches that were taken.

        Raises
        ------
        RuntimeError
            In a worker; and after an endless iteration of workers.
        """
        if get_worker_info() is not None:
            raise RuntimeError(
                "A worker knows its own batches only. Save the epoch and the number of batches "
                'that were taken, {"seed": ..., "epoch": ..., "step": ...}, or use num_workers=0.'
            )
        if not self._workers_went_on():
            return self._loader.state_dict()
        return self._state_of(self._progress.next)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration begin there, exactly, with any number of workers.

        Raises
        ------
        ValueError
            If the state is of another seed, or not a position of the loader.
        """
        self._loader.load_state_dict(state)
        own = self._loader.state_dict()  # the state may be of another batch size
        self._write(Position(own["epoch"], own["step"]))

    def _batches(self) -> Iterator[Any]:
        """Iterate in this process."""
        self._go_to_next()
        with closing(iter(self._loader)) as batches:  # type: ignore[type-var]
            for batch in batches:
                yield self._elements.of(batch)

    def _go_to_next(self) -> None:
        if self._progress.next.epoch != UNKNOWN or self._workers_went_on():
            self._loader.load_state_dict(self._state_of(self._progress.next))
            self._progress.begin(self._loader.epochs)
            self._written = self._progress.next

    def _share(self, info: Any) -> Iterator[Any]:
        """Iterate over the share of a worker."""
        start = self._progress.begin_in_worker(info, self._loader.epochs)
        state = self._state_of(start)
        share = StridedLoader(self._loader, info.id, info.num_workers)
        share.load_state_dict(state)
        with closing(iter(share)) as batches:  # type: ignore[type-var]
            for batch in batches:
                yield self._elements.of(batch)

    def _state_of(self, start: Position) -> dict[str, int]:
        if start.epoch == UNKNOWN:
            raise RuntimeError(_ENDLESS)
        return {"seed": self._loader.augmenter.seed, **start._asdict()}

    def _workers_went_on(self) -> bool:
        """Tell whether workers have begun an iteration since this process said where to begin."""
        return self._progress.next != self._written

    def _write(self, position: Position) -> None:
        self._progress.choose(position)
        self._written = position
