"""Sources one after the other as one, and orders that draw from parts of it by weight."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .decode import Decoded, Extent, Room
from .order import Even, Order, Shard, shard_length
from .permutation import Permutation, PermutationFamily
from .sources import Located, Source

_SLOTS_STREAM = 0xFFFFFFFE
Part = range | NDArray[np.int64]


class ConcatSource:
    """Several sources as one: the ids of the second go on where those of the first end.

    Parameters
    ----------
    sources : list of Source
        Of the same number of channels and dtype. Labels and weights: all have them, or none, and
        of one shape; what a label means must be the same everywhere.

    Attributes
    ----------
    parts : list of range
        The ids of each source here: what `WeightedShuffle` takes.

    Raises
    ------
    ValueError
        If the sources don't fit together.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise ValueError("`sources` is empty; give at least one source.")
        self._sources = list(sources)
        ends = np.cumsum([len(source) for source in sources]).tolist()
        self._begins = [0, *ends[:-1]]
        self.parts = [range(begin, end) for begin, end in zip(self._begins, ends, strict=True)]
        self.channels: int = self._same("channels")
        self.dtype: np.dtype[Any] = self._same("dtype")
        sizes = {source.image_size for source in sources}
        self.image_size = sizes.pop() if len(sizes) == 1 else None
        self.labels = self._joined("labels")
        self.weights = self._joined("weights")

    def _same(self, name: str) -> Any:
        values = [getattr(source, name) for source in self._sources]
        if any(value != values[0] for value in values):
            raise ValueError(f"All of `sources` must have the same {name}, got {values}.")
        return values[0]

    def _joined(self, name: str) -> NDArray[Any] | None:
        values = [getattr(source, name) for source in self._sources]
        lacking = [row for row, value in enumerate(values) if value is None]
        if len(lacking) == len(values):
            return None
        shapes = {np.shape(value)[1:] for value in values if value is not None}
        if lacking or len(shapes) > 1:
            what = f"sources {lacking} have none" if lacking else f"their shapes are {shapes}"
            raise ValueError(f"All of `sources` or none must have {name} of one shape; {what}.")
        kinds = {"text" if value.dtype.kind in "USO" else "numbers" for value in values}
        if len(kinds) > 1:
            dtypes = [str(value.dtype) for value in values]
            raise ValueError(f"All of `sources` must have {name} of one kind, got {dtypes}.")
        return np.concatenate(values)

    def __len__(self) -> int:
        return self.parts[-1].stop

    @property
    def names(self) -> Sequence[str]:
        """The sources' names, one after the other."""
        return _Names(self)

    def _find(self, sample_id: int) -> tuple[Source, int]:
        part = bisect_right(self._begins, sample_id) - 1
        return self._sources[part], sample_id - self._begins[part]

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Return one picture, (H, W, C), from the source that has it."""
        source, own_id = self._find(sample_id)
        return source.read(own_id, min_size)

    def read_into(self, sample_id: int, min_size: Extent, room: Room) -> Decoded | None:
        """Read one picture into given memory if its source can, else return None."""
        source, own_id = self._find(sample_id)
        read_into = getattr(source, "read_into", None)
        decoded: Decoded | None = read_into(own_id, min_size, room) if read_into else None
        return decoded

    def locate(self, sample_ids: NDArray[np.int64]) -> Located | None:
        """Tell where pictures lie in memory if all are of one source, and it can tell."""
        if len(sample_ids) == 0:
            return None
        source, first = self._find(int(sample_ids[0]))
        own_ids = sample_ids - (int(sample_ids[0]) - first)
        locate = getattr(source, "locate", None)
        if locate is None or own_ids.min() < 0 or own_ids.max() >= len(source):
            return None
        located: Located | None = locate(own_ids)
        return located


class _Names(Sequence[str]):
    """Names on demand: nothing is copied."""

    def __init__(self, joined: ConcatSource) -> None:
        self._joined = joined

    def __len__(self) -> int:
        return len(self._joined)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        source, own_id = self._joined._find(range(len(self))[place])
        return source.names[own_id]

    def __iter__(self) -> Iterator[str]:
        for source in self._joined._sources:
            yield from source.names


class WeightedShuffle:
    """Draw the samples of an epoch from parts of the source, by weight.

    Every epoch has the same number of samples of each part: `num_samples` by weight, rounded so
    that the sum is exact. They come in a random order. A part goes through all its samples, each
    once and in a random order, before one comes again; where an epoch ends within such a pass, the
    next epoch goes on with it. So nothing of a large part is left out for ever, and a small part's
    samples come equally often.

    Parameters
    ----------
    parts : list of ranges or of int64 arrays
        The ids of each part; `ConcatSource.parts`, for example. They need not cover the source.
    weights : list of float
        Shares of the parts; their sum doesn't matter.
    num_samples : int, optional
        Samples of one epoch. Default: as many as the parts have together.
    num_ids : int, optional
        Samples that the source has. Default: one more than the highest id of the parts.

    Raises
    ------
    ValueError
        If a part is empty, a weight is not positive, or a part's share is less than one sample.

    Examples
    --------
    >>> both = ConcatSource([photos, drawings])  # doctest: +SKIP
    >>> shuffle = WeightedShuffle(both.parts, [3, 1])  # doctest: +SKIP
    >>> loader = Loader(both, augmenter, shuffle=shuffle)  # doctest: +SKIP
    """

    is_interleaved = True

    def __init__(
        self,
        parts: Sequence[range | ArrayLike],
        weights: Sequence[float],
        num_samples: int | None = None,
        *,
        num_ids: int | None = None,
    ) -> None:
        checked = [_checked_part(number, part) for number, part in enumerate(parts)]
        if not checked:
            raise ValueError("`parts` is empty; give at least one part.")
        self.sizes = np.array([len(part) for part in checked], np.int64)
        total = int(self.sizes.sum()) if num_samples is None else num_samples
        if isinstance(total, bool) or not isinstance(total, int | np.integer) or total < 1:
            raise ValueError(f"`num_samples` must be a whole number above 0, got {num_samples!r}.")
        self.num_samples = int(total)
        self.quotas = _quotas(self.num_samples, _checked_weights(weights, len(checked)))
        self._lay_out(checked)
        highest = max(_highest(part) for part in checked)
        self.num_ids = highest + 1 if num_ids is None else num_ids
        if highest >= self.num_ids:
            raise ValueError(f"`parts` have the id {highest}, but `num_ids` is {num_ids}.")

    def _lay_out(self, parts: Sequence[Part]) -> None:
        """Keep ranges as start and step, and all arrays as one."""
        arrays = [part for part in parts if not isinstance(part, range)]
        self._table = np.concatenate(arrays) if arrays else np.empty(0, np.int64)
        self._is_range = np.array([isinstance(part, range) for part in parts])
        sizes = np.where(self._is_range, 0, self.sizes)
        self._starts, self._steps = np.cumsum(sizes) - sizes, np.ones(len(parts), np.int64)
        for number, part in enumerate(parts):
            if isinstance(part, range):
                self._starts[number], self._steps[number] = part.start, part.step

    def parts_ids(self, parts: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples at some places of some parts, (k,) int64."""
        ids: NDArray[np.int64] = self._starts[parts] + self._steps[parts] * places
        listed = ~self._is_range[parts]
        ids[listed] = self._table[ids[listed]]
        return ids

    @classmethod
    def balanced(cls, labels: ArrayLike, num_samples: int | None = None) -> "WeightedShuffle":
        """Give all classes equal shares.

        Parameters
        ----------
        labels : (n,) array
            The class of each sample: numbers or names.
        num_samples : int, optional
            Samples of one epoch. Default: n.
        """
        array = np.asarray(labels)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(
                f"`labels` must hold one class per sample, (n,); got shape {array.shape}."
            )
        classes, codes = np.unique(array, return_inverse=True)
        by_class = np.argsort(codes, kind="stable")
        parts = np.split(by_class, np.cumsum(np.bincount(codes))[:-1])
        count = len(array) if num_samples is None else num_samples
        return cls(parts, [1.0] * len(classes), count, num_ids=len(array))

    def order(
        self, seed: int, epoch: int, shard: Shard = (0, 1), even_shards: Even = None
    ) -> "WeightedOrder":
        """Return the order of one epoch and shard."""
        return WeightedOrder(self, seed, epoch, shard, even_shards)


