"""Interleave the drop-in, Keras' own generator and the floors in one process; print the ratios.

python benchmarks/compare_keras.py [--quick] [--json FILE]

Two tables: `flow` from an array, against a plain convert of the same bytes; `flow_from_directory`
from JPEGs, against decoding alone. A round is an epoch of an iterator that has had epochs before,
as in training (four of ours); it begins with `on_epoch_end`, after which nothing counts that was
begun ahead.
Keras' iterator is asked for its batches from a pool of as many threads, as by `fit(workers=...)`.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import simplejpeg
from compare_warp import describe_machine
from keras.src.legacy.preprocessing.image import ImageDataGenerator as KerasGenerator
from warp_cases import SIDE, make_images

from fusewarp.integrations.demo_data import write_tiles
from fusewarp.keras import ImageDataGenerator

OPTIONS = {
    "rotation_range": 30,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "rescale": 1 / 255,
}
BATCH_SIZE = 64
PACKAGES = ("keras", "tensorflow", "scipy", "Pillow", "simplejpeg", "numpy", "numba")
OUR_EPOCHS = 4  # in one round, which then takes a tenth of the time of Keras' one
SETTLE_SECONDS = 0.2  # what was begun ahead and not asked for ends before the next row's clock

Epoch = Callable[[], int]  # makes all images once and returns how many


def our_epoch(flow, threads: int) -> Epoch:
    """Make some epochs of the drop-in."""
    iterator = flow(ImageDataGenerator(**OPTIONS, threads=threads))

    def run() -> int:
        iterator.on_epoch_end()
        return sum(len(next(iterator)[0]) for _ in range(OUR_EPOCHS * len(iterator)))

    return run


def keras_epoch(flow, threads: int) -> Epoch:
    """Make an epoch of Keras' own generator."""
    iterator = flow(KerasGenerator(**OPTIONS))

    def run() -> int:
        iterator.on_epoch_end()
        with ThreadPoolExecutor(threads) as pool:
            batches = pool.map(iterator.__getitem__, range(len(iterator)))
            return sum(len(images) for images, _ in batches)

    return run


def convert_epoch(images: np.ndarray) -> Epoch:
    """Make an epoch that only converts the bytes of one batch after the other: no warp at all."""
    out = np.empty((BATCH_SIZE, *images.shape[1:]), np.float32)

    def run() -> int:
        for start in range(0, len(images), BATCH_SIZE):
            np.multiply(images[start : start + BATCH_SIZE], np.float32(1 / 255), out=out)
        return len(images)

    return run


def decode_epoch(paths: list[Path], threads: int) -> Epoch:
    """Make an epoch that only reads and decodes the files, each thread into the same memory."""
    thread = threading.local()

    def decode(path: Path) -> int:
        if not hasattr(thread, "memory"):
            thread.memory = np.empty((375, 500, 3), np.uint8)
        return len(simplejpeg.decode_jpeg(path.read_bytes(), buffer=thread.memory)) > 0

    def run() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(decode, paths))

    return run


def array_rows(images: np.ndarray) -> dict[tuple[str, int], Epoch]:
    """Return the rows of the table for `flow`."""
    labels = np.arange(len(images))

    def flow(generator):
        return generator.flow(images, labels, batch_size=BATCH_SIZE, seed=0)

    rows = {("convert only (the floor)", 1): convert_epoch(images)}
    for threads in (1, 2):
        rows["Keras' flow", threads] = keras_epoch(flow, threads)
        rows["fusewarp's flow", threads] = our_epoch(flow, threads)
    return rows


def folder_rows(folder: Path, paths: list[Path]) -> dict[tuple[str, int], Epoch]:
    """Return the rows of the table for `flow_from_directory`."""
    size = {"target_size": (SIDE, SIDE), "batch_size": BATCH_SIZE, "seed": 0}

    def flow(generator, **extra):
        with contextlib.redirect_stdout(io.StringIO()):  # "Found ... images"
            return generator.flow_from_directory(str(folder), **size, **extra)

    def fused_flow(generator):
        return flow(generator, use_fused_resize=True)

    rows = {}
    for threads in (1, 2):
        rows["decode only (the floor)", threads] = decode_epoch(paths, threads)
        rows["Keras' flow_from_directory", threads] = keras_epoch(flow, threads)
        rows["fusewarp's flow_from_directory", threads] = our_epoch(flow, threads)
        rows["the same, use_fused_resize=True", threads] = our_epoch(fused_flow, threads)
    return rows


def interleave(rows: dict[tuple[str, int], Epoch], rounds: int) -> dict[tuple[str, int], list]:
    """Time every row once a round, after one round that compiles and is not counted."""
    speeds = {key: [] for key in rows}
    for number in range(rounds + 1):
        for key, epoch in rows.items():
            time.sleep(SETTLE_SECONDS)
            began = time.perf_counter()
            speed = epoch() / (time.perf_counter() - began)
            if number:
                speeds[key].append(speed)
    return speeds


def summarise(speeds: dict[tuple[str, int], list]) -> list[dict]:
    """Return a row per case: median and quartiles of images/s, and ratios to Keras, per round."""
    rows = []
    for (name, threads), values in speeds.items():
        keras = next(v for (n, t), v in speeds.items() if n.startswith("Keras") and t == threads)
        low, median, high = statistics.quantiles(values, n=4)
        ratio = statistics.median(own / peer for own, peer in zip(values, keras, strict=True))
        rows.append(
            {
                "case": name,
                "threads": threads,
                "images_per_second": median,
                "quartiles": [low, high],
                "times_keras": ratio,
            }
        )
    return rows


def print_table(title: str, rows: list[dict]) -> None:
    """Print the rows under their title."""
    print(title)
    print(f"{'':36}{'threads':>8}{'images/s':>12}{'quartiles':>20}{'x Keras':>10}")
    for row in rows:
        low, high = row["quartiles"]
        print(
            f"{row['case']:36}{row['threads']:8}{row['images_per_second']:12,.0f}"
            f"{f'{low:,.0f} - {high:,.0f}':>20}{row['times_keras']:10.1f}"
        )
    print()


def main() -> None:
    """Run both tables, print them, and write the JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 7, fewer images")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    rounds, copies = (3, 2) if arguments.quick else (7, 16)
    warnings.simplefilter("ignore", DeprecationWarning)  # Keras' calls of SciPy
    images = np.concatenate([make_images()] * copies)
    tables = {
        f"{len(images)} x {SIDE} x {SIDE} x 3 uint8 arrays -> float32, batches of {BATCH_SIZE}, "
        "rotation 30, shift 10 %, shear 10, zoom 0.8-1.2, flip, rescale": interleave(
            array_rows(images), rounds
        )
    }
    with tempfile.TemporaryDirectory() as folder:
        tiles = Path(folder) / "tiles"
        tiles.mkdir()
        paths = write_tiles(tiles, 128 if arguments.quick else 512)
        title = (
            f"{len(paths)} JPEGs of 500 x 375, re-encoded tiles of real photos; the same options"
        )
        tables[title] = interleave(folder_rows(Path(folder), paths), rounds)
    report = {title: summarise(speeds) for title, speeds in tables.items()}
    machine = describe_machine()
    for title, rows in report.items():
        print_table(title, rows)
    print(f"{machine['cpu']}, {machine['cores']} cores, load {os.getloadavg()[0]:.1f}; ", end="")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    if arguments.json:
        arguments.json.write_text(json.dumps({"tables": report, "machine": machine}, indent=2))


if __name__ == "__main__":
    main()
