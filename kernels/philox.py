"""Philox4x32-10 for one counter, in 32-bit words: for a CUDA thread, bit-equal to `engine.philox`.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

import numpy as np

from .pixel import pixel_function

ROUNDS = 10
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
WORD = np.uint64(32)


@pixel_function
def philox4x32(word0, word1, word2, word3, key0, key1):
    """Return four random words for a counter of four words and a key of two; all uint32.

    The engine's counter is (id low, id high, epoch, slot), its key (seed low, seed high).
    """
    for _ in range(ROUNDS):
        # Sums and products of uint32 are uint64 to Numba; only what is cast back stays a word.
        product0 = MULTIPLIER_0 * np.uint64(word0)
        product1 = MULTIPLIER_1 * np.uint64(word2)
        word0 = np.uint32(product1 >> WORD) ^ word1 ^ key0
        word2 = np.uint32(product0 >> WORD) ^ word3 ^ key1
        word1, word3 = np.uint32(product1), np.uint32(product0)
        key0 = np.uint32(np.uint64(key0) + WEYL_0)
        key1 = np.uint32(np.uint64(key1) + WEYL_1)
    return word0, word1, word2, word3
