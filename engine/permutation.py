"""A random permutation of [0, n) that is computed, not stored: any position at once, n to 2**62.

A Feistel network over pairs (left, right) with addition modulo the two sides instead of exclusive
or, so that the sides need not be powers of two: the "generalized Feistel" cipher of Black and
Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002), analysed by Hoang and Rogaway, "On
generalized Feistel networks" (CRYPTO 2010). left * right is the least multiple of an even number
near sqrt(n) that is n or more: of all pairs fewer than one in sqrt(n) lie beyond n, and what lands
there is permuted again until it does not (cycle walking, the same paper of Black and Rogaway).

The round function is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014) at place `half` of a stream that starts at the round's key; the keys are
Philox numbers of (seed, epoch, stream, round).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .philox import philox4x32

_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_KEY_SLOT = 0xFFFFFFFE  # far from the slots of the augmentation's draws; order.py has the last
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27))
_FAMILY_STREAM = 0xFFFFFFFD  # beside those of block_order.py and mixing.py
_AT_ONCE = 8192  # six arrays of so many fit the second cache
_MAX_SAMPLES = 2**62
# Patarin, "Generic attacks on Feistel schemes" (ASIACRYPT 2001): to tell r rounds from chance takes
# 2**((r - 4) * bits) values, bits being those of one side. Here that is 2**40 at the least.
_SECURITY_BITS = 40
_MIN_ROUNDS = 8

Words = NDArray[np.uint64]


class Permutation:
    """A permutation of 0 .. n - 1, keyed by (seed, epoch, stream), in constant memory.

    Parameters
    ----------
    num_samples : int
        n, from 1 to 2**62.
    seed : int
        0 <= seed < 2**64.
    epoch, stream : int
        From 0 to 2**32 - 1. `stream` tells permutations of one seed and epoch apart.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> order = Permutation(10**12, seed=1, epoch=0)
    >>> ids = order[[0, 1, 2]]
    >>> order.index(ids)
    array([0, 1, 2])
    """

    def __init__(self, num_samples: int, seed: int, epoch: int = 0, *, stream: int = 0) -> None:
        self._n = _checked("num_samples", num_samples, 1, _MAX_SAMPLES)
        seed = _checked("seed", seed, 0, 2**64 - 1)
        epoch = _checked("epoch", epoch, 0, 2**32 - 1)
        stream = _checked("stream", stream, 0, 2**32 - 1)
        self._left, self._right = _sides(self._n)
        self._keys = _round_keys(_num_rounds(self._left), seed, epoch, stream)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, positions: ArrayLike) -> NDArray[np.int64]:
        """Return the ids at some positions.

        Parameters
        ----------
        positions : integers from 0 to n - 1, of any shape

        Returns
        -------
        int64 array of that shape

        Raises
        ------
        IndexError
            If a position is not in the permutation.
        """
        return self._walk(positions, "positions", _encrypt)

    def index(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Return the positions of some ids: the inverse of `self[positions]`."""
        return self._walk(ids, "ids", _decrypt)

    def _walk(self, values: ArrayLike, name: str, cipher: Any) -> NDArray[np.int64]:
        words = self._checked_words(values, name)
        flat = words.reshape(-1)
        for start in range(0, flat.size, _AT_ONCE):
            part = flat[start : start + _AT_ONCE]
            part[:] = cipher(part, self._left, self._right, self._keys)
            while (beyond := np.flatnonzero(part >= self._n)).size:
                part[beyond] = cipher(part[beyond], self._left, self._right, self._keys)
        return words.view(np.int64)

    def _checked_words(self, values: ArrayLike, name: str) -> Words:
        array = np.asarray(values)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"`{name}` must be integers, got {array.dtype}.")
        if array.size and (array.min() < 0 or array.max() >= self._n):
            raise IndexError(
                f"`{name}` must lie from 0 to {self._n - 1}, got {array.min()} to {array.max()}."
            )
        return array.astype(np.uint64, order="C")


