"""A loader as a `ray.data.Dataset`: the steps of its epochs, made by actors."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray.data

from ...engine import Loader
from ...engine.loader import check_is_loader
from .actor import (
    Rows,
    check_is_uncached,
    check_may_leave_process,
    loader_of_this_actor,
    telling_what_is_skipped,
)
from .augment import pictures

_STEPS_PER_TASK = 4  # Ray takes 10 to 20 ms of the driver for a task and its block
_TASKS_PER_ACTOR = 4  # at least, so that none is without work for long
_MOST_TASKS = 1000  # Ray takes 1 to 2 ms for each before the first begins


def as_dataset(
    loader: Loader,
    epoch: int = 0,
    *,
    num_actors: int,
    cpus_per_actor: int = 1,
    start_step: int = 0,
) -> Any:
    """Return the loader's batches as a dataset of rows, which actors of the cluster make.

    ``dataset.iter_batches(batch_size=loader.batch_size, batch_format="numpy")`` gives the batches
    of the loader, in its order, whichever actor made them: the dataset's own
    ``context.execution_options.preserve_order`` is set.

    Parameters
    ----------
    loader : Loader
        Each actor has one like it: the source must be readable from every node. Its `epochs` are
        the epochs of the dataset, one if not told otherwise; its position has no say.
    epoch : int
        The first epoch. A dataset gives the same pictures each time it is iterated over: make
        another one for the next epoch.
    num_actors : int
        How many actors Ray is to start; those that find no CPUs wait for them.
    cpus_per_actor : int
        And as many threads. It must not be more than a node has, or Ray waits for such a node.
    start_step : int
        Leave out so many batches, to go on where a run stopped; nothing is read for them.

    Returns
    -------
    ray.data.Dataset
        Columns "image", "label" and "weight" as the source has them, "sample_id" and "epoch".

    Raises
    ------
    ValueError, TypeError
        If an argument is not of these, the loader never ends (``epochs=None``), works on a CUDA
        device, or has a cache.
    """
    check_is_loader(loader)
    check_may_leave_process(loader.augmenter)
    check_is_uncached(loader)
    first = _at_least("epoch", epoch, 0) * len(loader) + _at_least("start_step", start_step, 0)
    num_steps = _total_steps(loader) - start_step
    if num_steps < 1:
        raise ValueError(
            f"`start_step` must be below {num_steps + start_step}, the loader's steps, "
            f"got {start_step}."
        )
    num_cpus = _at_least("cpus_per_actor", cpus_per_actor, 1)
    actors = ray.data.ActorPoolStrategy(size=_at_least("num_actors", num_actors, 1))
    # Not `ray.data.range`: its tasks would wait for a CPU that the actors never let go.
    steps = ray.data.from_items(
        [{"step": first + number} for number in range(num_steps)],
        override_num_blocks=math.ceil(num_steps / steps_per_task(num_steps, num_actors)),
    )
    steps.context.execution_options.preserve_order = True
    return steps.map_batches(
        MakeSteps,
        fn_constructor_args=(loader,),
        batch_size=None,
        batch_format="numpy",
        num_cpus=num_cpus,
        compute=actors,
    )


class MakeSteps:
    """Makes the batches of a loader from the numbers of their steps; the actor of `as_dataset`.

    Parameters
    ----------
    loader : Loader
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader_of_this_actor(loader)

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        """Yield the batches of the column "step", which counts from the first of all epochs on."""
        for total in rows["step"].tolist():
            epoch, step = divmod(total, len(self._loader))
            with telling_what_is_skipped(self._loader):
                batch = self._loader.make(self._loader.sample_ids(epoch, step), epoch)
            if len(batch.sample_ids):
                yield {**pictures(batch), "epoch": np.full(len(batch.sample_ids), epoch, np.int64)}


def steps_per_task(num_steps: int, num_actors: int) -> int:
    """Return how many steps one task of an actor is to make."""
    most = max(1, num_steps // (num_actors * _TASKS_PER_ACTOR))
    return max(min(_STEPS_PER_TASK, most), math.ceil(num_steps / _MOST_TASKS))


def _total_steps(loader: Loader) -> int:
    if loader.epochs is None:
        raise ValueError(
            "The loader never ends (epochs=None), and a dataset of Ray does. Make it with a number "
            "of epochs."
        )
    return len(loader) * loader.epochs


def _at_least(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    return int(value)
