"""Measurements that are no rows: hand-over, start-up, memory over an epoch, aliasing."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..engine import ArraySource, Augmenter, Loader, Policy
from ..kernels import warp
from .contract import NotAvailable, Process, Table
from .work import BATCH_SIZE, OPTIONS, POLICY, SIDE, Work, crops

SCRIPTS = Path(__file__).parent / "scripts"
HAND_OVERS, QUICK_HAND_OVERS, READY_SECONDS = (
    30,
    10,
    0.1,
)  # a batch is ready well before it is asked for
WARM_STARTS = 3
MANY_FILES = 100_000
LINKED_FILES = 16  # so many different ones; file systems limit the names of one file
SMALL_SIZE = (96, 72)  # width, height: an epoch of many files then takes seconds
REDUCED = 4


@dataclass(frozen=True)
class Probe:
    """A measurement: which table it belongs to, and where it runs."""

    table: Table
    process: Process
    packages: tuple[str, ...]
    measure: Callable[[Work], dict[str, Any]]
    quick: bool = False


def hand_over(work: Work) -> dict[str, Any]:
    """Time `next` of a loader's tf.data set, less the loader's own wait, for ready batches.

    In turn with it, the floor: `next` of a set that holds one batch and gives it again and again.
    """
    import tensorflow as tf

    from ..tensorflow import as_dataset

    source = ArraySource(work.images[:BATCH_SIZE])
    count = QUICK_HAND_OVERS if work.quick else HAND_OVERS
    loader = Loader(source, Augmenter(POLICY), BATCH_SIZE, epochs=count + 1)
    batches = iter(as_dataset(loader))
    held = iter(tf.data.Dataset.from_tensors(next(batches)).repeat())
    milliseconds, floor = [], []
    for _ in range(count):
        time.sleep(READY_SECONDS)
        waited, began = loader.wait_seconds, time.perf_counter()
        next(batches)
        seconds = time.perf_counter() - began - (loader.wait_seconds - waited)
        milliseconds.append(1e3 * seconds)
        time.sleep(READY_SECONDS)
        began = time.perf_counter()
        next(held)
        floor.append(1e3 * (time.perf_counter() - began))
    return {
        "milliseconds": milliseconds,
        "median_ms": float(np.median(milliseconds)),
        "floor_ms": float(np.median(floor)),
    }


def start_up(work: Work) -> dict[str, Any]:
    """Time the first batch of fresh processes: with an empty cache of kernels, and with theirs."""
    with tempfile.TemporaryDirectory() as cache:
        cold = _first_batch(cache)
        warm = [_first_batch(cache) for _ in range(WARM_STARTS)]
    return {
        "cold_first_batch_s": cold["seconds"],
        "cached_first_batch_s": float(np.median([run["seconds"] for run in warm])),
        "import_s": float(np.median([run["import_s"] for run in warm])),
        **_warm_up(),
    }


def _first_batch(cache: str) -> dict[str, float]:
    return dict(_run_script("first_batch.py", json.dumps(OPTIONS), cache=cache))


def _warm_up() -> dict[str, float]:
    """Time `fusewarp warmup` with an empty cache: all usual kernels, compiled."""
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        done = subprocess.run(
            (sys.executable, "-m", "fusewarp", "warmup"),
            env=_environment(cache),
            capture_output=True,
        )
        seconds = time.perf_counter() - began
    return {"warmup_s": seconds} if done.returncode == 0 else {}


def memory(work: Work, count: int = MANY_FILES) -> dict[str, Any]:
    """Sample the resident memory of a fresh process over an epoch of many small files."""
    if not Path("/proc/self/statm").exists():
        raise NotAvailable("resident memory is read from /proc, which is not there")
    folder = work.folder / "many"
    if not folder.exists():
        write_many(folder, work.tile_paths(), count)
    return dict(_run_script("epoch_memory.py", str(folder), str(SIDE), str(BATCH_SIZE)))


def write_many(folder: Path, tiles: list[Path], count: int) -> None:
    """Write a few small JPEGs, and hard links to them under many names, in two classes."""
    originals = []
    for number, path in enumerate(tiles[:LINKED_FILES]):
        small = folder / "originals" / f"{number}.jpg"
        small.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as picture:
            picture.resize(SMALL_SIZE).save(small, quality=90)
        originals.append(small)
    for name in ("one", "two"):
        (folder / "photos" / name).mkdir(parents=True)
    for number in range(count):
        link = folder / "photos" / ("one", "two")[number % 2] / f"{number:06}.jpg"
        os.link(originals[number % len(originals)], link)


def aliasing(work: Work) -> dict[str, Any]:
    """Compare pictures shrunk to a quarter of their side with Pillow's antialiased `reduce`."""
    images = crops(16, REDUCED * SIDE)
    reference = np.stack([np.asarray(Image.fromarray(image).reduce(REDUCED)) for image in images])
    augmenter = Augmenter(Policy(), size=(SIDE, SIDE), dtype="uint8")
    loader = Loader(ArraySource(images), augmenter, len(images), shuffle=False)
    made = next(iter(loader)).images
    middle = (REDUCED - 1) / 2
    one = np.array([[REDUCED, 0, middle], [0, REDUCED, middle]], np.float32)
    maps = np.ascontiguousarray(np.broadcast_to(one, (len(images), 2, 3)))
    plain = np.empty_like(reference)
    warp(images, maps, plain)
    return {"loader_psnr_db": psnr(made, reference), "plain_psnr_db": psnr(plain, reference)}


def psnr(images: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio of 8-bit pictures, in dB."""
    error = float(np.mean((images.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return 10 * math.log10(255.0**2 / max(error, 1e-12))


def _run_script(name: str, *arguments: str, cache: str | None = None) -> Any:
    command = (sys.executable, str(SCRIPTS / name), *arguments)
    done = subprocess.run(command, env=_environment(cache), capture_output=True, text=True)
    if done.returncode:
        raise NotAvailable(f"{name} failed: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _environment(cache: str | None) -> dict[str, str]:
    """Return this environment, with what is imported here importable there too."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    kept = {} if cache is None else {"FUSEWARP_CACHE_DIR": cache}
    return {**os.environ, "PYTHONPATH": path, **kept}


PROBES = {
    "start-up": Probe("warp", "native", (), start_up),
    "aliasing": Probe("arrays", "native", (), aliasing),
    "memory": Probe("jpeg", "native", (), memory),
    "hand-over": Probe("training", "tensorflow", ("tensorflow",), hand_over, quick=True),
}
