"""NVIDIA DALI with its GPU operators, where a user has it; fusewarp never installs it."""

import math
from collections.abc import Callable
from typing import Any

from ..contract import ALL_THREADS, Peer, Runner
from ..work import SIDE
from . import dali
from .gpu_ours import upload_figures
from .gpu_work import GpuWork, entry

NOTE = "draws its own; fn.warp_affine on the GPU, one warp of one matrix; float32; batches ahead"


def _row(work: GpuWork, make_input: Callable[[], Any], count: int) -> Callable[[int], int]:
    """Make a row of a pipeline's batches; its queue stays full between turns."""
    from nvidia.dali import pipeline_def

    def define() -> Any:
        return dali.warped(make_input())

    size = min(count, work.batch_size)
    pipeline = pipeline_def(
        batch_size=size, num_threads=work.threads[-1], device_id=work.index, seed=1
    )(define)()
    pipeline.build()

    def run(laps: int) -> int:
        batches = laps * math.ceil(count / size)
        for _ in range(batches):
            (made,) = pipeline.run()
        made[0].as_cpu()  # waits for the last batch; one picture is copied
        return batches * size

    return run


def upload_row(work: GpuWork, threads: int) -> Runner:
    """Make batches of arrays in the host's memory."""
    from nvidia.dali import fn

    images, lap = work.images, iter(range(2**62))

    def batch() -> Any:
        start = next(lap) * work.batch_size % len(images)
        return images[start : start + work.batch_size]

    def make_input() -> Any:
        return fn.external_source(source=batch, layout="HWC", no_copy=True).gpu()

    run = _row(work, make_input, work.batch_size)
    return Runner(run, figures=upload_figures(work))


def jpeg_row(work: GpuWork, threads: int) -> Runner:
    """Make batches of files, decoded on the GPU in part."""
    from nvidia.dali import fn, types

    def make_input() -> Any:
        encoded, _ = fn.readers.file(file_root=str(work.tiles), random_shuffle=True)
        images = fn.decoders.image(encoded, device="mixed", output_type=types.RGB)
        return fn.resize(images, size=(SIDE, SIDE), interp_type=types.INTERP_LINEAR)

    return Runner(_row(work, make_input, len(work.tile_paths())))


PEER = Peer(
    name="DALI on a GPU",
    packages=dali.PEER.packages,
    install="pip install nvidia-dali-cuda120 (Apache-2.0, Linux)",
    process="dali",
    entries=(
        entry("upload", "dali", "DALI", upload_row, note=NOTE, threads=ALL_THREADS),
        entry("loader", "dali", "DALI", jpeg_row, note=f'{NOTE}; decoders.image(device="mixed")',
              group="JPEGs", threads=ALL_THREADS),
    ),
    absent=(("device", "its pipeline begins at the host or at files"),),
)  # fmt: skip
