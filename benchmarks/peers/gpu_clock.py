"""The device's own clock, for work that the host takes longer to ask for than the device to do.

A launch from Python costs more time than a small kernel. So a long copy goes first; while it runs,
the host queues an event, the launches and another event. What lies between the events then has no
gaps of the host's making. That the first event had not come about when the last launch was queued
is checked each time.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ..contract import Runner
from .gpu_work import BYTES, GpuWork

LAUNCHES_AT_ONCE = 32  # a queue holds about a thousand, the copies ahead included
COPY_BYTES = 2**29  # the device must take longer for a copy than the host to ask for one
MOST_COPIES = 512
MOST_TRIES = 16
APART = 256  # bytes: buffers begin at multiples, as those of the driver do

_shared: dict[int, Any] = {}  # of the process, by device


@dataclass(frozen=True)
class DeviceRunner(Runner):
    """A row that knows better than the wall clock how long it took.

    Attributes
    ----------
    time : callable
        Does so many laps and returns how many pictures that were, in how many seconds.
    """

    time: Callable[[int], tuple[int, float]] = field(kw_only=True)


class Queue:
    """A stream of the device, and the time that launches on it take.

    Parameters
    ----------
    work : GpuWork
    """

    def __init__(self, work: GpuWork) -> None:
        from ...kernels import cuda

        self.cuda: Any = cuda
        self.index = work.index
        with self.using():
            self.stream = cuda.new_stream()
        self._copies = 1

    def using(self) -> AbstractContextManager[Any]:
        """Return a context in which this thread works with the device."""
        using: AbstractContextManager[Any] = self.cuda.using(self.index)
        return using

    def buffers(self, count: int, num_bytes: int) -> list[Any]:
        """Return memory of the device, `count` times (num_bytes,) uint8, of no certain content.

        All rows of a process get the same: they run one at a time, and a card may be small.
        """
        step = -(-num_bytes // APART) * APART
        if self.index not in _shared or _shared[self.index].size < count * step:
            _shared[self.index] = self.cuda.device_empty(count * step)
        memory = _shared[self.index]
        return [memory[place : place + num_bytes] for place in range(0, count * step, step)]

    def runner(
        self, launches: Sequence[Callable[[], None]], pictures: int, bytes_a_picture: int
    ) -> Runner:
        """Make a row of launches, used in turn, each of which makes so many pictures."""

        def queue(first: int, count: int) -> None:
            for number in range(first, first + count):
                launches[number % len(launches)]()

        def run(laps: int) -> int:
            with self.using():
                queue(0, laps)
                self.stream.synchronize()
            return laps * pictures

        def time_laps(laps: int) -> tuple[int, float]:
            with self.using():
                return laps * pictures, self.seconds(queue, laps)

        figures = {BYTES: float(bytes_a_picture)}
        return DeviceRunner(run, figures=lambda: figures, time=time_laps)

    def seconds(self, queue: Callable[[int, int], None], laps: int) -> float:
        """Return how long the device takes for laps that `queue(first, count)` queues.

        Raises
        ------
        RuntimeError
            If the host cannot queue them fast enough; no figure is better than a wrong one.
        """
        if self.cuda.is_simulated():  # its events know no time
            began = time.perf_counter()
            queue(0, laps)
            return time.perf_counter() - began
        parts = range(0, laps, LAUNCHES_AT_ONCE)
        return sum(
            self._without_gaps(queue, first, min(LAUNCHES_AT_ONCE, laps - first)) for first in parts
        )

    def _without_gaps(self, queue: Callable[[int, int], None], first: int, count: int) -> float:
        for _ in range(MOST_TRIES):
            seconds, was_ahead = self._try(queue, first, count)
            if was_ahead:
                return seconds
            self._copies = min(2 * self._copies, MOST_COPIES)
        raise RuntimeError(
            f"the device had done {MOST_COPIES} copies of {COPY_BYTES} bytes before {count} "
            "launches were queued, so that its time would be the host's; unset "
            "CUDA_LAUNCH_BLOCKING and stop profilers, if any"
        )

    def _try(self, queue: Callable[[int, int], None], first: int, count: int) -> tuple[float, bool]:
        """Time launches; tell too whether all were queued before the device came to them."""
        began, ended = self.cuda.make_event(), self.cuda.make_event()
        self._copy_ahead()
        began.record(self.stream)
        queue(first, count)
        ended.record(self.stream)
        was_ahead = not began.query()
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3, was_ahead

    def _copy_ahead(self) -> None:
        source, target = self.buffers(2, COPY_BYTES)
        for _ in range(self._copies):
            target.copy_to_device(source, stream=self.stream)
