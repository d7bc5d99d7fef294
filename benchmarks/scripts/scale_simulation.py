"""Readers, a store and trainers, event by event: how long GPUs that train in step wait for data.

A rank is a `Loader`: its threads take slices of the batches ahead, wait for the store and for the
interpreter's lock, then hold a core. All ranks do a step together (synchronous data-parallel
training), so the slowest batch decides. Time is simulated; the same seed gives the same run.
"""

import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.retry import Retry

Process = Generator[Any, None, None]  # yields seconds to sleep, or a `Line` to wait in

_DRAWN_AT_ONCE = 2**14


@dataclass(frozen=True)
class Store:
    """What answers requests; times in seconds, sizes in bytes.

    The first byte comes after a lognormal time with the median `latency`; in `tail_chance` of the
    requests after `tail_latency` more. `requests_per_second` and `bandwidth` are of all ranks
    together, `connection_bandwidth` is of one request. A request fails with `failure_chance` and is
    made again after the pauses of `Retry`; the last attempt succeeds here, where a loader raises.
    """

    latency: float = 0.0
    latency_sigma: float = 0.0
    tail_chance: float = 0.0
    tail_latency: float = 0.0
    connection_bandwidth: float = math.inf
    bandwidth: float = math.inf
    requests_per_second: float = math.inf
    failure_chance: float = 0.0


@dataclass(frozen=True)
class Reader:
    """The loader of one rank; times in seconds of each picture.

    `python_seconds` are spent on a core and with the interpreter's lock, of which there is one in
    each of `processes`; `core_seconds` on a core alone (decode, warp). `pictures_per_request` read
    together share one request. `bandwidth` is the rank's share of its machine's network.
    """

    threads: int = 1
    cores: int = 1
    processes: float = 1.0
    prefetch: int = 2
    picture_bytes: float = 0.0
    pictures_per_request: float = 1.0
    python_seconds: float = 0.0
    core_seconds: float = 0.0
    bandwidth: float = math.inf


@dataclass(frozen=True)
class Training:
    """Ranks that make `steps` steps together.

    A rank's step takes `step_seconds`, times a lognormal factor of median 1. The first `slow_ranks`
    have cores that take `slow_factor` as long. The job dies at random, every `seconds_to_failure`
    in the mean, and `restart_seconds` later goes on after the last multiple of `checkpoint_steps`.
    """

    ranks: int = 1
    batch_size: int = 32
    steps: int = 20
    warm_up: int = 4
    step_seconds: float = 0.0
    step_sigma: float = 0.0
    slow_ranks: int = 0
    slow_factor: float = 1.0
    seconds_to_failure: float = math.inf
    restart_seconds: float = 0.0
    checkpoint_steps: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation.

    Attributes
    ----------
    images_per_second : float
        Of all ranks, while they train, after `warm_up` steps.
    waiting : float
        Share of that time in which GPUs stand still because a batch is missing somewhere, 0 to 1.
    waiting_own : float
        Share of it in which a GPU's own batch is missing, mean of the ranks.
    store_bandwidth : float
        Bytes per second.
    step_seconds : (2,) tuple
        Median and 99th percentile, from one step's end to the next.
    seconds : float
        Of everything, restarts included.
    history : tuple of int
        The steps that are in the model at the end, in the order they were made.
    lost_steps, failures : int
        Steps made in vain, deaths of the job.
    """

    images_per_second: float
    waiting: float
    waiting_own: float
    store_bandwidth: float
    step_seconds: tuple[float, float]
    seconds: float
    history: tuple[int, ...]
    lost_steps: int
    failures: int


def simulate(store: Store, reader: Reader, training: Training, seed: int = 0) -> Outcome:
    """Run a training of `training.steps` steps.

    Raises
    ------
    ValueError
        If no step is left after the `warm_up`.
    """
    if training.steps <= training.warm_up:
        raise ValueError(
            f"`steps` must be more than the warm_up of {training.warm_up}, got {training.steps}."
        )
    job = _Job(store, reader, training, np.random.default_rng(seed))
    while len(job.history) < training.steps:
        job.attempt()
    return job.outcome()


def thinned(
    store: Store, reader: Reader, training: Training, factor: int
) -> tuple[Store, Reader, Training]:
    """Return a smaller model of the same rates: one picture, thread and core for each `factor`.

    Raises
    ------
    ValueError
        If `factor` does not divide the batch and the cores.
    """
    if training.batch_size % factor or reader.cores % factor:
        raise ValueError(
            f"`factor` must divide the batch of {training.batch_size} and {reader.cores} cores, "
            f"got {factor}."
        )
    return (
        replace(
            store,
            connection_bandwidth=store.connection_bandwidth * factor,
            requests_per_second=store.requests_per_second / factor,
        ),
        replace(
            reader,
            threads=max(1, reader.threads // factor),
            cores=reader.cores // factor,
            processes=reader.processes / factor,
            picture_bytes=reader.picture_bytes * factor,
        ),
        replace(training, batch_size=training.batch_size // factor),
    )


class Line:
    """Something that so many may use at a time; the others wait in the order they came."""

    def __init__(self, clock: "Clock", places: int) -> None:
        self._clock, self.free = clock, places
        self.waiting: deque[Process] = deque()

    def leave(self) -> None:
        """Give a place back; who waits longest has it."""
        if self.waiting:
            self._clock.resume(self.waiting.popleft())
        else:
            self.free += 1


class Clock:
    """Simulated time: runs processes from one wait to the next, the earliest first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Process]] = []
        self._number = count()  # of equal times the one that was asked for first

    def resume(self, process: Process, after: float = 0.0) -> None:
        """Let a process go on after some seconds."""
        heappush(self._events, (self.now + after, next(self._number), process))

    def run(self, until: float) -> None:
        """Run until nothing is left to do, or to a time, at which everything ends."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, process = heappop(events)
            self._advance(process)
        if events:
            events.clear()
            self.now = until

    def _advance(self, process: Process) -> None:
        for wanted in process:
            if not isinstance(wanted, Line):
                return self.resume(process, wanted)
            if not wanted.free:
                return wanted.waiting.append(process)
            wanted.free -= 1


class _Link:
    """What passes so much a second: bytes, requests, seconds of an interpreter's lock."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock, self._rate, self._free_at = clock, rate, 0.0

    def seconds(self, amount: float) -> float:
        """Return how long it takes until this much is through, behind what came before."""
        self._free_at = max(self._free_at, self._clock.now) + amount / self._rate
        return self._free_at - self._clock.now


