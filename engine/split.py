"""Training, validation and test parts that keep the shares of the classes and survive added files.

The hash of a sample's name, or of its group's, is a number from 0 to 1 that nothing else has a say
in: below 0.2 it goes to a validation part of 0.2. Only where a class comes out more than a fifth
off its share do the samples nearest to the limit change sides.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .strata import Ids, stratum_members

_SLACK = 0.2  # of a share: wider moves fewer samples when files are added, narrower splits evener
_MISSING = 1.0  # the price of a part without a class; being off its share costs up to 1
_USED_UP = 3.0  # ... and of leaving none of a class to train with, which is worse than both


def stratified_split(
    names: Sequence[str],
    labels: NDArray[Any] | None,
    fraction: float,
    seed: int = 0,
    groups: Sequence[Any] | None = None,
) -> tuple[Ids, Ids]:
    """Split samples into training and validation ids.

    Parameters
    ----------
    names : sequence of str
        One per sample. The hash of (seed, name) decides, not the position, so that adding files
        moves hardly any of the others. Samples of the same name stay together.
    labels : array or None
        (n,) integers or text: classes. (n, k) zeros and ones: labels of which a sample may have
        several. (n,) or (n, k) other floats: numbers, of which the distribution is kept. None
        keeps only the fraction.
    fraction : float
        Share of each class for validation, 0 < fraction < 1. A small class gets it to the nearest
        sample, a large one to a fifth (0.16 to 0.24 for 0.2). Of a class of two samples (groups)
        or more, each side gets at least one.
    seed : int
    groups : sequence, optional
        One per sample, compared as text: a patient, a place, a photographer. All samples of a group
        go to the same side, and the hash of the group decides. The shares are then kept as well
        as whole groups allow.

    Returns
    -------
    train_ids, validation_ids : int64 arrays, ascending

    Raises
    ------
    ValueError
        If the fraction is not between 0 and 1, `labels` or `groups` do not fit the names, or a
        side would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"`fraction` must lie between 0 and 1, got {fraction!r}.")
    train, validation = _split(names, labels, {"validation": fraction}, seed, groups)
    return train, validation


def train_validation_test_split(
    names: Sequence[str],
    labels: NDArray[Any] | None,
    *,
    validation: float = 0.2,
    test: float = 0.1,
    seed: int = 0,
    groups: Sequence[Any] | None = None,
) -> tuple[Ids, Ids, Ids]:
    """Split samples into training, validation and test ids.

    Parameters
    ----------
    names, labels, seed, groups
        As in `stratified_split`, whose validation ids are the same.
    validation, test : float
        Shares of each class, above 0 and below 1 together.

    Returns
    -------
    train_ids, validation_ids, test_ids : int64 arrays, ascending

    Raises
    ------
    ValueError
        If the shares leave a part empty, or `labels` or `groups` do not fit the names.
    """
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise ValueError(
            "`validation` and `test` must be above 0, and below 1 together, got "
            f"{validation!r} and {test!r}."
        )
    fractions = {"validation": validation, "test": test}
    train, validation_ids, test_ids = _split(names, labels, fractions, seed, groups)
    return train, validation_ids, test_ids


def _split(
    names: Sequence[str],
    labels: NDArray[Any] | None,
    fractions: dict[str, float],
    seed: int,
    groups: Sequence[Any] | None,
) -> list[Ids]:
    """Return the ids of the training part, then those of the others."""
    keys, units = _units(names, groups)
    samples, strata = stratum_members(labels, len(names))
    members = _members(units[samples], strata, len(keys))
    hashes = np.array([_hash(seed, key) for key in keys])
    parts = np.zeros(len(keys), np.int64)
    limit = 0.0
    for number, (name, fraction) in enumerate(fractions.items(), start=1):
        limit += fraction
        parts[_choose(members, hashes, parts == 0, limit, fraction)] = number
        if not (parts == number).any():
            of_groups = "" if groups is None else f" in {len(keys)} groups"
            raise ValueError(
                f"{len(names)} samples{of_groups} are too few for a {name} part of {fraction}: no "
                "class has enough of them."
            )
    return [np.flatnonzero(parts[units] == number) for number in range(len(fractions) + 1)]


def _units(names: Sequence[str], groups: Sequence[Any] | None) -> tuple[list[str], Ids]:
    """Return what is moved as a whole, and which of these each sample belongs to."""
    if groups is None:
        keys = list(names)
    elif len(groups) != len(names):
        raise ValueError(
            f"`groups` must be one per name ({len(names)}), got {len(groups)} of them."
        )
    else:
        keys = [str(group) for group in groups]
        unknown = [i for i, group in enumerate(groups) if _is_unknown(group)]
        if unknown:
            raise ValueError(
                f"`groups` has no value for sample {unknown[0]} ({names[unknown[0]]}), and "
                f"{len(unknown)} in all. Give each of these a group of its own, such as its name."
            )
    numbers: dict[str, int] = {}
    units = [numbers.setdefault(key, len(numbers)) for key in keys]
    return list(numbers), np.array(units, np.int64)