class WeightedOrder(Order):
    """One epoch and shard of a `WeightedShuffle`: any place of it at once.

    Parameters
    ----------
    shuffle : WeightedShuffle
    seed, epoch : int
    shard, even_shards
        As for `EpochOrder`.
    """

    def __init__(
        self,
        shuffle: WeightedShuffle,
        seed: int,
        epoch: int,
        shard: Shard = (0, 1),
        even_shards: Even = None,
    ) -> None:
        self._shuffle, self._shard = shuffle, shard
        self._length = shard_length(shuffle.num_samples, shard, even_shards)
        self._slots = Permutation(shuffle.num_samples, seed, epoch, stream=_SLOTS_STREAM)
        self._passes = PermutationFamily(shuffle.sizes, seed)
        self._begins = np.cumsum(shuffle.quotas) - shuffle.quotas
        self._drawn_before = epoch * shuffle.quotas  # of each part, in the epochs before

    def __len__(self) -> int:
        return self._length

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the sample ids from `start` to `stop`, (k,) int64; what is beyond is left out."""
        index, count = self._shard
        places = index + count * np.arange(start, min(stop, self._length), dtype=np.int64)
        slots = self._slots[places % self._shuffle.num_samples]
        part = np.searchsorted(self._begins, slots, side="right") - 1
        draws = self._drawn_before[part] + slots - self._begins[part]
        passes, places = np.divmod(draws, self._shuffle.sizes[part])
        return self._shuffle.parts_ids(part, self._passes.ids(part, passes, places))


def _highest(part: Part) -> int:
    return max(part[0], part[-1]) if isinstance(part, range) else int(part.max())


def _quotas(num_samples: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Share out by largest remainder; ties go to the first."""
    shares = num_samples * (weights / weights.sum())
    quotas: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    missing = num_samples - int(quotas.sum())
    quotas[np.argsort(quotas - shares, kind="stable")[:missing]] += 1
    if quotas.min() < 1:
        raise ValueError(
            f"Part {quotas.argmin()} gets not one of {num_samples} samples by its weight "
            f"{weights[quotas.argmin()]:g}. Raise the weight or `num_samples`, or leave it out."
        )
    return quotas


def _checked_weights(weights: Sequence[float], num_parts: int) -> NDArray[np.float64]:
    array = np.asarray(weights, np.float64)
    if array.shape != (num_parts,):
        raise ValueError(
            f"`weights` must have one number for each of {num_parts} parts, got {weights!r}."
        )
    if not (np.isfinite(array).all() and array.min() > 0):
        raise ValueError(f"`weights` must be above 0 and finite, got {weights!r}.")
    return array


def _checked_part(number: int, part: range | ArrayLike) -> Part:
    ids = part if isinstance(part, range) else np.asarray(part)
    if len(ids) == 0:
        raise ValueError(f"Part {number} of `parts` is empty; leave it out.")
    if isinstance(ids, range):
        if min(ids[0], ids[-1]) < 0:
            raise ValueError(f"Part {number} of `parts` must have ids from 0 on, got {ids}.")
        return ids
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or ids.min() < 0:
        raise ValueError(
            f"Part {number} of `parts` must be a range or a list of ids from 0 on, got "
            f"{ids.dtype} of shape {ids.shape}."
        )
    return ids.astype(np.int64)
