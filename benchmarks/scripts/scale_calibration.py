"""Does the simulation say what is measured? A `Loader` over a slow store, both ways.

The simulation is given what one thread measured: CPU time of a picture, with the interpreter's
lock and without, and the wait for the store. What more threads, a deeper prefetch or a longer step
give, it has to find by itself.
"""

import io
import math
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from ...engine import Augmenter, Loader, Policy
from ...engine.tar_source import TarSource
from ...engine.threads import available_threads
from .scale_limits import limits
from .scale_simulation import Reader, Store, Training, simulate

LATENCIES = (0.0, 0.005, 0.020, 0.050)
THREADS = (1, 2, 4, 8, 16)
PREFETCHES = (0, 1, 2, 4)
SIGMAS = (0.0, 1.0)
PICTURES, SIDE, BATCH = 256, 160, 16
STEP_THREADS, STEP_LATENCY = 8, 0.020


class Service(NamedTuple):
    """What one picture costs one thread, in seconds."""

    python: float  # CPU with the interpreter's lock: asking the store
    core: float  # CPU without: decode and warp, and the store's own, on the same cores
    waits: dict[float, float]  # by the store's latency: how long the thread sleeps


class Turn(NamedTuple):
    """What one measurement, or one simulation, says."""

    images_per_second: float
    waiting: float  # share of the time that the consumer waits, 0 to 1
    cores: float = math.nan  # that worked for it, in the mean: few where others had the machine


@dataclass(frozen=True)
class Cell:
    """One setting of the store, the loader and its consumer."""

    latency: float
    threads: int
    sigma: float = 0.0
    prefetch: int = 2
    step_seconds: float = 0.0


@dataclass(frozen=True)
class Compared:
    """A cell, measured and simulated."""

    cell: Cell
    measured: Turn
    simulated: Turn
    bound: str

    @property
    def error(self) -> float:
        """Simulated rate against measured, 0.1 for a tenth too much."""
        return self.simulated.images_per_second / self.measured.images_per_second - 1


@contextmanager
def slow_source() -> Iterator[tuple[TarSource, Any]]:
    """Give a source of small JPEGs in a slow store, and the store."""
    from .scale_store import URL, running

    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "pictures.tar"
        write_pictures(shard)
        with running(shard) as store:
            yield TarSource(URL, index_folder=folder, storage_options={"store": store}), store


def write_pictures(shard: Path) -> None:
    """Write a shard of smooth random JPEGs."""
    rng = np.random.default_rng(0)
    with tarfile.open(shard, "w") as tar:
        for number in range(PICTURES):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
            picture = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            data = simplejpeg.encode_jpeg(picture, quality=90)
            member = tarfile.TarInfo(f"{number:04d}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def make_loader(source: TarSource, threads: int, prefetch: int = 2) -> Loader:
    """Return an endless loader of small batches."""
    policy = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True, rescale=1 / 255)
    augmenter = Augmenter(policy, size=(96, 96), threads=threads)
    return Loader(source, augmenter, BATCH, epochs=None, prefetch=prefetch)


def measure_service(
    source: TarSource, store: Any, latencies: Sequence[float], pictures: int = 192
) -> Service:
    """Measure single pictures, one after another: medians of groups, by CPU time."""
    store.set_latency(0.0)
    batches = iter(make_loader(source, threads=1, prefetch=0))
    next(batches)  # compiles

    def read(count: int) -> None:
        for number in range(count):
            source.encoded(number)

    group = BATCH
    python = _per_picture(lambda: read(group), time.thread_time, group, pictures)
    client = _per_picture(lambda: next(batches), time.process_time, group, pictures)
    server = _per_picture(lambda: read(group), store.cpu_seconds, group, pictures)
    waits = {}
    for latency in latencies:
        store.set_latency(latency)
        seconds = _per_picture(lambda: read(4), time.perf_counter, 4, 32)
        waits[latency] = max(latency, seconds - python - server)
    return Service(python, client - python + server, waits)


