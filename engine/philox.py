"""Counter-based random numbers: a pure function of (seed, epoch, sample id, slot).

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), vectorised over samples. The counter is (id low, id high, epoch, slot), the key the seed.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_ROUNDS = 10

Words = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]


def philox4x32(counter: Words, key: tuple[np.uint64, np.uint64]) -> Words:
    """Return four random 32-bit words for every counter.

    Parameters
    ----------
    counter : four uint64 arrays of one shape
        Values below 2**32.
    key : two uint64
        Values below 2**32.

    Returns
    -------
    four uint64 arrays of that shape
        Values below 2**32.
    """
    word0, word1, word2, word3 = counter
    key0, key1 = key
    for _ in range(_ROUNDS):
        product0 = _MULTIPLIERS[0] * word0
        product1 = _MULTIPLIERS[1] * word2
        word0, word1, word2, word3 = (
            (product1 >> _WORD) ^ word1 ^ key0,
            product1 & _LOW,
            (product0 >> _WORD) ^ word3 ^ key1,
            product0 & _LOW,
        )
        key0 = (key0 + _WEYL[0]) & _LOW
        key1 = (key1 + _WEYL[1]) & _LOW
    return word0, word1, word2, word3


def random_words(
    seed: int, epoch: int, sample_ids: ArrayLike, num_slots: int
) -> NDArray[np.uint64]:
    """Draw `4 * num_slots` words for each sample.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    epoch : int
        0 <= epoch < 2**32.
    sample_ids : (n,) integers
        0 <= id < 2**63.
    num_slots : int
        Each slot is one Philox block. A new slot leaves the draws of the others as they are.

    Returns
    -------
    (n, 4 * num_slots) uint64
        Values below 2**32; row i depends on (seed, epoch, sample_ids[i]) alone.
    """
    ids = np.asarray(sample_ids, np.uint64)[:, np.newaxis]
    slots = np.arange(num_slots, dtype=np.uint64)[np.newaxis, :]
    ids, slots = np.broadcast_arrays(ids, slots)
    epochs = np.full(ids.shape, epoch, np.uint64)
    key = (np.uint64(seed) & _LOW, np.uint64(seed) >> _WORD)
    words = philox4x32((ids & _LOW, ids >> _WORD, epochs, slots), key)
    return np.stack(words, axis=-1).reshape(len(ids), 4 * num_slots)


def random_uniforms(
    seed: int, epoch: int, sample_ids: ArrayLike, num_slots: int
) -> NDArray[np.float64]:
    """Draw uniform numbers in [0, 1), as `random_words`; 24 bits each, so float32 holds them."""
    words = random_words(seed, epoch, sample_ids, num_slots)
    uniforms: NDArray[np.float64] = (words >> np.uint64(8)) * 2.0**-24
    return uniforms
