"""Which samples come when: a pure function of (seed, epoch, shard)."""

import numpy as np
from numpy.typing import NDArray

from .philox import philox4x32

_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ORDER_SLOT = np.uint64(0xFFFFFFFF)  # far from the slots of the augmentation's draws


def epoch_order(
    num_samples: int, seed: int, epoch: int, *, shuffle: bool, shard: tuple[int, int] = (0, 1)
) -> NDArray[np.int64]:
    """Return the sample ids of one epoch, in order.

    Parameters
    ----------
    num_samples : int
    seed, epoch : int
        The permutation is the sort order of one 64-bit Philox number per sample.
    shuffle : bool
        False keeps 0, 1, 2 ...
    shard : (index, count)
        Every `count`-th sample from `index` on. The shards of an epoch are disjoint, together
        they are the epoch, and their lengths differ by one at most.

    Returns
    -------
    (k,) int64
    """
    index, count = shard
    if not shuffle:
        return np.arange(index, num_samples, count, dtype=np.int64)
    keys = _sort_keys(num_samples, seed, epoch)
    return np.argsort(keys, kind="stable")[index::count].astype(np.int64, copy=False)


def _sort_keys(num_samples: int, seed: int, epoch: int) -> NDArray[np.uint64]:
    ids = np.arange(num_samples, dtype=np.uint64)
    epochs = np.full(num_samples, epoch, np.uint64)
    slots = np.full(num_samples, _ORDER_SLOT)
    key = (np.uint64(seed) & _LOW, np.uint64(seed) >> _WORD)
    high, low, _, _ = philox4x32((ids & _LOW, ids >> _WORD, epochs, slots), key)
    keys: NDArray[np.uint64] = (high << _WORD) | low
    return keys
