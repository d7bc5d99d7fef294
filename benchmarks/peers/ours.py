"""Rows of fusewarp: the kernel, the loader, the drop-in, and what feeds a model."""

import contextlib
import inspect
import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import engine
from ...engine import ArraySource, Augmenter, FolderSource, Loader
from ...kernels import warp
from ..contract import ALL_THREADS, Entry, NotAvailable, Peer, Runner
from ..training import fit_row, ready_batches
from ..work import (
    BATCH_SIZE,
    OPTIONS,
    POLICY,
    SIDE,
    Floats,
    Images,
    Maps,
    Work,
    crops,
    drawn_maps,
    scale_colour,
)
from .kernel import cases, sizes

BATCH_SIZES = (1, 8, 32, 64, 256)
MINIFIED, MINIFIED_PICTURES = 4 * SIDE, 16
INSTALL = "pip install fusewarp"


def loader_runner(loader: Loader) -> Runner:
    """Make a row of whole epochs of a loader; nothing is begun before the clock starts."""

    def run(laps: int) -> int:
        loader.epochs = laps
        return sum(len(batch.images) for batch in loader)

    return Runner(run)


def make_loader(source: Any, threads: int, batch_size: int = BATCH_SIZE, **more: Any) -> Loader:
    """Make a loader of the common ranges and size."""
    augmenter = Augmenter(POLICY, size=(SIDE, SIDE), threads=threads)
    return Loader(source, augmenter, batch_size, **more)


def kernel_row(work: Work, threads: int) -> Runner:
    """Warp what the loader warps, batch by batch from the same array, by maps made before."""
    images, size = work.images, work.batch_size
    maps, colour = drawn_maps(len(images)), scale_colour(size)
    order = np.random.default_rng(0).permutation(len(images)).astype(np.int64)
    out = np.empty((size, *images.shape[1:]), np.float32)

    def run(laps: int) -> int:
        for _ in range(laps):
            for start in range(0, len(images), size):
                rows = slice(start, start + size)
                warp(images, maps[rows], out, colour=colour, sources=order[rows])
        return laps * len(images)

    return Runner(run)


def plan_row(work: Work, threads: int) -> Runner:
    """Only draw and compose what the kernel is given."""
    augmenter, count, size = Augmenter(POLICY), work.pictures, work.batch_size

    def run(laps: int) -> int:
        for epoch in range(laps):
            for start in range(0, count, size):
                plan = augmenter.plan(
                    np.arange(start, start + size),
                    epoch,
                    size=(SIDE, SIDE),
                    channels=3,
                    source_dtype=np.uint8,
                )
                plan.inverse_maps(slice(None), (SIDE, SIDE))
        return laps * count

    return Runner(run)


def warp_to_floats(images: Images, inverse_maps: Maps) -> Floats:
    """Warp to float32 in 0..1."""
    out = np.empty((len(inverse_maps), *images.shape[1:]), np.float32)
    warp(images, inverse_maps, out, colour=scale_colour(len(images)))
    return out


def augment(images: Images) -> Floats:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    made: Floats = Augmenter(POLICY).apply(images, np.arange(len(images)))
    return made


def drop_in_augment(images: Images) -> Floats:
    """Return the pictures augmented by the drop-in, (n, side, side, 3) float32 in 0..1."""
    made: Floats = next(_drop_in(1).flow(images, batch_size=len(images), shuffle=False, seed=0))
    return made


def loader_arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    return loader_runner(make_loader(ArraySource(work.images), threads))


def _drop_in(threads: int) -> Any:
    from ...keras import ImageDataGenerator

    return ImageDataGenerator(**OPTIONS, threads=threads)


def _iterator_runner(iterator: Any) -> Runner:
    def run(laps: int) -> int:
        iterator.on_epoch_end()  # what was begun ahead no longer counts
        return sum(len(next(iterator)[0]) for _ in range(laps * len(iterator)))

    return Runner(run)


def flow_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory by the drop-in."""
    images = work.images
    labels = np.arange(len(images))
    return _iterator_runner(
        _drop_in(threads).flow(images, labels, batch_size=work.batch_size, seed=0)
    )


def loader_jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files."""
    return loader_runner(make_loader(FolderSource(work.tiles), threads))


