"""Keras' preprocessing layers in tf.data, as its guides recommend."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import ALL_THREADS, Entry, Peer, Runner
from ..training import fit_row
from ..work import ROTATION, SCALE, SHEAR, SHIFT, SIDE, WARP_PICTURES, ZOOM, Images, Work
from .tensorflow_data import epochs, with_threads, without_gpus

NOTE = "draws its own parameters; five layers, four of which resample"


def make_layers() -> Any:
    """Return the layers, which take and return batches (n, h, w, 3)."""
    import keras

    without_gpus()
    layers = keras.layers
    turn = ROTATION / 360
    zoom = (ZOOM[0] - 1, ZOOM[1] - 1)
    fill: dict[str, Any] = {"fill_mode": "nearest", "interpolation": "bilinear"}
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation((-turn, turn), **fill),
            layers.RandomTranslation((-SHIFT, SHIFT), (-SHIFT, SHIFT), **fill),
            layers.RandomShear(x_factor=math.sin(math.radians(SHEAR)), **fill),
            layers.RandomZoom(zoom, zoom, **fill),
            layers.Rescaling(SCALE),
        ]
    )


def augment(images: Images) -> NDArray[np.float32]:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    made: NDArray[np.float32] = make_layers()(images.astype(np.float32), training=True).numpy()
    return made


def _mapped(dataset: Any, threads: int) -> Any:
    layers = make_layers()
    mapped = dataset.map(lambda x: layers(x, training=True), num_parallel_calls=threads)
    return with_threads(mapped.prefetch(2), threads)


def _arrays(images: Images, work: Work, threads: int) -> Runner:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images))
    return epochs(_mapped(dataset.batch(work.batch_size), threads), len(images))


def warp_row(work: Work, threads: int) -> Runner:
    """Augment one batch in a data set with one thread."""
    return _arrays(work.images[:WARP_PICTURES], work, threads)


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    return _arrays(work.peer_images, work, threads)


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files with `image_dataset_from_directory`."""
    import keras

    dataset = keras.utils.image_dataset_from_directory(
        str(work.tiles),
        labels=None,
        batch_size=work.batch_size,
        image_size=(SIDE, SIDE),
        interpolation="bilinear",
        verbose=False,
    )
    return epochs(_mapped(dataset, threads), len(work.tile_paths()))


def training_row(work: Work, threads: int) -> Runner:
    """Train on a data set with the layers in its map."""
    import tensorflow as tf

    layers = make_layers()

    def data(images: Images, labels: NDArray[np.int64], size: int) -> Any:
        dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images))
        return (
            dataset.batch(size)
            .map(lambda x, y: (layers(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )

    return fit_row(work, data)


PEER = Peer(
    name="Keras layers in tf.data",
    packages=("keras", "tensorflow"),
    install="pip install 'fusewarp[tensorflow]'",
    process="tensorflow",
    entries=(
        Entry("warp", "keras-layers", "Keras layers in tf.data", warp_row, note=NOTE, threads=1),
        Entry(
            "arrays",
            "keras-layers",
            "Keras layers in tf.data",
            arrays_row,
            note=f"{NOTE}; batches mapped in parallel, private thread pool, prefetch(2)",
        ),
        Entry(
            "jpeg",
            "keras-layers",
            "image_dataset_from_directory + Keras layers",
            jpeg_row,
            note=f"{NOTE}; TensorFlow's decoder and bilinear resize, not antialiased",
        ),
        Entry(
            "training",
            "keras-layers",
            "on Keras layers in tf.data",
            training_row,
            note="AUTOTUNE for the map and the prefetch",
            threads=ALL_THREADS,
        ),
    ),
    augment=augment,
)
