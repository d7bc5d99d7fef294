"""What a loader is in Grain's worker processes."""

import weakref
from typing import Any

from ...engine import Loader

_worker_count = 1  # of the workers that share this machine's threads with this process
_with_their_part: "weakref.WeakSet[Loader]" = weakref.WeakSet()


def share_threads(worker_index: int, worker_count: int) -> None:
    """Give each of Grain's workers its part of the loader's threads, at least one.

    For ``mp_prefetch(options, worker_init_fn=share_threads)``, which calls it in each worker before
    the dataset arrives there. Without it every worker takes all threads of the loader.

    Parameters
    ----------
    worker_index, worker_count : int
    """
    global _worker_count
    _worker_count = worker_count


def take_part_of_threads(loader: Loader) -> None:
    """Give a loader that has arrived in this process its part of the threads."""
    if _worker_count > 1 and loader not in _with_their_part:  # two datasets may have one loader
        _with_their_part.add(loader)
        threads = max(1, loader.augmenter.threads // _worker_count)
        loader.augmenter = loader.augmenter.with_threads(threads)


def check_may_leave_process(loader: Loader) -> None:
    """Refuse worker processes for an augmenter that works on a CUDA device."""
    device: Any = loader.augmenter.device
    if device.kind == "cuda":
        raise RuntimeError(
            f"The Augmenter works on cuda:{device.index}, whose batches stay in their process. "
            "Leave `mp_prefetch` out: Grain's read threads and fusewarp's threads work ahead."
        )