def directory_row(fused: bool) -> Callable[[Work, int], Runner]:
    """Describe batches of files by the drop-in, resized as Keras does or within the warp."""

    def build(work: Work, threads: int) -> Runner:
        with contextlib.redirect_stdout(io.StringIO()):  # "Found ... images"
            iterator = _drop_in(threads).flow_from_directory(
                str(work.tiles),
                target_size=(SIDE, SIDE),
                batch_size=work.batch_size,
                interpolation="bilinear",
                seed=0,
                use_fused_resize=fused,
            )
        return _iterator_runner(iterator)

    return build


def decoded_row(work: Work, threads: int) -> Runner:
    """Make batches of the files' pictures, decoded before into one array."""
    source = FolderSource(work.tiles)
    images = np.stack([source.read(sample_id) for sample_id in range(len(source))])
    return loader_runner(make_loader(ArraySource(images), threads))


def cached_row(work: Work, threads: int) -> Runner:
    """Make batches of files whose pictures the loader has kept since the first epoch."""
    if "cache" not in inspect.signature(Loader).parameters:
        raise NotAvailable('not available: this version has no Loader(cache="memory")')
    return loader_runner(make_loader(FolderSource(work.tiles), threads, cache="memory"))


def packed_source(work: Work) -> Any:
    """Pack the folder, unless it is packed, and open it."""
    source_class = getattr(engine, "PackedSource", None)
    if source_class is None:
        raise NotAvailable("not available: this version has no PackedSource")
    packed = work.folder / "packed"
    if not packed.exists():
        command = (sys.executable, "-m", "fusewarp", "pack", str(work.tiles), str(packed))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NotAvailable(f"fusewarp pack failed: {done.stderr.strip()[-300:]}")
    return source_class(packed)


def packed_row(work: Work, threads: int) -> Runner:
    """Make batches of a packed folder."""
    return loader_runner(make_loader(packed_source(work), threads))


def packed_arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of the packed pictures, copied into memory: they are smaller than the files'."""
    source = ArraySource(np.array(packed_source(work).images))
    return loader_runner(make_loader(source, threads))


def minified_loader_row(work: Work, threads: int) -> Runner:
    """Shrink pictures to a quarter of their side by the loader."""
    source = ArraySource(crops(MINIFIED_PICTURES, MINIFIED))
    return loader_runner(make_loader(source, threads, MINIFIED_PICTURES))


def minified_kernel_row(work: Work, threads: int) -> Runner:
    """Do the same by the plain warp, which aliases."""
    images = crops(MINIFIED_PICTURES, MINIFIED)
    maps, colour = drawn_maps(len(images), SIDE, MINIFIED), scale_colour(len(images))
    out = np.empty((len(images), SIDE, SIDE, 3), np.float32)

    def run(laps: int) -> int:
        for _ in range(laps):
            warp(images, maps, out, colour=colour)
        return laps * len(images)

    return Runner(run)


def batch_size_row(batch_size: int) -> Callable[[Work, int], Runner]:
    """Describe the loader with another batch size."""

    def build(work: Work, threads: int) -> Runner:
        return loader_runner(make_loader(ArraySource(work.images), threads, batch_size))

    return build


def ready_row(work: Work, threads: int) -> Runner:
    """Train on batches that were made before."""
    return fit_row(work, ready_batches)


def loader_training_row(work: Work, threads: int) -> Runner:
    """Train on a loader's data set."""
    from ...tensorflow import as_dataset

    loaders: list[Loader] = []

    def data(images: Images, labels: Any, size: int) -> Any:
        loaders.append(Loader(ArraySource(images, labels), Augmenter(POLICY), size))
        return as_dataset(loaders[0])

    return fit_row(work, data, lambda: loaders[0].wait_seconds)


def flow_training_row(work: Work, threads: int) -> Runner:
    """Train on the drop-in's `flow`."""
    return fit_row(
        work,
        lambda images, labels, size: _drop_in(threads).flow(
            images, labels, batch_size=size, seed=0
        ),
    )


def _ours(table: Any, key: str, name: str, build: Any, **more: Any) -> Entry:
    return Entry(table, key, name, build, more.pop("kind", "ours"), **more)


