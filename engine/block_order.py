"""An order for shards that stream well: blocks shuffled, and the samples of a few at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .order import Even, Order, Shard, shard_length
from .permutation import Permutation

_BLOCKS_STREAM = 0xFFFFFFFF  # the windows have the streams from 0 on


class BlockShuffle:
    """Shuffle blocks of neighbouring samples, then the samples of `window` blocks together.

    The blocks of an epoch come in a random order. The first `window` of them are a window: its
    samples come in a random order, and when all are done, the next window begins. Each sample comes
    once an epoch, and at any time the samples of `window` blocks are enough (while the loader
    works ahead from one window into the next, of two windows). `window=1` shuffles within each
    block only; with as many as there are blocks it is a full shuffle.

    Shards are runs of the epoch's order, so that each reads blocks of its own, whole but for the
    first and the last.

    Parameters
    ----------
    block_sizes : (k,) integers
        Samples of each block, of a tar file for example; block 0 has the ids from 0 on. 24 bytes a
        block are held, nothing a sample.
    window : int
        Blocks that are shuffled together. More mix better and need more memory or open files.

    Raises
    ------
    ValueError
        If a block is empty or `window` is less than 1.

    Examples
    --------
    >>> shuffle = BlockShuffle([1000] * 64, window=8)
    >>> loader = Loader(source, augmenter, shuffle=shuffle)  # doctest: +SKIP
    """

    is_interleaved = False

    def __init__(self, block_sizes: Sequence[int] | NDArray[np.int64], window: int = 16) -> None:
        self.block_sizes = _checked_sizes(block_sizes)
        if isinstance(window, bool) or not isinstance(window, int | np.integer) or window < 1:
            raise ValueError(f"`window` must be a whole number of at least 1, got {window!r}.")
        self.window = int(window)
        self.num_samples = self.num_ids = int(self.block_sizes.sum())

    def order(
        self, seed: int, epoch: int, shard: Shard = (0, 1), even_shards: Even = None
    ) -> "BlockOrder":
        """Return the order of one epoch and shard."""
        return BlockOrder(self.block_sizes, self.window, seed, epoch, shard, even_shards)


class BlockOrder(Order):
    """One epoch and shard of a `BlockShuffle`: any place of it at once.

    Parameters
    ----------
    block_sizes, window
        As for `BlockShuffle`.
    seed, epoch : int
    shard : (index, count)
        The `index`-th of `count` runs of the order, whose lengths differ by one at most.
    even_shards : {None, "drop", "repeat"}
        See `shard_length`.
    """

    def __init__(
        self,
        block_sizes: NDArray[np.int64],
        window: int,
        seed: int,
        epoch: int,
        shard: Shard = (0, 1),
        even_shards: Even = None,
    ) -> None:
        self._key = seed, epoch
        blocks = Permutation(len(block_sizes), seed, epoch, stream=_BLOCKS_STREAM)
        order = blocks[np.arange(len(block_sizes))]
        self._first_ids = (np.cumsum(block_sizes) - block_sizes)[order]
        self._starts = np.concatenate([[0], np.cumsum(block_sizes[order])])
        self._num_samples = int(self._starts[-1])
        self._window_starts = np.append(self._starts[:-1:window], self._num_samples)
        self._length = shard_length(self._num_samples, shard, even_shards)
        index, count = shard
        before = min(index, self._num_samples % count)  # shards before this one that have one more
        short = self._num_samples // count
        self._begin = index * self._length if even_shards else index * short + before

    def __len__(self) -> int:
        return self._length

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the sample ids from `start` to `stop`, (k,) int64; what is beyond is left out."""
        places = self._begin + np.arange(start, min(stop, self._length), dtype=np.int64)
        places %= self._num_samples
        windows = np.searchsorted(self._window_starts, places, side="right") - 1
        for window in np.unique(windows):
            inside = windows == window
            places[inside] = self._shuffled(int(window), places[inside])
        blocks = np.searchsorted(self._starts, places, side="right") - 1
        places += self._first_ids[blocks] - self._starts[blocks]
        return places

    def _shuffled(self, window: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        start, stop = self._window_starts[window : window + 2].tolist()
        permutation = Permutation(stop - start, *self._key, stream=window)
        shuffled: NDArray[np.int64] = permutation[places - start] + start
        return shuffled


def _checked_sizes(block_sizes: ArrayLike) -> NDArray[np.int64]:
    sizes = np.asarray(block_sizes)
    if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iu":
        raise ValueError(
            f"`block_sizes` must be a list of whole numbers, got {sizes.dtype} of shape "
            f"{sizes.shape}."
        )
    if sizes.min() < 1:
        raise ValueError(
            f"`block_sizes` must be 1 or more each, got {sizes.min()} for block {sizes.argmin()}. "
            "Leave empty blocks out."
        )
    return sizes.astype(np.int64)
