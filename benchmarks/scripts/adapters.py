"""Time what an adapter adds to each batch of the plain loader: adapters.py [REPEATS [FAMILY ...]].

One process, the ways interleaved, medians. An adapter whose framework is missing is left out.
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

import fusewarp as fw

SIDE, BATCH, NUM_SAMPLES = 224, 32, 512
SETTLE_SECONDS = 0.5  # workers of the way before may still be filling their buffers
Way = tuple[str, Callable[[], Iterable[Any]], str]


def make_loader(epochs: int | None = 1) -> fw.Loader:
    """Return a loader of pictures in memory, the cheapest ones to make: what is added shows."""
    pictures = np.random.default_rng(0).integers(0, 256, (64, SIDE, SIDE, 3), np.uint8)
    source = fw.ArraySource(pictures, np.arange(64)).select(np.arange(NUM_SAMPLES) % 64)
    augmenter = fw.Augmenter(fw.Policy(horizontal_flip=True, rescale=1 / 255), layout="CHW")
    return fw.Loader(source, augmenter, BATCH, drop_remainder=True, epochs=epochs)


def torch_ways() -> list[Way]:
    """Return the ways of PyTorch; none without it."""
    try:
        from torch.utils.data import BatchSampler, DataLoader, RandomSampler

        from fusewarp.torch import as_iterable_dataset, as_map_dataset
    except ImportError:
        return []
    loader = make_loader()
    iterable = as_iterable_dataset(loader)
    mapped = as_map_dataset(loader.source, loader.augmenter)
    sampler = BatchSampler(RandomSampler(mapped), BATCH, drop_last=True)
    workers: dict[str, Any] = {
        "num_workers": 2,
        "persistent_workers": True,
        "multiprocessing_context": "spawn",  # other frameworks have threads already
    }
    whole = DataLoader(mapped, batch_size=None, sampler=sampler)
    dealt = DataLoader(iterable, batch_size=None, **workers)
    stacked = DataLoader(mapped, batch_sampler=sampler, **workers)
    return [
        ("torch iterable", lambda: DataLoader(iterable, batch_size=None), "none"),
        ("torch iterable, 2 workers", lambda: dealt, "to shared memory"),
        ("torch map-style, lists", lambda: whole, "none; nothing is made ahead"),
        (
            "torch map-style, collated",
            lambda: DataLoader(mapped, batch_sampler=sampler),
            "torch.stack; nothing is made ahead",
        ),
        ("torch map-style, 2 workers", lambda: stacked, "torch.stack into shared memory"),
    ]


def jax_ways() -> list[Way]:
    """Return the way of JAX; none without it."""
    try:
        import jax

        from fusewarp.jax import as_global_arrays
    except ImportError:
        return []
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    arrays = as_global_arrays(make_loader(), sharding)
    return [("jax global arrays", lambda: arrays, "none on the CPU; host to device elsewhere")]


def tensorflow_ways() -> list[Way]:
    """Return the way of TensorFlow; none without it."""
    try:
        from fusewarp.tensorflow import as_dataset
    except ImportError:
        return []
    dataset = as_dataset(make_loader())
    return [("tensorflow as_dataset", lambda: dataset, "none")]


def grain_ways() -> list[Way]:
    """Return the ways of Grain; none without it."""
    try:
        import grain

        from fusewarp.grain import as_map_dataset, share_threads
    except ImportError:
        return []
    dataset = as_map_dataset(make_loader())
    one = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    in_turn = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    endless = as_map_dataset(make_loader(epochs=None)).to_iter_dataset()
    workers = grain.MultiprocessingOptions(num_workers=2)
    shared, unshared = (
        FirstEpoch(endless.mp_prefetch(workers, init)) for init in (share_threads, None)
    )
    return [
        ("grain", lambda: dataset, "none"),
        ("grain, 1 read thread", lambda: dataset.to_iter_dataset(one), "none"),
        (
            "grain, no read thread",
            lambda: dataset.to_iter_dataset(in_turn),
            "none; nothing is made ahead",
        ),
        ("grain, 2 workers", lambda: shared, "to shared memory"),
        ("grain, 2 workers without share_threads", lambda: unshared, "to shared memory"),
    ]


class FirstEpoch:
    """The first epoch of an endless Grain dataset, over and over, by workers that keep running.

    Parameters
    ----------
    dataset : grain.IterDataset
    """

    def __init__(self, dataset: Any) -> None:
        self._iterator = iter(dataset)
        self._start = self._iterator.get_state()

    def __iter__(self) -> Iterator[Any]:
        self._iterator.set_state(copy.deepcopy(self._start))  # what was made ahead is dropped
        return islice(self._iterator, NUM_SAMPLES // BATCH)


def ray_ways() -> list[Way]:
    """Return the way of Ray Data, on a cluster of this machine; none without it."""
    try:
        import ray.data

        from fusewarp.ray import as_dataset
    except ImportError:
        return []
    loader = make_loader()
    loader.epochs = 8
    cpus = loader.augmenter.threads
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = as_dataset(loader, num_actors=1, cpus_per_actor=cpus)

    def started() -> Iterable[Any]:
        batches: Iterator[Any] = iter(dataset.iter_batches(batch_size=BATCH, batch_format="numpy"))
        next(batches)  # an actor takes seconds to start, once for each dataset
        return batches

    return [("ray as_dataset, 1 actor", started, "to the object store, and out of its block")]


FAMILIES: dict[str, Callable[[], list[Way]]] = {
    "torch": torch_ways,
    "jax": jax_ways,
    "tensorflow": tensorflow_ways,
    "grain": grain_ways,
    "ray": ray_ways,
}


def milliseconds(batches: Iterable[Any]) -> float:
    """Return the time of one iteration, for each batch."""
    began = time.perf_counter()
    count = sum(1 for _ in batches)
    return 1e3 * (time.perf_counter() - began) / count


def main() -> None:
    """Print the table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    families = sys.argv[2:] or list(FAMILIES)
    plain = make_loader()
    ways: list[Way] = [("plain loader", lambda: plain, "none")]
    ways += [way for family in families for way in FAMILIES[family]()]
    times: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    for repeat in range(repeats + 1):
        for name, batches, _ in ways:
            time.sleep(SETTLE_SECONDS)
            took = milliseconds(batches())
            if repeat > 0:  # the first compiles, and starts workers
                times[name].append(took)
    floor = statistics.median(times["plain loader"])
    print(f"{NUM_SAMPLES} pictures of {SIDE}x{SIDE}, batches of {BATCH}, {repeats} repeats\n")
    print("| way | ms a batch | more than the plain loader | copy of the pictures |")
    print("|---|---:|---:|---|")
    for name, _, copied in ways:
        median = statistics.median(times[name])
        print(f"| {name} | {median:.2f} | {median - floor:+.2f} | {copied} |")


if __name__ == "__main__":
    main()
