"""Keras' preprocessing layers on a GPU, in TensorFlow."""

import math
from collections.abc import Callable
from typing import Any

from ..contract import NotAvailable, Peer, Runner
from ..work import ROTATION, SCALE, SHEAR, SHIFT, ZOOM
from .gpu_ours import upload_figures
from .gpu_work import GpuWork, entry, float_traffic
from .keras_layers import NOTE

INSTALL = "pip install 'tensorflow[and-cuda]' keras"


def use_gpu(work: GpuWork) -> str:
    """Let TensorFlow use one GPU, taking memory as it needs it; return its name.

    Raises
    ------
    NotAvailable
        If TensorFlow or Keras cannot use it.
    """
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise NotAvailable(f"Keras' backend is {keras.backend.backend()}: KERAS_BACKEND=tensorflow")
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) <= work.index:
        raise NotAvailable(f"TensorFlow {tf.__version__} sees no GPU {work.index}: {INSTALL}")
    tf.config.set_visible_devices(gpus[work.index], "GPU")
    tf.config.experimental.set_memory_growth(gpus[work.index], True)
    return "/GPU:0"  # of the visible ones


def make_layers() -> Any:
    """Return the layers of `keras_layers.make_layers`, which hides GPUs."""
    import keras

    layers, turn = keras.layers, ROTATION / 360
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


def _runner(work: GpuWork, is_uploading: bool, figures: Callable[[], dict[str, float]]) -> Runner:
    import tensorflow as tf

    name = use_gpu(work)
    layers = make_layers()

    @tf.function  # type: ignore[untyped-decorator]
    def step(images: Any) -> Any:
        return layers(tf.cast(images, tf.float32), training=True)

    parts = [
        work.images[start : start + work.batch_size]
        for start in range(0, work.pictures, work.batch_size)
    ]
    with tf.device(name):
        batches = parts if is_uploading else [tf.identity(tf.constant(part)) for part in parts]

    def run(laps: int) -> int:
        with tf.device(name):
            for lap in range(laps):
                made = step(tf.constant(batches[lap % len(batches)]) if is_uploading
                            else batches[lap % len(batches)])  # fmt: skip
            made[0, 0, 0, 0].numpy()  # one stream computes in order: the last one ends last
        return laps * work.batch_size

    return Runner(run, figures=figures)


def device_row(work: GpuWork, threads: int) -> Runner:
    """Augment tensors that lie on the device."""
    return _runner(work, False, lambda: float_traffic(work))


def upload_row(work: GpuWork, threads: int) -> Runner:
    """Augment arrays in the host's memory."""
    return _runner(work, True, upload_figures(work))


GPU_NOTE = f"{NOTE}; in a tf.function, not XLA; float32, (n, h, w, 3)"
PEER = Peer(
    name="Keras layers on a GPU",
    packages=("keras", "tensorflow"),
    install=INSTALL,
    process="tensorflow",
    entries=(
        entry("device", "keras-layers", "Keras layers", device_row, note=GPU_NOTE),
        entry("upload", "keras-layers", "Keras layers", upload_row, note=GPU_NOTE),
    ),
    absent=(("loader", "in tf.data its layers run on the CPU: `fusewarp bench`"),),
)
