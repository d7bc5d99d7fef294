"""Training a head on a frozen base: the same model and pictures, fed in different ways."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import Runner
from .work import Images, Work, crops

SIDE, BATCH_SIZE, CLASSES = 160, 32, 8

Data = Callable[[Images, NDArray[np.int64], int], Any]  # of pictures, labels and batch size


def training_images(work: Work) -> tuple[Images, NDArray[np.int64]]:
    """Return the pictures, (n, SIDE, SIDE, 3) uint8, and their labels."""
    images = crops(work.trained_pictures, SIDE)
    return images, np.arange(len(images), dtype=np.int64) % CLASSES


def base_name(quick: bool) -> str:
    """Name the base; its weights are random, which takes as long as trained ones."""
    return "two convolutions" if quick else "MobileNetV2 with random weights"


@functools.cache
def make_model(quick: bool) -> Any:
    """Build a head on a frozen base."""
    import keras

    keras.utils.set_random_seed(0)
    if quick:
        base = _tiny_base()
    else:
        base = keras.applications.MobileNetV2(
            input_shape=(SIDE, SIDE, 3), include_top=False, weights=None, pooling="avg"
        )
    base.trainable = False
    inputs = keras.Input((SIDE, SIDE, 3))
    head = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Model(inputs, head(base(inputs, training=False)))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def _tiny_base() -> Any:
    import keras

    layers = keras.layers
    convolutions = [layers.Conv2D(filters, 3, strides=2, activation="relu") for filters in (16, 32)]
    return keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), *convolutions, layers.GlobalAveragePooling2D()]
    )


def fit_row(work: Work, make_data: Data, waited: Callable[[], float] | None = None) -> Runner:
    """Make a row that trains epochs on what `make_data` returns.

    Parameters
    ----------
    work : Work
    make_data : callable
        Returns what `fit` takes as one epoch.
    waited : callable, optional
        Seconds spent waiting for batches so far.
    """
    images, labels = training_images(work)
    model, data = make_model(work.quick), make_data(images, labels, BATCH_SIZE)
    shares: list[float] = []
    processor: list[float] = []

    def run(laps: int) -> int:
        began, before = time.perf_counter(), waited() if waited else 0.0
        began_processor = time.process_time()
        model.fit(data, epochs=laps, verbose=0)
        processor.append((time.process_time() - began_processor) / (laps * len(images)))
        if waited:
            shares.append((waited() - before) / (time.perf_counter() - began))
        return laps * len(images)

    def figures() -> dict[str, float]:
        """Return what a busy machine blurs less than the time: the processor's own seconds."""
        seconds = {"processor_ms_a_picture": 1e3 * float(np.median(processor))}
        return {**seconds, "wait_share": float(np.median(shares))} if shares else seconds

    return Runner(run, figures=figures)


def ready_batches(images: Images, labels: NDArray[np.int64], size: int) -> Any:
    """Return a data set of batches that were made before: nothing is left to do but hand over."""
    import tensorflow as tf

    pixels = images.astype(np.float32) / 255
    batches = pixels.reshape(-1, size, *images.shape[1:]), labels.reshape(-1, size)
    return tf.data.Dataset.from_tensor_slices(batches)
