"""Which samples come when: a pure function of (seed, epoch, shard), at any place of the epoch."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .permutation import Permutation
from .philox import philox4x32

Shard = tuple[int, int]
Even = Literal["drop", "repeat"] | None

# To so many samples an epoch is sorted by random numbers: at most 32 MiB and some 3 s an epoch.
# Beyond, it is computed from place to place. The limit is part of every saved state: it must stay.
SORTED_SAMPLES = 2**22

_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ORDER_SLOT = np.uint64(0xFFFFFFFF)  # far from the slots of the augmentation's draws


class Order(Protocol):
    """The samples of one epoch and shard, in order."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return those from `start` to `stop`, without making the others."""


class Shuffle(Protocol):
    """An order other than the usual one, for `Loader(shuffle=...)`."""

    @property
    def num_samples(self) -> int:
        """Samples of one epoch, of all shards together."""

    @property
    def num_ids(self) -> int:
        """Samples that the source must have."""

    @property
    def is_interleaved(self) -> bool:
        """True if shard i of n has every n-th sample of the epoch's order from the i-th on."""

    def order(self, seed: int, epoch: int, shard: Shard, even_shards: Even) -> Order:
        """Return the order of one epoch: a pure function of the arguments."""


class EpochOrder:
    """The order of one epoch: a permutation of all samples, or 0, 1, 2 ...

    Parameters
    ----------
    num_samples : int
    seed, epoch : int
        To `SORTED_SAMPLES` samples the permutation is the sort order of one 64-bit Philox number
        per sample, and 8 bytes per sample are held; beyond it is `Permutation`, which holds none.
    shuffle : bool
    shard : (index, count)
        Every `count`-th sample from `index` on. The shards are disjoint, together they are the
        epoch, and their lengths differ by one at most.
    even_shards : {None, "drop", "repeat"}
        See `shard_length`.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        epoch: int,
        *,
        shuffle: bool,
        shard: Shard = (0, 1),
        even_shards: Even = None,
    ) -> None:
        self._num_samples, self._shard = num_samples, shard
        self._length = shard_length(num_samples, shard, even_shards)
        self._permutation: NDArray[np.int64] | Permutation | None = None
        if shuffle and num_samples <= SORTED_SAMPLES:
            keys = _sort_keys(num_samples, seed, epoch)
            self._permutation = np.argsort(keys, kind="stable").astype(np.int64, copy=False)
        elif shuffle:
            self._permutation = Permutation(num_samples, seed, epoch)

    def __len__(self) -> int:
        return self._length

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the sample ids from `start` to `stop`, (k,) int64; what is beyond is left out."""
        index, count = self._shard
        places = index + count * np.arange(start, min(stop, self._length), dtype=np.int64)
        places %= self._num_samples  # even_shards="repeat" goes on from the beginning
        return places if self._permutation is None else self._permutation[places]


def epoch_order(
    num_samples: int, seed: int, epoch: int, *, shuffle: bool, shard: Shard = (0, 1)
) -> NDArray[np.int64]:
    """Return the whole of an `EpochOrder` as one array."""
    return EpochOrder(num_samples, seed, epoch, shuffle=shuffle, shard=shard).ids(0, num_samples)


def shard_length(num_samples: int, shard: Shard, even_shards: Even = None) -> int:
    """Return the number of samples of one shard.

    Parameters
    ----------
    num_samples : int
    shard : (index, count)
    even_shards : {None, "drop", "repeat"}
        What becomes of `num_samples % count` samples too many: None gives one of them to each of
        the first shards, "drop" leaves them out, "repeat" lets the others begin the order anew.
    """
    index, count = shard
    if even_shards == "drop":
        return num_samples // count
    if even_shards == "repeat":
        return -(-num_samples // count)
    return len(range(index, num_samples, count))


def _sort_keys(num_samples: int, seed: int, epoch: int) -> NDArray[np.uint64]:
    ids = np.arange(num_samples, dtype=np.uint64)
    epochs = np.full(num_samples, epoch, np.uint64)
    slots = np.full(num_samples, _ORDER_SLOT)
    key = (np.uint64(seed) & _LOW, np.uint64(seed) >> _WORD)
    high, low, _, _ = philox4x32((ids & _LOW, ids >> _WORD, epochs, slots), key)
    keys: NDArray[np.uint64] = (high << _WORD) | low
    return keys
