"""Images per second of our loaders and of Keras' own, on the same files, interleaved."""

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras.src.legacy.preprocessing.image import ImageDataGenerator as KerasGenerator

from ..engine import Augmenter, FolderSource, Loader, Policy
from .keras import ImageDataGenerator

RANGES: dict[str, Any] = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 5,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "rescale": 1 / 255,
}
SIZE, BATCH_SIZE = (224, 224), 32

Epoch = Callable[[], int]  # runs through all files once and returns how many


@dataclass(frozen=True)
class Throughput:
    """Images per second of one loader.

    Attributes
    ----------
    name : str
    threads : int
    rounds : list of float
        Images per second of each round, in order.
    """

    name: str
    threads: int
    rounds: list[float]

    @property
    def median(self) -> float:
        """Images per second."""
        return statistics.median(self.rounds)


def measure_throughput(
    folder: Path, threads: int, rounds: int, say: Callable[[str], None] = print
) -> list[Throughput]:
    """Time reading, decoding and augmenting the files of a folder to 224 x 224 float32 batches.

    All loaders get the same files, size, ranges and batch size, and are timed in turn, so that a
    busy machine slows all alike. One round of each comes first, unmeasured: it compiles ours.
    With two threads or more Keras' iterator is asked for its batches from a pool, as its
    `fit(workers=...)` does.

    Parameters
    ----------
    folder : Path
        Sub-folders are classes.
    threads : int
        Each loader is timed with one thread and, if this is more, with this many.
    rounds : int
    say : callable
        Told what goes on.

    Returns
    -------
    list of Throughput
        With one thread Keras' own, our drop-in, our loader; then the same with `threads`.
    """
    epochs: dict[tuple[str, int], Epoch] = {}
    for count in sorted({1, threads}):
        epochs["Keras' own ImageDataGenerator", count] = keras_epoch(folder, count)
        epochs["fusewarp.keras.ImageDataGenerator", count] = drop_in_epoch(folder, count)
        epochs["fusewarp.Loader", count] = loader_epoch(folder, count)
    speeds: dict[tuple[str, int], list[float]] = {key: [] for key in epochs}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warm-up")
        for key, epoch in epochs.items():
            began = time.perf_counter()
            speed = epoch() / (time.perf_counter() - began)
            if number:
                speeds[key].append(speed)
    return [Throughput(*key, values) for key, values in speeds.items()]


def keras_epoch(folder: Path, threads: int) -> Epoch:
    """Make an epoch of Keras' own generator."""
    iterator = _flow(KerasGenerator(**RANGES), folder)

    def run() -> int:
        iterator.on_epoch_end()  # shuffles
        with ThreadPoolExecutor(threads) as pool:
            return sum(len(images) for images, _ in pool.map(iterator.__getitem__, steps))

    steps = range(len(iterator))
    return run


def drop_in_epoch(folder: Path, threads: int) -> Epoch:
    """Make an epoch of our drop-in, which has threads of its own."""
    iterator = _flow(ImageDataGenerator(**RANGES, threads=threads), folder)

    def run() -> int:
        iterator.on_epoch_end()
        return sum(len(iterator[step][0]) for step in range(len(iterator)))

    return run


def loader_epoch(folder: Path, threads: int) -> Epoch:
    """Make an epoch of our loader."""
    augmenter = Augmenter(Policy(**RANGES), size=SIZE, threads=threads)
    loader = Loader(FolderSource(folder), augmenter, BATCH_SIZE)
    return lambda: sum(len(batch.images) for batch in loader)


def _flow(generator: Any, folder: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # "Found 256 images belonging to 39 classes."
        return generator.flow_from_directory(
            str(folder), target_size=SIZE, batch_size=BATCH_SIZE, seed=0
        )