def _per_picture(
    work: Callable[[], object], clock: Callable[[], float], count: int, pictures: int
) -> float:
    times = []
    for _ in range(max(3, pictures // count)):
        began = clock()
        work()
        times.append((clock() - began) / count)
    return statistics.median(times)


def measure(source: TarSource, store: Any, cell: Cell, batches: int) -> Turn:
    """Run a loader for so many batches, after some that are not counted."""
    store.set_latency(cell.latency, cell.sigma)
    loader = make_loader(source, cell.threads, cell.prefetch)
    stream = loader.__iter__()
    warm_up = 1 + cell.prefetch if cell.step_seconds else 1
    _consume(stream, cell.step_seconds, warm_up)
    waited, cpu = loader.wait_seconds, time.process_time() + store.cpu_seconds()
    began = time.perf_counter()
    _consume(stream, cell.step_seconds, batches)
    seconds = time.perf_counter() - began
    cpu = time.process_time() + store.cpu_seconds() - cpu
    waited = loader.wait_seconds - waited
    del stream  # what was begun ahead is dropped
    return Turn(batches * BATCH / seconds, waited / seconds, cpu / seconds)


def _consume(batches: Iterator[Any], step_seconds: float, count: int) -> None:
    for _ in range(count):
        next(batches)
        if step_seconds:
            time.sleep(step_seconds)


def models(service: Service, cell: Cell) -> tuple[Store, Reader, Training]:
    """Return what is simulated for a cell."""
    return (
        Store(latency=service.waits[cell.latency], latency_sigma=cell.sigma),
        Reader(
            threads=cell.threads,
            cores=available_threads(),
            prefetch=cell.prefetch,
            python_seconds=service.python,
            core_seconds=service.core,
        ),
        Training(batch_size=BATCH, steps=110, warm_up=10, step_seconds=cell.step_seconds),
    )


def compare(
    source: TarSource,
    store: Any,
    service: Service,
    cells: Sequence[Cell],
    seconds: float,
    rounds: int,
) -> list[Compared]:
    """Simulate cells, then measure them: all in each round, medians of the rounds."""
    simulated = [simulate(*models(service, cell)) for cell in cells]
    turns: list[list[Turn]] = [[] for _ in cells]
    for _ in range(rounds):
        for cell, outcome, mine in zip(cells, simulated, turns, strict=True):
            batches = max(1, math.ceil(seconds * outcome.images_per_second / BATCH))
            mine.append(measure(source, store, cell, batches))
    compared = []
    for cell, outcome, mine in zip(cells, simulated, turns, strict=True):
        middle = Turn(*(statistics.median(figures) for figures in zip(*mine, strict=True)))
        parts = limits(*models(service, cell))
        bound = min(parts, key=lambda name: parts[name])
        said = Turn(outcome.images_per_second, outcome.waiting)
        compared.append(Compared(cell, middle, said, bound))
    return compared


def calibrate(seconds: float = 0.4, rounds: int = 3) -> str:
    """Measure, simulate, and return both in Markdown tables; two minutes."""
    with slow_source() as (source, store):
        service = measure_service(source, store, sorted({*LATENCIES, STEP_LATENCY}))
        plain = [Cell(latency, threads) for latency in LATENCIES for threads in THREADS]
        stepped = [
            Cell(STEP_LATENCY, STEP_THREADS, sigma, prefetch, _step_seconds(service, sigma))
            for sigma in SIGMAS
            for prefetch in PREFETCHES
        ]
        rows = compare(source, store, service, plain, seconds, rounds)
        step_rows = compare(source, store, service, stepped, 4 * seconds, rounds)  # times vary
    return as_markdown(service, rows, step_rows)


def _step_seconds(service: Service, sigma: float) -> float:
    """Return a step that takes a fifth longer than the loader in the mean, in whole ms."""
    picture = service.waits[STEP_LATENCY] * math.exp(sigma**2 / 2) + service.python + service.core
    return round(1.2 * BATCH * picture / STEP_THREADS, 3)


def as_markdown(service: Service, plain: Sequence[Compared], stepped: Sequence[Compared]) -> str:
    """Return the figures of one thread, and both tables."""
    waits = ", ".join(
        f"{1e3 * wait:.1f} ms of {1e3 * latency:g}" for latency, wait in service.waits.items()
    )
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    lines = [
        f"{available_threads()} cores, load {load}. One thread, a picture: "
        f"{1e3 * service.python:.2f} ms of CPU with the interpreter's lock, "
        f"{1e3 * service.core:.2f} ms without; waits {waits}.",
        "",
        "| latency, ms | threads | bound by | measured, images/s | simulated | error "
        "| cores used |",
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {1e3 * row.cell.latency:g} | {row.cell.threads} | {row.bound} | "
        f"{row.measured.images_per_second:,.0f} | {row.simulated.images_per_second:,.0f} | "
        f"{row.error:+.0%} | {row.measured.cores:.2f} |"
        for row in plain
    ]
    lines += ["", *_summary(plain), ""]
    lines += [
        f"{STEP_THREADS} threads, latency {1e3 * STEP_LATENCY:g} ms, batches of {BATCH}:",
        "",
        "| latency's sigma | step, ms | prefetch | waiting, measured | simulated | "
        "images/s, measured | simulated | error |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.cell.sigma:g} | {1e3 * row.cell.step_seconds:.0f} | {row.cell.prefetch} | "
        f"{row.measured.waiting:.0%} | {row.simulated.waiting:.0%} | "
        f"{row.measured.images_per_second:,.0f} | {row.simulated.images_per_second:,.0f} | "
        f"{row.error:+.0%} |"
        for row in stepped
    ]
    return "\n".join(lines)


def _summary(rows: Sequence[Compared]) -> list[str]:
    errors: dict[str, list[float]] = {}
    for row in rows:
        kind = f"Latency of {1e3 * row.cell.latency:g} ms"
        errors.setdefault(kind, []).append(abs(row.error))
    return [
        f"- {kind}: error {statistics.median(each):.0%} in the median, {max(each):.0%} at most."
        for kind, each in errors.items()
    ]