class _Waits:
    """How long requests take to the first byte, failed ones before them included."""

    def __init__(self, store: Store, rng: np.random.Generator) -> None:
        self._store, self._rng, self._retry = store, rng, Retry()
        self._drawn: list[float] = []

    def next(self) -> float:
        if not self._drawn:
            self._drawn = self._draw(_DRAWN_AT_ONCE).tolist()
        return self._drawn.pop()

    def _draw(self, size: int) -> NDArray[np.float64]:
        waits = self._latencies(size)
        failed = np.flatnonzero(self._rng.random(size) < self._store.failure_chance)
        for attempt in range(1, self._retry.attempts):
            longest = self._retry.first_delay * 2.0 ** (attempt - 1)
            pauses = min(self._retry.longest_delay, longest) * self._rng.uniform(
                0.5, 1, len(failed)
            )
            waits[failed] += pauses + self._latencies(len(failed))
            failed = failed[self._rng.random(len(failed)) < self._store.failure_chance]
        return waits

    def _latencies(self, size: int) -> NDArray[np.float64]:
        factors = self._rng.lognormal(0.0, self._store.latency_sigma, size)
        late = self._rng.random(size) < self._store.tail_chance
        latencies: NDArray[np.float64] = (
            self._store.latency * factors + self._store.tail_latency * late
        )
        return latencies


