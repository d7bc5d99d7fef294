"""What fusewarp's actors share: their threads, their loader, and what they refuse."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from numpy.typing import ArrayLike, NDArray

from ...engine import Augmenter, Loader

Rows = dict[str, Any]


def check_may_leave_process(augmenter: Augmenter) -> None:
    """Refuse an augmenter whose batches lie on a CUDA device: Ray carries memory of the host."""
    device: Any = augmenter.device
    if device.kind == "cuda":
        raise ValueError(
            f"The Augmenter works on cuda:{device.index}, and Ray's actors hand on memory of the "
            'host. Make it with device="cpu"; to warp on the device of a trainer, give each '
            "trainer a Loader with shard=(rank, world) instead."
        )


def check_is_uncached(loader: Loader) -> None:
    """Refuse a loader that keeps pictures in memory: actors end with their dataset."""
    if loader.cache_info() is not None:
        raise ValueError(
            'The Loader has cache="memory", which each actor would fill anew, as large as on one '
            "machine alone. Make it without; a PackedSource spares later epochs the decoding."
        )


def of_this_actor(augmenter: Augmenter) -> Augmenter:
    """Return the augmenter with the threads that Ray has given CPUs for, if this is an actor."""
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return augmenter
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return augmenter.with_threads(max(1, int(cpus)))


def loader_of_this_actor(loader: Loader) -> Loader:
    """Return a loader that makes the same batches on the threads of this actor."""
    return Loader(
        loader.source,
        of_this_actor(loader.augmenter),
        loader.batch_size,
        shuffle=loader.shuffle,
        shard=loader.shard,
        drop_remainder=loader.drop_remainder,
        even_shards=loader.even_shards,
        on_error=loader.on_error,
    )


@contextmanager
def telling_what_is_skipped(loader: Loader) -> Iterator[None]:
    """Warn of samples that were left out: Ray shows what actors write to stderr."""
    known = len(loader.skipped)
    yield
    for skipped in loader.skipped[known:]:
        warnings.warn(f"{skipped.name} was left out: {skipped.message}", stacklevel=2)


def take(rows: Rows, where: slice | NDArray[np.bool_]) -> Rows:
    """Return some rows of a batch."""
    return {name: values[where] for name, values in rows.items()}


def runs_of_epochs(rows: Rows, default: int) -> Iterator[tuple[int, Rows]]:
    """Cut a batch where its column "epoch" changes; without one it is all of the default epoch."""
    if "epoch" not in rows:
        yield default, rows
        return
    epochs = _whole_numbers("epoch", rows["epoch"])
    starts = [at for at in range(len(epochs)) if at == 0 or epochs[at] != epochs[at - 1]]
    for start, stop in zip(starts, [*starts[1:], len(epochs)], strict=False):
        yield int(epochs[start]), take(rows, slice(start, stop))


def column(rows: Rows, name: str) -> Any:
    """Return a column; raises ValueError if there is none of this name."""
    if name not in rows:
        raise ValueError(f"The batch has no column {name!r}, only {sorted(rows)}.")
    return rows[name]


def sample_ids_of(rows: Rows, name: str) -> NDArray[np.int64]:
    """Return a column of integers; raises ValueError for anything else."""
    return _whole_numbers(name, column(rows, name))


def _whole_numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"The column {name!r} must hold integers, got {numbers.dtype}.")
    return numbers.astype(np.int64)
