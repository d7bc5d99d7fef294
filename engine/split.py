"""Training and validation parts that keep the shares of the classes and survive added files."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def stratified_split(
    names: Sequence[str], labels: NDArray[Any] | None, fraction: float, seed: int = 0
) -> tuple[Ids, Ids]:
    """Split samples into training and validation ids, class by class.

    Parameters
    ----------
    names : sequence of str
        One per sample; the hash of (seed, name) decides, not the position, so that adding files
        moves few of the others.
    labels : (n,) array or None
        None splits all samples as one class.
    fraction : float
        Share of each class for validation, 0 < fraction < 1. A class of two samples or more gives
        at least one to each side.
    seed : int

    Returns
    -------
    train_ids, validation_ids : int64 arrays, ascending

    Raises
    ------
    ValueError
        If the fraction is not between 0 and 1, or a side would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"`fraction` must lie between 0 and 1, got {fraction!r}.")
    if labels is None:
        labels = np.zeros(len(names), np.int64)
    if np.shape(labels) != (len(names),):
        raise ValueError(
            f"`labels` must be one class per name ({len(names)}), got shape {np.shape(labels)}."
        )
    validation = np.zeros(len(names), np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranked = sorted(members.tolist(), key=lambda i: _digest(seed, names[i]))
        count = min(max(1, round(len(ranked) * fraction)), len(ranked) - 1)
        validation[ranked[:count]] = True
    if not validation.any():
        raise ValueError(f"{len(names)} samples are too few to split: no class has two of them.")
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def _digest(seed: int, name: str) -> bytes:
    return hashlib.blake2b(
        f"{seed}:{name}".encode("utf-8", "surrogateescape"), digest_size=16
    ).digest()