def _is_unknown(group: Any) -> bool:
    is_nan = isinstance(group, float) and group != group
    return group is None or is_nan or type(group).__name__ in ("NAType", "NaTType")  # pandas'


def _hash(seed: int, key: str) -> float:
    """Return a number from 0 to 1, the same everywhere."""
    text = f"{seed}:{key}".encode("utf-8", "surrogateescape")
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 11) / 2**53


class _Members(NamedTuple):
    """How many samples of each stratum are in each unit, without the zeros, sorted by unit.

    `units`, `strata` and `counts` are columns of one table; the rows of unit u are
    ``offsets[u]:offsets[u + 1]``. `totals` are the samples of each stratum.
    """

    units: Ids
    strata: Ids
    counts: Ids
    offsets: Ids
    totals: Ids

    def tally(self, chosen: NDArray[np.bool_]) -> Ids:
        """Count the samples of each stratum in the chosen units."""
        counts = self.counts * chosen[self.units]
        return np.bincount(self.strata, counts, len(self.totals)).astype(np.int64)


def _members(units: Ids, strata: Ids, num_units: int) -> _Members:
    num_strata = int(strata.max()) + 1
    cells, counts = np.unique(units * num_strata + strata, return_counts=True)
    offsets = np.searchsorted(cells, np.arange(num_units + 1) * num_strata)
    totals = np.bincount(strata, minlength=num_strata)
    return _Members(cells // num_strata, cells % num_strata, counts, offsets, totals)


def _choose(
    members: _Members, hashes: NDArray[Any], free: NDArray[np.bool_], limit: float, fraction: float
) -> NDArray[np.bool_]:
    """Choose free units for a part: those hashed below the limit, then as few changes as needed.

    Units that alone are more than the part's share of a stratum stay out of it, unless a stratum
    has no others.
    """
    shares = _Shares(members, free, fraction)
    small = free & ~shares.is_exceeded_by(members)
    chosen = small & (hashes < limit)
    by_distance = np.argsort(np.abs(hashes - limit), kind="stable")
    shares.start(members.tally(chosen))
    for eligible in (small, free):
        _correct(members, shares, chosen, by_distance[eligible[by_distance]])
    return chosen


def _correct(
    members: _Members, shares: "_Shares", chosen: NDArray[np.bool_], by_distance: Ids
) -> None:
    """Move units in or out where the strata are then nearer to their shares, as often as needed.

    They are gone through from the limit outwards: those change sides that the hash nearly put on
    the other one.
    """
    is_changing = True
    while is_changing:
        is_changing = False
        concerned = np.bincount(members.units, shares.off()[members.strata], len(chosen)) > 0
        for unit in by_distance[concerned[by_distance]].tolist():
            rows = slice(members.offsets[unit], members.offsets[unit + 1])
            sign = -1 if chosen[unit] else 1
            if shares.improve(members.strata[rows], sign * members.counts[rows]):
                chosen[unit] = not chosen[unit]
                is_changing = True


class _Shares:
    """How many samples of each stratum a part has, and how many it should have."""

    def __init__(self, members: _Members, free: NDArray[np.bool_], fraction: float) -> None:
        wanted = members.totals * fraction
        nearest = np.round(wanted)
        self._totals = np.maximum(members.totals, 1)
        self._least = np.minimum(np.ceil(wanted * (1 - _SLACK)), nearest)
        self._most = np.maximum(np.floor(wanted * (1 + _SLACK)), nearest)
        self._available = members.tally(free)
        self._counts = np.zeros_like(self._available)

    def start(self, counts: Ids) -> None:
        """Begin with so many samples of each stratum."""
        self._counts = counts

    def is_exceeded_by(self, members: _Members) -> NDArray[np.bool_]:
        """Tell which units have more of a stratum than the part should; one sample never is."""
        exceeding = members.counts > np.maximum(self._most, 1)[members.strata]
        return np.bincount(members.units, exceeding, len(members.offsets) - 1) > 0

    def off(self) -> NDArray[np.bool_]:
        """Tell which strata are not what they should be."""
        return self._costs(np.arange(len(self._counts)), self._counts) > 0

    def improve(self, strata: Ids, changes: Ids) -> bool:
        """Change these counts if that brings the part nearer to its shares; tell whether."""
        counts = self._counts[strata]
        before, after = self._costs(strata, counts), self._costs(strata, counts + changes)
        if after.sum() >= before.sum() - 1e-9:
            return False
        self._counts[strata] = counts + changes
        return True

    def _costs(self, strata: Ids, counts: Ids) -> NDArray[np.float64]:
        outside = np.maximum(self._least[strata] - counts, counts - self._most[strata])
        costs: NDArray[np.float64] = np.maximum(outside, 0) / self._totals[strata]
        costs += _MISSING * (counts == 0)
        costs += _USED_UP * (counts == self._available[strata])
        return costs
