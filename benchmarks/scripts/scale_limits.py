"""What each part could give if it were alone: the arithmetic that the simulation starts from."""

import math

from ...engine.retry import Retry
from .scale_simulation import Reader, Store, Training


def limits(store: Store, reader: Reader, training: Training) -> dict[str, float]:
    """Return the images/s that each part allows one rank; infinity for what costs nothing.

    The rate of a training is the least of them at best: it is less where times vary, because ranks
    wait for the slowest and prefetched batches run out.
    """
    cpu = reader.python_seconds + reader.core_seconds
    thread = mean_wait(store) / reader.pictures_per_request + cpu
    thread += reader.picture_bytes / store.connection_bandwidth
    return {
        "threads": _ratio(reader.threads, thread),
        "Python": _ratio(reader.processes, reader.python_seconds),
        "cores": _ratio(reader.cores, cpu),
        "network": _ratio(reader.bandwidth, reader.picture_bytes),
        "store": _ratio(store.bandwidth / training.ranks, reader.picture_bytes),
        "requests": store.requests_per_second * reader.pictures_per_request / training.ranks,
        "GPU": _ratio(training.batch_size, training.step_seconds),
    }


def mean_wait(store: Store) -> float:
    """Return the mean time of a request to its first byte, failures before it included."""
    latency = store.latency * math.exp(store.latency_sigma**2 / 2)
    latency += store.tail_chance * store.tail_latency
    retry = Retry()
    wait = latency
    for attempt in range(1, retry.attempts):
        pause = 0.75 * min(retry.longest_delay, retry.first_delay * 2.0 ** (attempt - 1))
        wait += store.failure_chance**attempt * (pause + latency)
    return wait


def _ratio(amount: float, each: float) -> float:
    return amount / each if each else math.inf
