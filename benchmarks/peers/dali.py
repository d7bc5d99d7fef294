"""NVIDIA DALI on the CPU, where a user has it; fusewarp never installs it."""

import math
from typing import Any

import numpy as np

from ..contract import Entry, Peer, Runner
from ..work import ROTATION, SCALE, SHEAR, SHIFT, SIDE, WARP_PICTURES, ZOOM, Floats, Images, Work

NOTE = "draws its own; fn.warp_affine on the CPU, one warp of one matrix"


def warped(images: Any) -> Any:
    """Draw a matrix for each picture of SIDE x SIDE, and warp to float32 in 0..1."""
    from nvidia.dali import fn, types

    centre = (SIDE / 2, SIDE / 2)  # DALI's pixel centres lie at halves
    flip = 1 - 2 * fn.random.coin_flip()
    mirror = fn.stack(fn.cast(flip, dtype=types.FLOAT), types.Constant(1.0, dtype=types.FLOAT))
    zoom = fn.random.uniform(range=list(ZOOM), shape=[2])
    matrix = fn.transforms.scale(scale=mirror * zoom, center=centre)
    shear = fn.random.uniform(range=[-SHEAR, SHEAR])
    angles = fn.stack(shear, types.Constant(0.0, dtype=types.FLOAT))
    matrix = fn.transforms.shear(matrix, angles=angles, center=centre)
    angle = fn.random.uniform(range=[-ROTATION, ROTATION])
    matrix = fn.transforms.rotation(matrix, angle=angle, center=centre)
    shift = fn.random.uniform(range=[-SHIFT * SIDE, SHIFT * SIDE], shape=[2])
    matrix = fn.transforms.translation(matrix, offset=shift)
    levels = fn.warp_affine(
        images, matrix=matrix, inverse_map=False, interp_type=types.INTERP_LINEAR
    )  # without a `fill_value` the nearest pixel is repeated
    return fn.cast(levels, dtype=types.FLOAT) * SCALE


def _pipeline(make_input: Any, batch_size: int, threads: int) -> Any:
    from nvidia.dali import pipeline_def

    def define() -> Any:
        return warped(make_input())

    options = {"batch_size": batch_size, "num_threads": threads, "device_id": None, "seed": 1}
    pipeline = pipeline_def(**options)(define)()
    pipeline.build()
    return pipeline


def _row(make_input: Any, count: int, batch_size: int, threads: int) -> Runner:
    pipeline = _pipeline(make_input, batch_size, threads)
    batches = math.ceil(count / batch_size)

    def run(laps: int) -> int:
        for _ in range(laps * batches):
            pipeline.run()
        return laps * batches * batch_size

    return Runner(run)


def _arrays(images: Images, work: Work, threads: int) -> Runner:
    from nvidia.dali import fn

    rng = np.random.default_rng(0)

    def batch() -> Images:
        return images[rng.integers(0, len(images), work.batch_size)]

    def make_input() -> Any:
        return fn.external_source(source=batch, layout="HWC", no_copy=True)

    return _row(make_input, len(images), work.batch_size, threads)


def augment(images: Images) -> Floats:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    from nvidia.dali import fn

    pipeline = _pipeline(lambda: fn.external_source(source=[images], layout="HWC"), len(images), 1)
    (batch,) = pipeline.run()
    return np.stack([np.asarray(batch.at(i), np.float32) for i in range(len(images))])


def warp_row(work: Work, threads: int) -> Runner:
    """Augment one batch after the other, with one thread."""
    return _arrays(work.images[:WARP_PICTURES], work, threads)


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    return _arrays(work.peer_images, work, threads)


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files."""
    from nvidia.dali import fn, types

    def make_input() -> Any:
        encoded, _ = fn.readers.file(file_root=str(work.tiles), random_shuffle=True)
        images = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
        return fn.resize(images, size=(SIDE, SIDE), interp_type=types.INTERP_LINEAR)

    return _row(make_input, len(work.tile_paths()), work.batch_size, threads)


PEER = Peer(
    name="DALI",
    packages=("nvidia-dali-cuda130|nvidia-dali-cuda120|nvidia-dali-cuda110",),
    install="pip install nvidia-dali-cuda120 (Apache-2.0, Linux; runs without a GPU too)",
    process="dali",
    entries=(
        Entry("warp", "dali", "DALI on the CPU", warp_row, note=NOTE, threads=1),
        Entry("arrays", "dali", "DALI on the CPU", arrays_row, note=NOTE),
        Entry("jpeg", "dali", "DALI on the CPU", jpeg_row, note=f"{NOTE}, after fn.resize"),
    ),
    augment=augment,
)
