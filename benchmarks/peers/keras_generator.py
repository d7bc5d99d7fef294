"""Keras' own `ImageDataGenerator`, which Keras 3 keeps as a legacy class."""

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..contract import ALL_THREADS, Entry, Peer, Runner
from ..training import fit_row
from ..work import OPTIONS, SCALE, SIDE, Floats, Images, Work

LEGACY = "keras.src.legacy.preprocessing.image, SciPy picture by picture"
FEW = 16  # pictures of the warp row: it is slow, and works one by one
DEFECT = "its two shift ranges are exchanged, which costs it nothing"


def make_generator() -> Any:
    """Make the generator with the common options."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(**OPTIONS)


def augment(images: Images) -> Floats:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    generator = make_generator()
    made = np.stack([generator.random_transform(image.astype(np.float32)) for image in images])
    return np.asarray(made * SCALE, np.float32)


def warp_row(work: Work, threads: int) -> Runner:
    """Draw and apply a transform to some of the pictures one by one, then multiply."""
    images, generator = work.images[:FEW], make_generator()

    def run(laps: int) -> int:
        for _ in range(laps):
            for image in images:
                warped = generator.random_transform(image.astype(np.float32))
                np.multiply(warped, SCALE, out=warped)
        return laps * len(images)

    return Runner(run)


def _epochs(iterator: Any, threads: int) -> Runner:
    """Ask for batches from a pool of threads, as Keras' `fit(workers=...)` does."""
    pool = ThreadPoolExecutor(threads)

    def epoch() -> int:
        iterator.on_epoch_end()  # shuffles
        batches = pool.map(iterator.__getitem__, range(len(iterator)))
        return sum(len(images) for images, _ in batches)

    return Runner(lambda laps: sum(epoch() for _ in range(laps)), pool.shutdown)


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches by `flow`."""
    images = work.peer_images
    flow = make_generator().flow(images, np.arange(len(images)), batch_size=work.batch_size, seed=0)
    return _epochs(flow, threads)


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches by `flow_from_directory`."""
    with contextlib.redirect_stdout(io.StringIO()):  # "Found ... images"
        flow = make_generator().flow_from_directory(
            str(work.tiles),
            target_size=(SIDE, SIDE),
            batch_size=work.batch_size,
            interpolation="bilinear",
            seed=0,
        )
    return _epochs(flow, threads)


def training_row(work: Work, threads: int) -> Runner:
    """Train on its `flow`."""
    return fit_row(
        work,
        lambda images, labels, size: make_generator().flow(images, labels, batch_size=size, seed=0),
    )


PEER = Peer(
    name="Keras ImageDataGenerator",
    packages=("keras", "tensorflow", "scipy"),
    install="pip install 'fusewarp[tensorflow]' scipy",
    process="tensorflow",
    entries=(
        Entry(
            "warp",
            "keras",
            "Keras ImageDataGenerator.random_transform",
            warp_row,
            note=f"{LEGACY}, {FEW} of the pictures; {DEFECT}",
            quick=True,
            threads=1,
        ),
        Entry(
            "arrays",
            "keras",
            "Keras ImageDataGenerator.flow",
            arrays_row,
            note=f"{LEGACY}; batches asked for from a thread pool",
        ),
        Entry(
            "jpeg",
            "keras",
            "Keras flow_from_directory",
            jpeg_row,
            note="Pillow decodes and resizes, bilinear; batches asked for from a thread pool",
        ),
        Entry(
            "training",
            "keras",
            "on Keras ImageDataGenerator.flow",
            training_row,
            note="fit's own default: one thread makes batches",
            threads=ALL_THREADS,
        ),
    ),
    augment=augment,
)