class _Rank:
    """The loader of one rank while it lives."""

    def __init__(self, job: "_Job", next_step: int, slowness: float) -> None:
        reader = self._reader = job.reader
        self._job, self._clock = job, job.clock
        self._threads = Line(self._clock, reader.threads)
        self._cores = Line(self._clock, reader.cores)
        self._network = _Link(self._clock, reader.bandwidth)
        self._locks = _Link(self._clock, reader.processes)  # seconds of all interpreters a second
        self._python_seconds = reader.python_seconds * slowness
        self._cpu_seconds = (reader.python_seconds + reader.core_seconds) * slowness
        self._begun = next_step
        self._missing: dict[int, int] = {}  # slices of a step that are not done
        self.arrivals = Line(self._clock, 0)  # a place for each batch that came
        self.ready_at: dict[int, float] = {}

    def begin_to(self, last_step: int) -> None:
        """Begin the batches up to a step, as `Loader.__next__` does before it waits."""
        size = self._job.training.batch_size
        slice_size = max(1, size // (2 * self._reader.threads))  # as in engine/loader.py
        while self._begun <= min(last_step, self._job.training.steps - 1):
            step, self._begun = self._begun, self._begun + 1
            starts = range(0, size, slice_size)
            self._missing[step] = len(starts)
            for start in starts:
                self._clock.resume(self._load(step, min(slice_size, size - start)))

    def _load(self, step: int, pictures: int) -> Process:
        yield self._threads
        for _ in range(pictures):
            yield max(
                self._job.request_seconds(),
                self._network.seconds(self._reader.picture_bytes),
                self._locks.seconds(self._python_seconds),
            )
            yield self._cores
            yield self._cpu_seconds
            self._cores.leave()
        self._threads.leave()
        self._missing[step] -= 1
        if not self._missing[step]:
            del self._missing[step]
            self.ready_at[step] = self._clock.now
            self.arrivals.leave()


class _Job:
    """The training: attempts, each of which ends with the last step or with a death."""

    def __init__(
        self, store: Store, reader: Reader, training: Training, rng: np.random.Generator
    ) -> None:
        self.store, self.reader, self.training = store, reader, training
        self.clock, self._rng = Clock(), rng
        self._waits = _Waits(store, rng)
        self._bytes = _Link(self.clock, store.bandwidth)
        self._requests = _Link(self.clock, store.requests_per_second)
        self.history: list[int] = []
        self._steps: list[tuple[float, float, float]] = []  # seconds, waited, own wait
        self._lost_steps = self._failures = 0

    def attempt(self) -> None:
        """Train from the last checkpoint on, to the end or until the job dies."""
        training, first = self.training, len(self.history)
        slowness = [training.slow_factor] * training.slow_ranks
        slowness += [1.0] * (training.ranks - training.slow_ranks)
        ranks = [_Rank(self, first, slow) for slow in slowness]
        self.clock.resume(self._train(ranks, first))
        until = math.inf
        if math.isfinite(training.seconds_to_failure):
            until = self.clock.now + self._rng.exponential(training.seconds_to_failure)
        self.clock.run(until)
        if len(self.history) < training.steps:
            kept = len(self.history) // training.checkpoint_steps * training.checkpoint_steps
            self._failures += 1
            self._lost_steps += len(self.history) - kept
            del self.history[kept:]
            self.clock.now += training.restart_seconds

    def _train(self, ranks: list[_Rank], first: int) -> Process:
        training = self.training
        for step in range(first, training.steps):
            asked = self.clock.now
            for rank in ranks:
                rank.begin_to(step + self.reader.prefetch)
            for rank in ranks:
                while step not in rank.ready_at:
                    yield rank.arrivals
            waited = np.array([max(0.0, rank.ready_at.pop(step) - asked) for rank in ranks])
            factors = self._rng.lognormal(0.0, training.step_sigma, training.ranks)
            compute = training.step_seconds * factors
            seconds = float((waited + compute).max())  # the last one has all gradients
            yield max(0.0, asked + seconds - self.clock.now)
            self.history.append(step)
            if step >= training.warm_up:
                self._steps.append((seconds, seconds - compute.max(), waited.mean()))

    def request_seconds(self) -> float:
        """Return how long the store takes for one picture: its wait, or the slowest link."""
        reader, store = self.reader, self.store
        seconds = self._waits.next() / reader.pictures_per_request
        return max(
            seconds + reader.picture_bytes / store.connection_bandwidth,
            self._bytes.seconds(reader.picture_bytes),
            self._requests.seconds(1 / reader.pictures_per_request),
        )

    def outcome(self) -> Outcome:
        """Sum up."""
        seconds, waited, own = np.array(self._steps).T
        images = self.training.ranks * self.training.batch_size * len(seconds) / seconds.sum()
        return Outcome(
            images_per_second=float(images),
            waiting=float(waited.sum() / seconds.sum()),
            waiting_own=float(own.sum() / seconds.sum()),
            store_bandwidth=float(images * self.reader.picture_bytes),
            step_seconds=(float(np.median(seconds)), float(np.percentile(seconds, 99))),
            seconds=self.clock.now,
            history=tuple(self.history),
            lost_steps=self._lost_steps,
            failures=self._failures,
        )