KERNEL = "fusewarp.kernels.warp"
DROP_IN = (
    _ours("arrays", "flow", "fusewarp.keras ImageDataGenerator.flow", flow_row, quick=True),
    _ours(
        "jpeg",
        "flow",
        "fusewarp.keras flow_from_directory",
        directory_row(False),
        quick=True,
        note="Keras' own pixels, Pillow's bilinear resize first",
    ),
    _ours(
        "jpeg",
        "flow.fused",
        "fusewarp.keras flow_from_directory, fused",
        directory_row(True),
        note="use_fused_resize=True: resized within the warp",
    ),
)
ARRAYS = (
    _ours("arrays", "kernel", f"{KERNEL} alone", kernel_row, kind="part", threads=1, quick=True,
          note="the same pictures, maps made before, into one batch again and again"),
    _ours("arrays", "plan", "sampling and composing alone", plan_row, kind="part", threads=1,
          quick=True, note="Augmenter.plan and Plan.inverse_maps"),
    _ours("arrays", "loader", "fusewarp.Loader", loader_arrays_row, quick=True),
    _ours("arrays", "minify.loader", "fusewarp.Loader", minified_loader_row, threads=1,
          group=f"{MINIFIED} x {MINIFIED} to {SIDE} x {SIDE}", note="the batch is all pictures"),
    _ours("arrays", "minify.kernel", f"{KERNEL} alone", minified_kernel_row, kind="part",
          threads=1, group=f"{MINIFIED} x {MINIFIED} to {SIDE} x {SIDE}", note="aliases"),
)  # fmt: skip
JPEG = (
    _ours("jpeg", "loader", "fusewarp.Loader", loader_jpeg_row, quick=True),
    _ours("jpeg", "decoded", "fusewarp.Loader on the pictures in memory", decoded_row,
          group="after the first epoch", note="the array rate at this size"),
    _ours("jpeg", "cached", 'fusewarp.Loader(cache="memory")', cached_row,
          group="after the first epoch"),
    _ours("jpeg", "packed", "fusewarp.Loader on a PackedSource", packed_row,
          group="after the first epoch", note="fusewarp pack at its default size"),
    _ours("jpeg", "packed.arrays", "fusewarp.Loader on the packed pictures in memory",
          packed_arrays_row, group="after the first epoch", note="the array rate at that size"),
)  # fmt: skip
SCALING = (
    *sizes(),
    _ours("scaling", "threads.arrays", "from arrays", loader_arrays_row, group="threads"),
    _ours("scaling", "threads.jpeg", "from JPEGs", loader_jpeg_row, group="threads"),
    *(
        _ours("scaling", f"batch.{size}", "fusewarp.Loader, from arrays", batch_size_row(size),
              group="batch size", threads=ALL_THREADS, x=size)
        for size in BATCH_SIZES
    ),
)  # fmt: skip
TRAINING = (
    _ours("training", "ready", "on ready-made tensors", ready_row, kind="floor", quick=True,
          threads=ALL_THREADS, note="batches made before, as one tf.data set"),
    _ours("training", "loader", "on fusewarp.tensorflow.as_dataset", loader_training_row,
          quick=True, threads=ALL_THREADS),
    _ours("training", "flow", "on fusewarp.keras ImageDataGenerator.flow", flow_training_row,
          quick=True, threads=ALL_THREADS),
)  # fmt: skip

PEER = Peer(
    name="fusewarp",
    packages=("numba", "simplejpeg"),
    install=INSTALL,
    process="native",
    entries=(*cases(), *ARRAYS, *JPEG, *SCALING),
    warp=warp_to_floats,
    augment=augment,
)
DROP_IN_PEER = Peer(
    name="fusewarp.keras",
    packages=("numba", "simplejpeg"),
    install=INSTALL,
    process="tensorflow",  # it imports Keras where that is installed, for its settings
    entries=DROP_IN,
    augment=drop_in_augment,
)
TENSORFLOW_PEER = Peer(
    name="fusewarp in TensorFlow",
    packages=("tensorflow", "keras"),
    install="pip install 'fusewarp[tensorflow]'",
    process="tensorflow",
    entries=TRAINING,
)
