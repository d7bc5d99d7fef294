"""The shares that a split keeps: what the samples of each class, label or range of values are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

_BINS = 10  # of a regression target
_SAMPLES_PER_BIN = 50  # at least: the edges of smaller bins move with every added file


def stratum_members(labels: NDArray[Any] | None, count: int) -> tuple[Ids, Ids]:
    """List which samples belong to which strata.

    Parameters
    ----------
    labels : array or None
        (n,) integers, text, or zeros and ones: the classes are the strata. (n, k) zeros and ones:
        each label is a stratum, and so is having none; a sample is in several. (n,) or (n, k)
        other floats: up to ten ranges of each column, as full as each other. None: all samples
        in one.
    count : int
        n.

    Returns
    -------
    samples, strata : (m,) int64 arrays
        The sample ``samples[i]`` is in the stratum ``strata[i]``.

    Raises
    ------
    ValueError
        If `labels` are none of these, or have another length, or a float is not finite.
    """
    labels = np.zeros(count, np.int64) if labels is None else np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != count or 0 in labels.shape:
        raise ValueError(
            f"`labels` must be one class, one row of 0/1 or one row of numbers per name ({count}), "
            f"got shape {labels.shape}."
        )
    is_binary = labels.dtype.kind in "biuf" and bool(np.isin(labels, (0, 1)).all())
    if labels.ndim == 2 and is_binary:
        without = (labels == 0).all(axis=1)
        return _pairs(np.column_stack([labels, without]).nonzero())
    if labels.dtype.kind == "f" and not is_binary:
        return _range_members(labels.reshape(count, -1))
    if labels.ndim == 2:
        raise ValueError(
            "`labels` of two axes must be 0 or 1 (multi-label) or floats (regression), got "
            f"{labels.dtype} such as {labels.flat[0]}."
        )
    return np.arange(count), np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _range_members(values: NDArray[Any]) -> tuple[Ids, Ids]:
    """Give every column of numbers its own ranges."""
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"`labels` must be finite; sample {wrong[0]} has {values[wrong[0]].tolist()}."
        )
    num_bins = max(1, min(_BINS, len(values) // _SAMPLES_PER_BIN))
    inner = np.arange(1, num_bins) / num_bins
    bins = [np.searchsorted(np.quantile(column, inner), column) for column in values.T]
    return _pairs(
        (
            np.tile(np.arange(len(values)), len(bins)),
            np.concatenate([num_bins * number + ranges for number, ranges in enumerate(bins)]),
        )
    )


def _pairs(pairs: tuple[NDArray[Any], ...]) -> tuple[Ids, Ids]:
    return pairs[0].astype(np.int64), pairs[1].astype(np.int64)
