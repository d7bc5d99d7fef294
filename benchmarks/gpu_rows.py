"""The rows on a GPU: the registry, the processes they are timed in, and what a row is worth."""

import statistics
import time
from typing import Any

from .contract import NotAvailable, Peer
from .peers import gpu_codec, gpu_dali, gpu_keras, gpu_ours, gpu_torch
from .peers.gpu_clock import DeviceRunner
from .peers.gpu_work import BYTES, GpuWork
from .process import Host, Rows
from .results import Row

GPU_PEERS: tuple[Peer, ...] = (
    gpu_ours.PEER,
    gpu_codec.PEER,
    gpu_torch.OURS,
    gpu_torch.KORNIA,
    gpu_torch.TORCHVISION,
    gpu_keras.PEER,
    gpu_dali.PEER,
)


class GpuRows(Rows):
    """The rows of one process; a turn begins with work that is not timed.

    Parameters
    ----------
    work : GpuWork
    """

    _work: GpuWork

    def __init__(self, work: Any) -> None:
        super().__init__(work)
        self._compiled: set[int] = set()

    def build(self, table: str, key: str, threads: int) -> int:
        """Make a row ready; return its number."""
        for peer in GPU_PEERS:
            for entry in peer.entries:
                if (entry.table, entry.key) == (table, key):
                    self._runners.append(entry.build(self._work, threads))
                    return len(self._runners) - 1
        raise NotAvailable(f"no row {key!r} in the table {table!r}")

    def run(self, number: int, laps: int) -> tuple[int, float]:
        """Run a row; the first time, which compiles, by the wall clock and without a ramp."""
        runner = self._runners[number]
        if number not in self._compiled:
            self._compiled.add(number)
            return super().run(number, laps)
        began = time.perf_counter()
        while time.perf_counter() - began < self._work.ramp_seconds:
            runner.run(1)
        if isinstance(runner, DeviceRunner):
            return runner.time(laps)
        return super().run(number, laps)

    def close(self) -> None:
        """End all rows."""
        super().close()
        self._compiled.clear()  # numbers begin anew


class GpuHost(Host):
    """Talks to a process whose rows are these."""

    def _rows_type(self) -> type[Rows]:
        return GpuRows


def gigabytes_a_second(row: Row) -> float | None:
    """Return the rate of the bytes that a row must move; None where they are not known."""
    num_bytes = row.figures.get(BYTES)
    return None if num_bytes is None else num_bytes * row.rate / 1e9


def floor_of(row: Row, rows: list[Row]) -> Row | None:
    """Return the floor that moves as many bytes; of rows without that figure, their group's."""
    num_bytes = row.figures.get(BYTES)
    for other in rows:
        is_alike = num_bytes is not None or other.group == row.group
        if other.kind == "floor" and other.figures.get(BYTES) == num_bytes and is_alike:
            return other
    return None


def share_of_floor(row: Row, floor: Row) -> float:
    """Return which part of the floor's speed a row reaches: the median over the rounds."""
    return statistics.median(
        least / own for own, least in zip(row.rounds, floor.rounds, strict=True)
    )
