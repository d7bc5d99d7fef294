"""From a source to batches: ordered, prefetched on threads, resumable at any step."""

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .affine import Size
from .augmenter import Augmenter
from .batch import Batch, BatchInWork, PlannedBatch, Skipped
from .cached import CachedSource, CacheInfo
from .device_decode import DecoderInfo, DeviceDecoder, EncodedBatch
from .errors import SampleError
from .order import EpochOrder, Even, Order, Shuffle, shard_length
from .plan import Plan
from .sources import Source, checked_ids
from .threads import Lane, run_slices

_PLANNED_SAMPLES = 1024
_SLICES_PER_THREAD = 2  # a thread that is done goes on with the next batch


class Loader:
    """Loads, augments and batches the samples of a source.

    Parameters
    ----------
    source : Source
        `ArraySource`, `FolderSource`, or anything with their attributes.
    augmenter : Augmenter
        Its seed is also the seed of the order; its threads do the work.
    batch_size : int
        The last batch of an epoch is shorter unless `drop_remainder`.
    shuffle : bool or Shuffle
        True: a new permutation each epoch, a pure function of (seed, epoch); to 4,194,304 samples
        it is an array of 8 bytes per sample, beyond it is computed batch by batch. False: 0, 1,
        2 ... Or a `BlockShuffle` or `WeightedShuffle`.
    shard : (index, count)
        This loader's share: every `count`-th sample of the epoch's order.
    even_shards : {None, "drop", "repeat"}
        What to do where `count` does not divide the samples. None: the first shards have one more,
        and may have a batch more. "drop": the samples too many are left out this epoch. "repeat":
        the shards that lack one take it from the beginning of the epoch's order, as torch's
        `DistributedSampler` does. With both, all shards have the same steps and samples.
    epochs : int, optional
        So many epochs for each `for`; None never ends.
    drop_remainder : bool
        Leave out the last, short batch; every shard then has the same number of batches.
    prefetch : int
        Batches worked on ahead of the one that is waited for.
    on_error : {"raise", "skip"}
        What to do with a sample that cannot be read. "skip" leaves it out of its batch, collects
        it in `skipped`, and warns at the end of the epoch.
    cache : {None, "memory"}
        "memory" keeps decoded pictures, so that later epochs neither read nor decode them; see
        `CachedSource`. JPEGs are kept at the smallest size that is useful in any epoch; without a
        cache each epoch decodes what its own map needs, so that a few pictures in a hundred, where
        the two differ, come out a little sharper or softer (57 to 78 dB apart).
    cache_bytes : int, optional
        At most so much is kept. Default: half of the memory that is available to this process now.
    decode_on : {"host", "device"}
        "device": nvImageCodec decodes JPEGs on the augmenter's CUDA device, a batch at a time, and
        they stay there; what it cannot decode is decoded by the host, and `decoder_info` counts
        both. Levels differ a little from the host's: docs/cuda.md.

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense, or no batch would ever come.
    ModuleNotFoundError, DeviceError
        If pictures cannot be decoded on the device as asked; it names the remedy.

    Notes
    -----
    A `for` goes on where the last one stopped: a second `for` is the next epoch, one after a
    `break` takes the rest. `state_dict` is that position.
    """

    def __init__(
        self,
        source: Source,
        augmenter: Augmenter,
        batch_size: int = 32,
        *,
        shuffle: bool | Shuffle = True,
        shard: tuple[int, int] = (0, 1),
        even_shards: Even = None,
        epochs: int | None = 1,
        drop_remainder: bool = False,
        prefetch: int = 2,
        on_error: Literal["raise", "skip"] = "raise",
        cache: Literal["memory"] | None = None,
        cache_bytes: int | None = None,
        decode_on: Literal["host", "device"] = "host",
    ) -> None:
        if not isinstance(augmenter, Augmenter):
            raise TypeError(f"`augmenter` must be an Augmenter, got {type(augmenter).__name__}.")
        self.source = _with_cache(source, augmenter.useful_size, cache, cache_bytes)
        self.augmenter = augmenter
        self.batch_size = _at_least("batch_size", batch_size, 1)
        self.shuffle = _checked_shuffle(shuffle, len(self.source))
        self.shard = _checked_shard(shard)
        if even_shards not in (None, "drop", "repeat"):
            raise ValueError(
                f'`even_shards` must be "drop", "repeat" or None, got {even_shards!r}.'
            )
        self.even_shards = even_shards
        self.epochs = None if epochs is None else _at_least("epochs", epochs, 1)
        self.drop_remainder = bool(drop_remainder)
        self.prefetch = _at_least("prefetch", prefetch, 0)
        if on_error not in ("raise", "skip"):
            raise ValueError(f'`on_error` must be "raise" or "skip", got {on_error!r}.')
        self.on_error = on_error
        self.image_size = self._output_size()
        self.skipped: list[Skipped] = []
        self.wait_seconds = 0.0
        self._epoch, self._step = 0, 0
        self._iteration = 0
        self._known_order: tuple[int, Order] | None = None  # of the epoch last asked for
        self._buffers = augmenter.batch_pool(max_free=self.prefetch + 2)
        self._check_not_empty()
        self.decode_on = decode_on
        self._decoder = _device_decoder(decode_on, self.source, augmenter)
        self._plan_of(np.zeros(1, np.int64), 0)  # a mean of the wrong length is refused here

    def __len__(self) -> int:
        """Return the number of batches in one epoch of this shard."""
        if self.drop_remainder:
            even = self.even_shards or "drop"
            return shard_length(self._epoch_samples, self.shard, even) // self.batch_size
        return math.ceil(self.shard_samples / self.batch_size)

    @property
    def shard_samples(self) -> int:
        """Samples of one epoch of this shard, before `drop_remainder`."""
        return self.samples_of(self.shard)

    def samples_of(self, shard: tuple[int, int]) -> int:
        """Return how many samples of one epoch a shard like this loader's own would have."""
        return shard_length(self._epoch_samples, shard, self.even_shards)

    @property
    def _epoch_samples(self) -> int:
        return len(self.source) if isinstance(self.shuffle, bool) else self.shuffle.num_samples

    def __iter__(self) -> Iterator[Batch]:
        """Iterate from the loader's position on; an earlier iteration is given up."""
        self._iteration += 1
        return self._batches(self._iteration)

    def sample_ids(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the samples of one batch, in order; nothing is read.

        Parameters
        ----------
        epoch : int
            From 0 on.
        step : int
            From 0 to ``len(loader) - 1``.

        Returns
        -------
        (n,) int64

        Raises
        ------
        IndexError
            If the epoch has no such step.
        ValueError
            If `epoch` is none.
        """
        _at_least("epoch", epoch, 0)
        if not isinstance(step, int | np.integer) or not 0 <= step < len(self):
            raise IndexError(f"An epoch has the steps 0 to {len(self) - 1}, got {step!r}.")
        known = self._known_order
        if known is None or known[0] != epoch:
            self._known_order = known = (epoch, self._order(epoch))
        return known[1].ids(step * self.batch_size, (step + 1) * self.batch_size)

    def make(self, sample_ids: ArrayLike, epoch: int) -> Batch:
        """Make a batch of chosen samples, on this loader's threads; its position stays.

        For engines that choose the samples themselves: a sample has the pixels that it has in an
        iteration over the same epoch, whoever makes it, and beside whatever others. May be called
        from several threads.

        Parameters
        ----------
        sample_ids : (n,) integers from 0 to ``len(source) - 1``
        epoch : int
            Of the augmentation, from 0 to 2**32 - 1.

        Returns
        -------
        Batch
            With ``on_error="skip"`` those that cannot be read are missing from it, and listed in
            `skipped`.

        Raises
        ------
        ValueError
            If there are no ids, or the source has no such samples.
        SampleError, OSError
            If a sample cannot be read, with ``on_error="raise"``.
        """
        ids = checked_ids(sample_ids, len(self.source))
        work = self._work_on(PlannedBatch(epoch, 0, ids, self._plan_of(ids, epoch)))
        run_slices(work.load_slice, len(ids), self.augmenter.threads)
        self._collect_skipped(work)
        return work.batch()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out memory that is this process's own."""
        return {**self.__dict__, "_buffers": None, "_known_order": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._buffers = self.augmenter.batch_pool(max_free=self.prefetch + 2)

    def cache_info(self) -> CacheInfo | None:
        """Return how many pictures the cache holds, and in how many bytes; None without one."""
        return self.source.info() if isinstance(self.source, CachedSource) else None

    def decoder_info(self) -> DecoderInfo | None:
        """Return how many pictures were decoded on the device, and how many on the host instead.

        None with ``decode_on="host"``.
        """
        return None if self._decoder is None else self._decoder.info()

    def state_dict(self) -> dict[str, int]:
        """Return the position: what the next batch will be.

        Returns
        -------
        {"seed", "epoch", "step"}, and inside an epoch also {"batch_size", "num_shards"}: what a
        step is.
        """
        state = {"seed": self.augmenter.seed, "epoch": self._epoch, "step": self._step}
        if self._step:
            state |= {"batch_size": self.batch_size, "num_shards": self.shard[1]}
        return state

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position that `state_dict` returned; exact, and no sample is read for it.

        The state may come from another batch size or another number of shards, all at the same
        step: after `step` steps they have done the first `step * batch_size * num_shards` samples
        of the epoch's order. These shards go on after them if that is a whole number of their own
        steps, as it always is where `batch_size * num_shards` is the same; a shard that has no step
        left there goes on with the next epoch. (A `BlockShuffle` takes no other number of shards
        inside an epoch.) A state without these two counts this loader's steps.

        Parameters
        ----------
        state : dict

        Raises
        ------
        ValueError
            If the state is of another seed, or not a position of this loader.
        """
        missing = {"seed", "epoch", "step"} - set(state)
        if missing:
            raise ValueError(f"`state` lacks {sorted(missing)}, got {state!r}.")
        if state["seed"] != self.augmenter.seed:
            raise ValueError(
                f"The state is of seed {state['seed']}, this loader's is {self.augmenter.seed}. "
                "Make the Augmenter with the state's seed."
            )
        whole = all(isinstance(state[name], int | np.integer) for name in ("epoch", "step"))
        epoch, step = self._own_position(state) if whole else (-1, -1)
        if epoch < 0 or not 0 <= step < len(self):
            raise ValueError(f"An epoch has {len(self)} steps from 0 on; the state is {state!r}.")
        self._iteration += 1
        self._epoch, self._step = epoch, step

    def _own_position(self, state: dict[str, int]) -> tuple[int, int]:
        """Return epoch and step of this loader that begin where the state's step does."""
        batch_size = _at_least("batch_size", state.get("batch_size", self.batch_size), 1)
        num_shards = _at_least("num_shards", state.get("num_shards", self.shard[1]), 1)
        interleaved = isinstance(self.shuffle, bool) or self.shuffle.is_interleaved
        if state["step"] and num_shards != self.shard[1] and not interleaved:
            raise ValueError(
                f"The state is of {num_shards} shards, this loader's are {self.shard[1]}, and "
                f"{type(self.shuffle).__name__} gives each a run of blocks. Change the number "
                "between two epochs."
            )
        done, per_step = state["step"] * batch_size * num_shards, self.batch_size * self.shard[1]
        if done % per_step:
            raise ValueError(
                f"The state is {done} samples into its epoch, no whole number of this loader's "
                f"steps of {self.batch_size} * {self.shard[1]} samples. Keep batch_size * shards "
                f"at {batch_size * num_shards}, or save the state at another step."
            )
        epoch, step = int(state["epoch"]), int(done // per_step)
        if step >= len(self) and "batch_size" in state and done < self._epoch_samples:
            return epoch + 1, 0  # the samples that are left are other shards', or dropped
        return epoch, step

    def _batches(self, iteration: int) -> Iterator[Batch]:
        lane = Lane(self.augmenter.threads)
        started: deque[BatchInWork] = deque()
        planned = self._planned()
        epoch = _EpochTally()
        try:
            while True:
                began = time.perf_counter()
                while len(started) <= self.prefetch and (batch_plan := next(planned, None)):
                    started.append(self._start(lane, batch_plan))
                if not started:
                    return
                work = started.popleft()
                batch = self._wait_for(work, iteration)
                self.wait_seconds += time.perf_counter() - began
                epoch.add(work, batch)
                if len(batch.sample_ids):
                    yield batch
                if self._is_last(work):
                    epoch.close(work, len(self))
                    epoch = _EpochTally()
        finally:
            lane.cancel()

    def _planned(self) -> Iterator[PlannedBatch]:
        """Yield what is to be done, from the loader's position on.

        Several batches are planned at once: most of the cost of a small plan is NumPy's calls.
        """
        epoch, step = self._epoch, self._step
        last_epoch = math.inf if self.epochs is None else epoch + self.epochs - 1
        at_once = math.ceil(_PLANNED_SAMPLES / self.batch_size)
        while epoch <= last_epoch:
            order = self._order(epoch)
            for start in range(step, len(self), at_once):
                yield from self._plan_steps(order, epoch, start, min(start + at_once, len(self)))
            epoch, step = epoch + 1, 0

    def _order(self, epoch: int) -> Order:
        seed, shard, even = self.augmenter.seed, self.shard, self.even_shards
        if isinstance(self.shuffle, bool):
            return EpochOrder(
                len(self.source), seed, epoch, shuffle=self.shuffle, shard=shard, even_shards=even
            )
        return self.shuffle.order(seed, epoch, shard, even)

    def _plan_steps(
        self, order: Order, epoch: int, start: int, stop: int
    ) -> Iterator[PlannedBatch]:
        size = self.batch_size
        ids = order.ids(start * size, stop * size)
        plan = self._plan_of(ids, epoch)
        for step in range(start, stop):
            rows = slice((step - start) * size, (step - start + 1) * size)
            yield PlannedBatch(epoch, step, ids[rows], plan.part(rows))

    def _plan_of(self, sample_ids: NDArray[np.int64], epoch: int) -> Plan:
        return self.augmenter.plan(
            sample_ids,
            epoch,
            size=self.image_size,
            channels=self.source.channels,
            source_dtype=self.source.dtype,
        )

    def _start(self, lane: Lane, planned: PlannedBatch) -> BatchInWork:
        work = self._work_on(planned)
        count = len(planned.sample_ids)
        slice_size = max(1, count // (lane.threads * _SLICES_PER_THREAD))
        work.job = lane.start(work.load_slice, count, slice_size)
        return work

    def _work_on(self, planned: PlannedBatch) -> BatchInWork:
        source, augmenter, count = self.source, self.augmenter, len(planned.sample_ids)
        shape = augmenter.batch_shape(count, self.image_size, source.channels)
        return BatchInWork(
            planned,
            source,
            augmenter,
            self._buffers.empty(shape, augmenter.dtype),
            encoded=None if self._decoder is None else EncodedBatch(self._decoder, count),
            may_skip=self.on_error == "skip",
        )

    def _wait_for(self, work: BatchInWork, iteration: int) -> Batch:
        self._refuse_given_up(iteration)
        work.job.wait()
        self._collect_skipped(work)
        last = self._is_last(work)
        self._epoch, self._step = (work.epoch + 1, 0) if last else (work.epoch, work.step + 1)
        return work.batch()

    def _collect_skipped(self, work: BatchInWork) -> None:
        if work.skipped:
            known = {skipped.sample_id for skipped in self.skipped}
            self.skipped += [skip for skip in sorted(work.skipped) if skip.sample_id not in known]

    def _is_last(self, work: BatchInWork) -> bool:
        return work.step + 1 == len(self)

    def _refuse_given_up(self, iteration: int) -> None:
        if iteration != self._iteration:
            raise RuntimeError(
                "This iteration was given up when the loader was iterated or set anew. "
                "Use one iteration at a time, or a Loader for each."
            )

    def _output_size(self) -> Size:
        size = self.augmenter.size or self.source.image_size
        if size is None:
            raise ValueError(
                "The pictures of this source differ in size; give the Augmenter a `size`, "
                "for example Augmenter(policy, size=(224, 224))."
            )
        return size

    def _check_not_empty(self) -> None:
        if len(self) == 0:
            raise ValueError(
                f"Shard {self.shard} of {self._epoch_samples} samples makes no batch of "
                f"{self.batch_size}"
                + (" with drop_remainder=True." if self.drop_remainder else ".")
            )


def check_is_loader(loader: Any) -> None:
    """Raise TypeError for anything but a `Loader`."""
    if not isinstance(loader, Loader):
        raise TypeError(f"`loader` must be a Loader, got {type(loader).__name__}.")


class _EpochTally:
    """What came of an epoch: how many batches and samples, and what was skipped."""

    def __init__(self) -> None:
        self.num_batches, self.num_samples = 0, 0
        self.skipped: list[Skipped] = []

    def add(self, work: BatchInWork, batch: Batch) -> None:
        """Count one batch."""
        self.num_batches += 1
        self.num_samples += len(batch.sample_ids)
        self.skipped += work.skipped

    def close(self, work: BatchInWork, num_batches: int) -> None:
        """Warn of what was skipped, or raise if a whole epoch gave not one sample."""
        if not self.skipped:
            return
        first = min(self.skipped)
        if self.num_samples == 0 and self.num_batches == num_batches:
            raise SampleError(f"Not one sample of the epoch could be read. {first.message}")
        warnings.warn(
            f"{len(self.skipped)} sample(s) of epoch {work.epoch} could not be read and were left "
            f"out, {first.name} the first of them. `loader.skipped` lists all, with the reasons.",
            stacklevel=3,
        )


def _device_decoder(decode_on: Any, source: Any, augmenter: Augmenter) -> DeviceDecoder | None:
    if decode_on not in ("host", "device"):
        raise ValueError(f'`decode_on` must be "host" or "device", got {decode_on!r}.')
    if decode_on == "host":
        return None
    if isinstance(source, CachedSource):
        raise ValueError(
            'cache="memory" keeps what the host has decoded; leave it out with decode_on="device".'
        )
    return augmenter.device_decoder(source)


def _with_cache(source: Source, min_size: Size, cache: Any, cache_bytes: int | None) -> Source:
    if cache not in (None, "memory"):
        raise ValueError(f'`cache` must be "memory" or None, got {cache!r}.')
    if cache is None and cache_bytes is not None:
        raise ValueError('`cache_bytes` is the budget of a cache; give cache="memory" too.')
    return source if cache is None else CachedSource(source, min_size, cache_bytes)


def _at_least(name: str, value: Any, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"`{name}` must be a whole number of at least {low}, got {value!r}.")
    return int(value)


def _checked_shard(shard: Any) -> tuple[int, int]:
    whole = isinstance(shard, tuple | list) and all(isinstance(n, int | np.integer) for n in shard)
    index, count = shard if whole and len(shard) == 2 else (0, 0)
    if not 0 <= index < count:
        raise ValueError(f"`shard` must be (index, count) with 0 <= index < count, got {shard!r}.")
    return int(index), int(count)


def _checked_shuffle(shuffle: Any, num_ids: int) -> bool | Shuffle:
    if not hasattr(shuffle, "order"):
        return bool(shuffle)
    if shuffle.num_ids != num_ids:
        raise ValueError(
            f"`shuffle` is made for {shuffle.num_ids} samples, the source has {num_ids}. Make it "
            "of ids of this source; a WeightedShuffle of some of them needs num_ids=len(source)."
        )
    checked: Shuffle = shuffle
    return checked