class PermutationFamily:
    """Permutations of several sizes, any number of each, evaluated together row by row.

    Parameters
    ----------
    sizes : (m,) int64
        Member i permutes 0 .. sizes[i] - 1; each from 1 to 2**62.
    seed : int
        0 <= seed < 2**64.
    """

    def __init__(self, sizes: ArrayLike, seed: int) -> None:
        self._sizes = np.asarray(sizes, np.uint64)
        sides = np.array([_sides(size) for size in self._sizes.tolist()], np.uint64)
        self._left, self._right = sides[:, 0], sides[:, 1]
        rounds = _num_rounds(int(self._left.min()))
        self._keys = _round_keys(rounds, seed, 0, _FAMILY_STREAM)

    def ids(
        self,
        members: NDArray[np.int64],
        numbers: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Return what stands at a position of permutation `number` of a member, for each row.

        Parameters
        ----------
        members, numbers, positions : (k,) int64
            0 <= members < m; 0 <= numbers; 0 <= positions < sizes[members].

        Returns
        -------
        (k,) int64
        """
        own = _mix(_mix(members.astype(np.uint64) * _GOLDEN) + numbers.astype(np.uint64))
        values = positions.astype(np.uint64)
        rows = np.arange(len(values))
        while rows.size:
            values[rows] = self._once(values[rows], members[rows], own[rows])
            rows = rows[values[rows] >= self._sizes[members[rows]]]
        return values.view(np.int64)

    def _once(self, values: Words, members: NDArray[np.int64], own: Words) -> Words:
        keys = [_mix(own + key) for key in self._keys]
        return _encrypt(values, self._left[members], self._right[members], keys)


def _sides(num_samples: int) -> tuple[np.uint64, np.uint64]:
    root = math.isqrt(num_samples - 1) + 1
    left = root + root % 2  # even: a product of two odd sides allows even permutations only
    return np.uint64(left), np.uint64(-(-num_samples // left))


def _num_rounds(side: int | np.uint64) -> int:
    bits = (int(side) - 1).bit_length()
    return max(_MIN_ROUNDS, 4 + math.ceil(_SECURITY_BITS / bits))


def _encrypt(values: Words, left_side: Any, right_side: Any, keys: Any) -> Words:
    """Run the network once; sides and keys are of all values, or arrays with one for each."""
    right: Words = values // left_side
    left = values - right * left_side
    for number, key in enumerate(keys):
        if number % 2 == 0:
            _add(right, left, key, right_side)
        else:
            _add(left, right, key, left_side)
    right *= left_side
    right += left
    return right


def _decrypt(values: Words, left_side: Any, right_side: Any, keys: Any) -> Words:
    right: Words = values // left_side
    left = values - right * left_side
    for number, key in reversed(list(enumerate(keys))):
        if number % 2 == 0:
            _subtract(right, left, key, right_side)
        else:
            _subtract(left, right, key, left_side)
    right *= left_side
    right += left
    return right


def _add(half: Words, other: Words, key: Any, side: Any) -> None:
    """Move `half`, modulo its side, by a random function of the other half, in place."""
    half += _round_function(other, key, side)
    # Where half < side, half - side wraps round to a huge number: the lesser is the residue.
    np.minimum(half, half - side, out=half)


def _subtract(half: Words, other: Words, key: Any, side: Any) -> None:
    half -= _round_function(other, key, side)
    np.minimum(half, half + side, out=half)


def _round_function(half: Words, key: Any, side: Any) -> Words:
    """Return a number below `side`, which is 2**31 at most, for every value."""
    mixed = half * _GOLDEN
    mixed += key
    mixed = _mix(mixed)
    mixed >>= _WORD
    mixed *= side
    mixed >>= _WORD
    return mixed


def _mix(words: Words) -> Words:
    """Mix in place, as SplitMix64 does; its last shift is left out: the upper half is as good."""
    shifted = words >> _SHIFTS[0]
    words ^= shifted
    words *= _MIX[0]
    np.right_shift(words, _SHIFTS[1], out=shifted)
    words ^= shifted
    words *= _MIX[1]
    return words


def _round_keys(rounds: int, seed: int, epoch: int, stream: int) -> Words:
    numbers = np.arange(rounds, dtype=np.uint64)
    constant = [np.full(rounds, value, np.uint64) for value in (stream, epoch, _KEY_SLOT)]
    key = (np.uint64(seed) & _LOW, np.uint64(seed) >> _WORD)
    high, low, _, _ = philox4x32((numbers, constant[0], constant[1], constant[2]), key)
    keys: Words = (high << _WORD) | low
    return keys


def _checked(name: str, value: Any, low: int, high: int) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        raise ValueError(f"`{name}` must be a whole number from {low} to {high}, got {value!r}.")
    return int(value)
