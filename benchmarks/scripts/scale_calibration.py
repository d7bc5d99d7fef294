"""Does the simulation say what is measured? A `Loader` over a slow store, both ways.

The simulation is given what one thread measured: CPU time of a picture, with the interpreter's
lock and without, and the wait for the store. How many threads, how deep a prefetch and how long a
step is worth it has to find by itself.
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
from dataclasses import dataclass, replace
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
PICTURES, SIDE, BATCH = 256, 256, 16
STEP_THREADS, STEP_LATENCY = 8, 0.020


class Service(NamedTuple):
    """What one picture costs one thread, in seconds."""

    python: float  # CPU with the interpreter's lock: asking the store
    core: float  # CPU without: decode and warp, and the store's own, on the same cores
    waits: dict[float, float]  # by the store's latency: how long the thread sleeps


@dataclass(frozen=True)
class Cell:
    """One measurement beside its simulation."""

    latency: float
    sigma: float
    threads: int
    prefetch: int
    step_seconds: float
    images_per_second: tuple[float, float]  # measured, simulated
    waiting: tuple[float, float]
    cores: float  # that worked for it, in the mean: few of them where others had the machine
    bound: str

    @property
    def error(self) -> float:
        """Simulated rate against measured, 0.1 for a tenth too much."""
        measured, simulated = self.images_per_second
        return simulated / measured - 1


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
    augmenter = Augmenter(policy, size=(128, 128), threads=threads)
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


def run_loader(
    loader: Loader, step_seconds: float, warm_up: int, batches: int
) -> tuple[float, float]:
    """Return images/s and the share of the time in which the consumer waited."""
    stream = iter(loader)
    for _ in range(warm_up):
        next(stream)
        time.sleep(step_seconds)
    began, waited = time.perf_counter(), loader.wait_seconds
    for _ in range(batches):
        next(stream)
        time.sleep(step_seconds)
    seconds = time.perf_counter() - began
    stream.close()  # type: ignore[attr-defined]
    return batches * BATCH / seconds, (loader.wait_seconds - waited) / seconds


def measure_cell(
    source: TarSource,
    store: Any,
    service: Service,
    cell: Cell,
    seconds: float,
) -> Cell:
    """Fill in a cell: the simulation first, which also says how long to measure."""
    arguments = models(service, cell)
    simulated = simulate(*arguments)
    named = limits(*arguments)
    store.set_latency(cell.latency, cell.sigma)
    batches = max(3, math.ceil(seconds * simulated.images_per_second / BATCH))
    loader = make_loader(source, cell.threads, cell.prefetch)
    cpu_began, began = time.process_time() + store.cpu_seconds(), time.perf_counter()
    rate, waiting = run_loader(loader, cell.step_seconds, 1 + cell.prefetch, batches)
    cores = time.process_time() + store.cpu_seconds() - cpu_began
    cores /= time.perf_counter() - began
    return replace(
        cell,
        images_per_second=(rate, simulated.images_per_second),
        waiting=(waiting, simulated.waiting),
        cores=cores,
        bound=min(named, key=lambda name: named[name]),
    )


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


def calibrate(
    latencies: Sequence[float] = LATENCIES,
    threads: Sequence[int] = THREADS,
    prefetches: Sequence[int] = PREFETCHES,
    seconds: float = 1.0,
) -> str:
    """Measure, simulate, and return both in Markdown tables."""
    empty = Cell(0, 0, 1, 2, 0, (math.nan, math.nan), (math.nan, math.nan), 0, "")
    with slow_source() as (source, store):
        service = measure_service(source, store, sorted({*latencies, STEP_LATENCY}))
        plain = [
            measure_cell(
                source, store, service, replace(empty, latency=latency, threads=count), seconds
            )
            for latency in latencies
            for count in threads
        ]
        stepped = [
            measure_cell(
                source,
                store,
                service,
                replace(
                    empty,
                    latency=STEP_LATENCY,
                    sigma=sigma,
                    threads=STEP_THREADS,
                    prefetch=prefetch,
                    step_seconds=_step_seconds(service, sigma),
                ),
                1.5 * seconds,
            )
            for sigma in SIGMAS
            for prefetch in prefetches
        ]
    return as_markdown(service, plain, stepped)


def _step_seconds(service: Service, sigma: float) -> float:
    """Return a step that takes a fifth longer than the loader in the mean, in whole ms."""
    picture = service.waits[STEP_LATENCY] * math.exp(sigma**2 / 2) + service.python + service.core
    return round(1.2 * BATCH * picture / STEP_THREADS, 3)


def as_markdown(service: Service, plain: Sequence[Cell], stepped: Sequence[Cell]) -> str:
    """Return the figures of one thread, and both tables."""
    waits = ", ".join(
        f"{1e3 * wait:.1f} ms of {1e3 * set_to:g}" for set_to, wait in service.waits.items()
    )
    lines = [
        f"{available_threads()} cores, load {os.getloadavg()[0]:.1f}; one thread, a picture: "
        f"{1e3 * service.python:.2f} ms of CPU with the interpreter's lock, "
        f"{1e3 * service.core:.2f} ms without; waits {waits}.",
        "",
        "| latency, ms | threads | bound by | measured, images/s | simulated | error "
        "| cores used |",
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {1e3 * cell.latency:g} | {cell.threads} | {cell.bound} | "
        f"{cell.images_per_second[0]:,.0f} | {cell.images_per_second[1]:,.0f} | "
        f"{cell.error:+.0%} | {cell.cores:.2f} |"
        for cell in plain
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
        f"| {cell.sigma:g} | {1e3 * cell.step_seconds:.0f} | {cell.prefetch} | "
        f"{cell.waiting[0]:.0%} | {cell.waiting[1]:.0%} | {cell.images_per_second[0]:,.0f} | "
        f"{cell.images_per_second[1]:,.0f} | {cell.error:+.0%} |"
        for cell in stepped
    ]
    return "\n".join(lines)


def _summary(cells: Sequence[Cell]) -> list[str]:
    by_bound: dict[str, list[float]] = {}
    for cell in cells:
        by_bound.setdefault(cell.bound, []).append(abs(cell.error))
    return [
        f"Bound by {bound}: {len(errors)} cells, error {statistics.median(errors):.0%} in the "
        f"median, {max(errors):.0%} at most."
        for bound, errors in by_bound.items()
    ]
