"""What a training on many GPUs asks of cores, network and store: assumptions, and tables of them.

Every number is a field of `Assumptions`, with where it comes from, and an option of `scale.py`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .scale_limits import limits, mean_wait
from .scale_simulation import Reader, Store, Training, simulate, thinned

GPUS = (8, 64, 1024)
RATES = (2500.0, 1000.0)  # images/s a GPU takes: of ResNet-50's class, of ViT-B's
SPARE_THREADS = 1.5  # more than the mean needs, as times vary
STEPS, WARM_UP, THINNED = 14, 4, 4
LEAN_CLIENT = 0.0002  # seconds of Python a request: the one of `scale_store.py`, measured, see 2
DISTURBANCES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "prefetch 1": {"prefetch": 1},
    "prefetch 8": {"prefetch": 8},
    "prefetch 16": {"prefetch": 16},
    "latency of 100 ms": {"latency": 0.1},
    "1 % of the requests take 1 s more": {"tail_chance": 0.01},
    "1 % of the requests fail": {"failure_chance": 0.01},
    "one machine's cores take twice as long": {"slow_machines": 1, "slow_factor": 2.0},
    "one machine's cores take three times as long": {"slow_machines": 1, "slow_factor": 3.0},
    "6 cores a GPU": {"cores_per_gpu": 6},
    "half of the store": {"store_bandwidth": 12.5e9},
}


def _figure(default: float, what: str, origin: str) -> Any:
    return field(default=default, metadata={"what": what, "origin": origin})


@dataclass(frozen=True)
class Assumptions:
    """The numbers that a plan is made of; times in seconds, sizes in bytes."""

    batch_size: int = _figure(256, "pictures of a batch on each GPU", "assumed")
    images: int = _figure(100_000_000, "pictures of the data set", "assumed")
    jpeg_bytes: float = _figure(110e3, "of a JPEG, mean", "assumed: like ImageNet's")
    packed_bytes: float = _figure(196_608, "of a packed picture", "256 x 256 x 3 uint8")
    jpeg_core_seconds: float = _figure(
        0.00218, "of one core: decode and warp a JPEG", "measured, see 1"
    )
    packed_core_seconds: float = _figure(
        0.00019, "of one core: warp a packed picture", "measured, see 1"
    )
    request_python_seconds: float = _figure(
        0.0037, "with the interpreter's lock: one request", "measured, see 2"
    )
    cores_per_gpu: int = _figure(12, "left to loading", "assumed: 96 cores, 8 GPUs")
    processes_per_gpu: int = _figure(1, "loaders, each with its own interpreter", "assumed")
    gpus_per_machine: int = _figure(8, "that share network and drives", "assumed")
    machine_bandwidth: float = _figure(12.5e9, "from the store, a machine", "assumed: 100 Gbit/s")
    drive_bandwidth: float = _figure(10e9, "of a machine's own drives together", "assumed: NVMe")
    store_bandwidth: float = _figure(25e9, "of all readers together", "assumed: 200 Gbit/s")
    connection_bandwidth: float = _figure(80e6, "of one request", "documented, see 3")
    request_bytes: float = _figure(16e6, "of a request for a part of a shard", "documented, see 3")
    latency: float = _figure(0.030, "to the first byte, median", "assumed: 20 to 100 ms are usual")
    latency_sigma: float = _figure(0.5, "of its logarithm", "assumed")
    tail_chance: float = _figure(0.001, "that it takes `tail_latency` more", "assumed")
    tail_latency: float = _figure(1.0, "of such a request, more", "assumed")
    requests_per_prefix: float = _figure(5500, "a second", "documented, see 3")
    prefixes: int = _figure(64, "that the shards are spread over", "assumed")
    failure_chance: float = _figure(1e-4, "of a request, made again as by `Retry`", "assumed")
    prefetch: int = _figure(4, "batches ahead (a Loader's default is 2)", "assumed")
    step_sigma: float = _figure(0.02, "of a step's logarithm", "assumed")
    slow_machines: int = _figure(0, "whose cores take `slow_factor` as long", "assumed")
    slow_factor: float = _figure(2.0, "of a slow machine's cores", "assumed")
    hours_to_failure: float = _figure(6300, "of one machine", "published, see 4")
    checkpoint_minutes: float = _figure(10, "from one to the next", "assumed")
    checkpoint_seconds: float = _figure(5, "for which training stands still", "assumed")
    restart_minutes: float = _figure(5, "until the first step after a death", "assumed")
    shard_bytes: float = _figure(256e6, "of a tar shard", "assumed")
    window: int = _figure(16, "shards that a BlockShuffle mixes", "its default")
    id_seconds: float = _figure(
        330e-9, "of one core: a sample's place in the order", "docs/data.md"
    )


@dataclass(frozen=True)
class Way:
    """How pictures come to a rank.

    Attributes
    ----------
    name : str
    picture_bytes, core_seconds : float
    pictures_per_request : float
        0: they lie on the machine's own drives.
    """

    name: str
    picture_bytes: float
    core_seconds: float
    pictures_per_request: float


def ways(assumed: Assumptions) -> list[Way]:
    """Return the ways that are compared."""
    jpeg = assumed.jpeg_bytes, assumed.jpeg_core_seconds
    packed = assumed.packed_bytes, assumed.packed_core_seconds
    return [
        Way("JPEG, a request each", *jpeg, 1),
        Way("JPEG, shards from the store", *jpeg, assumed.request_bytes / assumed.jpeg_bytes),
        Way("packed, from the store", *packed, assumed.request_bytes / assumed.packed_bytes),
        Way("JPEG, own drives", *jpeg, 0),
        Way("packed, own drives", *packed, 0),
    ]


def model(assumed: Assumptions, way: Way, gpus: int, rate: float) -> tuple[Store, Reader, Training]:
    """Return what is to be simulated, or to be put into `limits`."""
    is_remote = way.pictures_per_request > 0
    per_request = way.pictures_per_request or math.inf
    store, bandwidth = Store(), assumed.drive_bandwidth
    if is_remote:
        bandwidth = assumed.machine_bandwidth
        store = Store(
            latency=assumed.latency,
            latency_sigma=assumed.latency_sigma,
            tail_chance=assumed.tail_chance,
            tail_latency=assumed.tail_latency,
            connection_bandwidth=assumed.connection_bandwidth,
            bandwidth=assumed.store_bandwidth,
            requests_per_second=assumed.requests_per_prefix * assumed.prefixes,
            failure_chance=assumed.failure_chance,
        )
    python = assumed.request_python_seconds / per_request
    thread = mean_wait(store) / per_request + way.picture_bytes / store.connection_bandwidth
    thread += python + way.core_seconds
    threads = max(assumed.cores_per_gpu, math.ceil(SPARE_THREADS * rate * thread))
    neighbours = min(assumed.gpus_per_machine, gpus)
    reader = Reader(
        threads=math.ceil(threads / THINNED) * THINNED,
        cores=assumed.cores_per_gpu,
        processes=assumed.processes_per_gpu,
        prefetch=assumed.prefetch,
        picture_bytes=way.picture_bytes,
        pictures_per_request=per_request,
        python_seconds=python,
        core_seconds=way.core_seconds,
        bandwidth=bandwidth / neighbours,
    )
    training = Training(
        ranks=gpus,
        batch_size=assumed.batch_size,
        steps=STEPS,
        warm_up=WARM_UP,
        step_seconds=assumed.batch_size / rate,
        step_sigma=assumed.step_sigma,
        slow_ranks=min(gpus, assumed.slow_machines * assumed.gpus_per_machine),
        slow_factor=assumed.slow_factor,
    )
    return store, reader, training


def assumption_table(assumed: Assumptions) -> str:
    """Return what is assumed, and where it comes from."""
    rows = [
        (f"`{one.name}`", _short(getattr(assumed, one.name)), *one.metadata.values())
        for one in fields(assumed)
    ]
    return _table(("option", "value", "what", "from"), rows)


def demand_table(assumed: Assumptions, gpus: Sequence[int], rates: Sequence[float]) -> str:
    """Return what GPUs that never wait ask for."""
    rows = []
    for rate in rates:
        for count in gpus:
            images = rate * count
            jpeg, packed = images * assumed.jpeg_bytes, images * assumed.packed_bytes
            rows.append(
                (
                    f"{rate:,.0f}",
                    f"{count:,}",
                    f"{images:,.0f}",
                    f"{rate * assumed.jpeg_core_seconds:.1f}",
                    f"{rate * assumed.packed_core_seconds:.1f}",
                    f"{jpeg / 1e9:,.1f}",
                    f"{packed / 1e9:,.1f}",
                    f"{math.ceil(jpeg / assumed.connection_bandwidth):,}",
                    f"{images:,.0f} ({math.ceil(images / assumed.requests_per_prefix):,})",
                    f"{jpeg / assumed.request_bytes:,.0f}",
                )
            )
    titles = (
        "images/s a GPU",
        "GPUs",
        "images/s",
        "cores a GPU, JPEG",
        "packed",
        "GB/s, JPEG",
        "packed",
        "connections, JPEG",
        "requests/s, one a picture (prefixes)",
        "one a part",
    )
    return _table(titles, rows)


def limit_table(assumed: Assumptions, gpus: Sequence[int], rates: Sequence[float]) -> str:
    """Return, for each way and size, what binds: images/s of each GPU, and the share of need."""
    rows = []
    for rate in rates:
        for way in ways(assumed):
            cells = []
            for count in gpus:
                parts = limits(*model(assumed, way, count, rate))
                name = min(parts, key=lambda part: parts[part])
                cells.append(f"{name}: {parts[name]:,.0f} ({parts[name] / rate:.0%})")
            rows.append((f"{rate:,.0f}", way.name, *cells))
    return _table(("images/s a GPU", "way", *(f"{count:,} GPUs" for count in gpus)), rows)


def simulated(
    assumed: Assumptions, way: Way, gpus: int, rate: float, seed: int, threads: int | None = None
) -> dict[str, float]:
    """Simulate one way and size; images/s, waiting shares, bytes/s of the store, step seconds."""
    store, reader, training = model(assumed, way, gpus, rate)
    reader = replace(reader, threads=threads or reader.threads)
    factor = math.gcd(THINNED, reader.cores, training.batch_size)
    outcome = simulate(*thinned(store, reader, training, factor), seed)
    return {
        "images": outcome.images_per_second * factor,
        "waiting": outcome.waiting,
        "waiting_own": outcome.waiting_own,
        "bandwidth": outcome.store_bandwidth if way.pictures_per_request else 0.0,
        "p50": outcome.step_seconds[0],
        "p99": outcome.step_seconds[1],
    }


def simulation_table(
    assumed: Assumptions, gpus: Sequence[int], rates: Sequence[float], seed: int
) -> str:
    """Return what the simulation says of each way and size."""
    rows = []
    for rate in rates:
        for way in ways(assumed):
            for count in gpus:
                figures = simulated(assumed, way, count, rate, seed)
                rows.append(
                    (
                        f"{rate:,.0f}",
                        way.name,
                        f"{count:,}",
                        f"{figures['images']:,.0f}",
                        f"{figures['waiting']:.1%}",
                        f"{figures['waiting_own']:.1%}",
                        f"{figures['bandwidth'] / 1e9:,.1f}",
                        f"{1e3 * figures['p50']:,.0f}",
                        f"{1e3 * figures['p99']:,.0f}",
                    )
                )
    titles = (
        "images/s a GPU",
        "way",
        "GPUs",
        "images/s",
        "waiting",
        "own",
        "store, GB/s",
        "step p50, ms",
        "p99",
    )
    return _table(titles, rows)


def disturbance_table(assumed: Assumptions, gpus: int, rate: float, seed: int) -> str:
    """Return how long GPUs wait when one assumption changes, by shards and by single requests."""
    lean: dict[str, Any] = {"request_python_seconds": LEAN_CLIENT}
    ways_read: tuple[tuple[int, dict[str, Any]], ...] = ((1, {}), (0, lean))
    rows = []
    for name, changes in DISTURBANCES.items():
        cells = []
        for number, more in ways_read:
            changed = replace(assumed, **{**more, **changes})
            # threads for the times that were planned with, not for these
            planned = model(replace(assumed, **more), ways(assumed)[number], gpus, rate)[1]
            figures = simulated(
                changed, ways(changed)[number], gpus, rate, seed, threads=planned.threads
            )
            cells += [f"{figures['waiting']:.1%}", f"{figures['waiting_own']:.1%}"]
        rows.append((name, *cells))
    titles = ("what is different", "waiting, shards", "own", "waiting, requests", "own")
    return _table(titles, rows)


def largest_shard(assumed: Assumptions, gpus: int) -> float:
    """Return the largest shard that leaves each rank two windows of shards of its own an epoch."""
    return assumed.images * assumed.jpeg_bytes / (gpus * 2 * assumed.window)


def order_table(assumed: Assumptions, gpus: Sequence[int], rates: Sequence[float]) -> str:
    """Return what the order costs and what shards it asks for."""
    rows = []
    for count in gpus:
        here = min(count, assumed.gpus_per_machine)
        windows = 2 * assumed.window * assumed.shard_bytes * here
        share = assumed.images * assumed.jpeg_bytes * here / count
        rows.append(
            (
                f"{count:,}",
                f"{rates[0] * assumed.id_seconds:.2%}",
                f"{largest_shard(assumed, count) / 1e6:,.0f}",
                f"{windows / 1e9:,.0f}",
                f"{share / 1e12:,.2f}",
                f"{count * assumed.window:,}",
            )
        )
    titles = (
        "GPUs",
        "order, of a core",
        "shard at most, MB",
        f"two windows of {assumed.shard_bytes / 1e6:,.0f} MB shards, GB a machine",
        "share of a machine, TB",
        "shards in a global batch",
    )
    return _table(titles, rows)


def failure_table(assumed: Assumptions, gpus: Sequence[int]) -> str:
    """Return what deaths of machines cost, in the first order of their rate."""
    rows = []
    for count in gpus:
        lost = lost_share(assumed, count)
        hours = assumed.hours_to_failure / math.ceil(count / assumed.gpus_per_machine)
        best = math.sqrt(2 * assumed.checkpoint_seconds * 3600 * hours) / 60
        rows.append((f"{count:,}", f"{hours:,.0f}", f"{lost:.2%}", f"{best:,.0f}"))
    titles = ("GPUs", "hours between deaths", "time lost", "best minutes between checkpoints")
    return _table(titles, rows)


def lost_share(assumed: Assumptions, gpus: int) -> float:
    """Return the share of time that deaths, restarts and checkpoints cost."""
    hours = assumed.hours_to_failure / math.ceil(gpus / assumed.gpus_per_machine)
    between = 60 * assumed.checkpoint_minutes
    each_death = between / 2 + 60 * assumed.restart_minutes
    return each_death / (3600 * hours) + assumed.checkpoint_seconds / between


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
