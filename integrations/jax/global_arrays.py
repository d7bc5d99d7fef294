"""The batches of all processes' loaders, put together as arrays of a sharding."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jax
import numpy as np

from ...engine import Batch, Loader
from ...engine.loader import check_is_loader

_FIELDS = ("images", "labels", "weights")
_NUMBERS = "?biuf"


def as_global_arrays(loader: Loader, sharding: Any, *, sample_ids: bool = False) -> "GlobalArrays":
    """Return an iterable over global arrays, of which this process's loader gives its part.

    Parameters
    ----------
    loader : Loader
        Of `batch_size` pictures for this process. Where every process has pictures of its own:
        ``shard=(jax.process_index(), jax.process_count())``. All batches must be full, on every
        shard: `drop_remainder=True`, or a number of samples that it divides.
    sharding : jax.sharding.Sharding
        Over the first axis, for all fields.
    sample_ids : bool
        Add "sample_ids": those of this process, as a NumPy array, since JAX makes 32 bits of 64.

    Returns
    -------
    GlobalArrays
        Dictionaries with the keys "images", "labels", "weights" as far as the source has them, each
        a `jax.Array` of shape ``(shard count * batch_size, ...)``. The position is the loader's:
        `loader.state_dict()` is exact, and a second `for` goes on where the first stopped.

    Raises
    ------
    ValueError
        If some batch could be short, or the loader works on a CUDA device.
    TypeError
        If labels or weights are neither numbers nor truth values.
    """
    check_is_loader(loader)
    _check(loader)
    return GlobalArrays(loader, sharding, sample_ids)


class GlobalArrays:
    """An iterable over global arrays; made by `as_global_arrays`."""

    def __init__(self, loader: Loader, sharding: Any, sample_ids: bool) -> None:
        self._loader, self._sharding, self._sample_ids = loader, sharding, sample_ids

    def __len__(self) -> int:
        """Return the number of steps of an iteration that begins at an epoch."""
        if self._loader.epochs is None:
            raise TypeError("An endless loader has no length; it has `len(loader)` steps an epoch.")
        return len(self._loader) * self._loader.epochs

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with closing(iter(self._loader)) as batches:  # type: ignore[type-var]
            for batch in batches:
                yield self._global(batch)

    def _global(self, batch: Batch) -> dict[str, Any]:
        present = [name for name in _FIELDS if getattr(batch, name) is not None]
        arrays = {name: self._put_together(getattr(batch, name)) for name in present}
        return {**arrays, "sample_ids": batch.sample_ids} if self._sample_ids else arrays

    def _put_together(self, local: np.ndarray[Any, Any]) -> Any:
        shape = (self._loader.shard[1] * len(local), *local.shape[1:])
        return jax.make_array_from_process_local_data(self._sharding, local, shape)


def _samples_of_shards(loader: Loader) -> set[int]:
    """Return the different numbers of samples that the processes have in an epoch."""
    count = loader.shard[1]
    return {loader.samples_of((index, count)) for index in (0, count - 1)}


def _check(loader: Loader) -> None:
    source, samples = loader.source, _samples_of_shards(loader)
    divides = len(samples) == 1 and samples.pop() % loader.batch_size == 0
    if not (loader.drop_remainder or divides) or loader.on_error == "skip":
        raise ValueError(
            f"{loader.shard[1]} shards in batches of {loader.batch_size} with "
            f"on_error={loader.on_error!r} may give short batches, and a global array needs equal "
            'parts. Make the Loader with drop_remainder=True and on_error="raise".'
        )
    if loader.augmenter.device.kind == "cuda":
        raise ValueError(
            "The loader's batches lie on a CUDA device already: `jax.dlpack.from_dlpack("
            'batch.images)` takes them there. For a sharding give the Augmenter device="cpu".'
        )
    for name in ("labels", "weights"):
        values = getattr(source, name)
        if values is not None and values.dtype.kind not in _NUMBERS:
            raise TypeError(f"The source's {name} are {values.dtype}; JAX has arrays of numbers.")
