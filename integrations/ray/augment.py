"""Pictures of a loader for a dataset of sample ids."""

from collections.abc import Iterator

import numpy as np

from ...engine import Batch, Loader
from .actor import (
    Rows,
    check_is_uncached,
    check_may_leave_process,
    loader_of_this_actor,
    runs_of_epochs,
    sample_ids_of,
    take,
    telling_what_is_skipped,
)


class Augment:
    """Adds the pictures of a loader to batches of sample ids; for ``map_batches``.

    ``dataset.map_batches(Augment, fn_constructor_args=(loader,), batch_size=64,
    batch_format="numpy", num_cpus=2, compute=ray.data.ActorPoolStrategy(size=4))``: each actor has
    a loader of its own and as many threads as `num_cpus`.

    Parameters
    ----------
    loader : Loader
        A sample has the pixels that an iteration over the loader gives it in the same epoch. The
        order and the batches are the dataset's.
    epoch : int
        Of the augmentation, for batches without a column "epoch".

    Raises
    ------
    ValueError
        If the loader works on a CUDA device, or has a cache.
    """

    def __init__(self, loader: Loader, epoch: int = 0) -> None:
        check_may_leave_process(loader.augmenter)
        check_is_uncached(loader)
        self._loader, self._epoch = loader_of_this_actor(loader), epoch

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        """Make the pictures of a batch.

        Parameters
        ----------
        rows : dict of arrays
            "sample_id": integers from 0 to ``len(loader.source) - 1``; optionally "epoch".

        Yields
        ------
        dict of arrays
            The columns of `rows`, and "image", and "label" and "weight" as the source has them.
            With ``on_error="skip"`` rows that cannot be read are missing.

        Raises
        ------
        ValueError
            If a column is missing or does not hold what it should.
        SampleError, OSError
            If a sample cannot be read, with ``on_error="raise"``.
        """
        for epoch, part in runs_of_epochs(rows, self._epoch):
            ids = sample_ids_of(part, "sample_id")
            if len(ids) == 0:
                continue
            with telling_what_is_skipped(self._loader):
                batch = self._loader.make(ids, epoch)
            if len(batch.sample_ids) < len(ids):
                part = take(part, np.isin(ids, batch.sample_ids))
            if len(batch.sample_ids):
                yield {**part, **pictures(batch)}


def pictures(batch: Batch) -> Rows:
    """Return a batch as columns: "image", "label", "weight", "sample_id"; no None among them."""
    columns = {
        "image": batch.images,
        "label": batch.labels,
        "weight": batch.weights,
        "sample_id": batch.sample_ids,
    }
    return {name: values for name, values in columns.items() if values is not None}
