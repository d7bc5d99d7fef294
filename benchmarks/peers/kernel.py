"""Rows of `fusewarp.kernels.warp`: the common work, and what else it can do, one thread."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...kernels import warp
from ..contract import Builder, Entry, Runner
from ..work import (
    SCALE,
    SIDE,
    WARP_PICTURES,
    Images,
    Maps,
    Work,
    crops,
    drawn_maps,
    scale_colour,
    turning_maps,
    xy_maps,
)
from .opencv import warp_levels

LARGE = 2048
ANGLES = (0, 15, 45, 90)  # degrees
SIDES = (64, 128, 224, 448, 896)
FILL_MODES = ("constant", "reflect", "wrap", "mirror")
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601
SATURATION = 0.7
OUTPUTS, FILLS, SOURCES = "other outputs", "fill modes", "other sources"
LARGE_ONES = f"{LARGE} x {LARGE}"


def warp_runner(
    images: NDArray[Any], maps: Maps, out: NDArray[Any], colour: Any, **options: Any
) -> Runner:
    """Make a row that warps the same batch into the same memory."""

    def run(laps: int) -> int:
        for _ in range(laps):
            warp(images, maps, out, colour=colour, **options)
        return laps * len(images)

    return Runner(run)


def _sources(images: Images, channels: int, dtype: Any) -> NDArray[Any]:
    """Return the pictures with another number of channels, or another type."""
    picked = images[..., np.arange(channels) % images.shape[3]]
    return np.ascontiguousarray(picked.astype(dtype))


def variant(
    channels: int = 3, source: Any = np.uint8, dtype: Any = np.float32, **options: Any
) -> Builder:
    """Describe the common work with one thing changed.

    Parameters
    ----------
    channels : int
    source, dtype : dtypes
        Of the pictures and of the output. uint8 outputs keep their levels, floats are scaled.
    **options
        Of `warp`; `layout` turns the output's axes, `colour` takes the place of the scale.
    """

    def build(work: Work, threads: int) -> Runner:
        count, options_left = WARP_PICTURES, dict(options)
        images = _sources(work.images[:count], channels, source)
        is_planar = options.get("layout") == "CHW"
        shape = (channels, SIDE, SIDE) if is_planar else (SIDE, SIDE, channels)
        scale = None if dtype == np.uint8 else scale_colour(count, channels)
        colour = options_left.pop("colour", scale)
        out = np.empty((count, *shape), dtype)
        return warp_runner(images, drawn_maps(count), out, colour, **options_left)

    return build


def mixing_colour() -> NDArray[np.float32]:
    """Return matrices that scale, desaturate and shift: all of (3, 4) is used."""
    mix = SATURATION * np.eye(3, dtype=np.float32) + (1 - SATURATION) * GREY
    one = np.column_stack([mix * np.float32(SCALE), np.full(3, 0.01, np.float32)])
    shape = (WARP_PICTURES, 3, 4)
    return np.ascontiguousarray(np.broadcast_to(one.astype(np.float32), shape))


def large(degrees: float) -> Builder:
    """Describe one picture of 2048 x 2048, turned about its centre."""

    def build(work: Work, threads: int) -> Runner:
        images = crops(1, LARGE)
        out = np.empty(images.shape, np.float32)
        return warp_runner(images, turning_maps(1, LARGE, degrees), out, scale_colour(1))

    return build


def _sized(side: int) -> Images:
    """Return about as many pixels as the common work has, in pictures of another size."""
    return crops(max(1, WARP_PICTURES * SIDE**2 // side**2), side)


def sized_warp(side: int) -> Builder:
    """Describe the kernel on pictures of another size."""

    def build(work: Work, threads: int) -> Runner:
        images = _sized(side)
        count = len(images)
        out = np.empty(images.shape, np.float32)
        return warp_runner(images, drawn_maps(count, side), out, scale_colour(count))

    return build


def sized_convert(side: int) -> Builder:
    """Describe the floor on pictures of another size."""

    def build(work: Work, threads: int) -> Runner:
        images = _sized(side)
        out = np.empty(images.shape, np.float32)

        def run(laps: int) -> int:
            for _ in range(laps):
                np.multiply(images, np.float32(SCALE), out=out)
            return laps * len(images)

        return Runner(run)

    return build


def sized_opencv(side: int) -> Builder:
    """Describe OpenCV on pictures of another size."""

    def build(work: Work, threads: int) -> Runner:
        cv2.setNumThreads(1)
        images = _sized(side)
        maps, levels = xy_maps(drawn_maps(len(images), side)), np.empty_like(images)
        out = np.empty(images.shape, np.float32)

        def run(laps: int) -> int:
            for _ in range(laps):
                np.multiply(warp_levels(images, maps, levels), np.float32(SCALE), out=out)
            return laps * len(images)

        return Runner(run)

    return build


def cases() -> tuple[Entry, ...]:
    """Return the rows of the warp table and of its smaller ones."""

    def row(key: str, name: str, build: Builder, group: str = "", **more: Any) -> Entry:
        more = {"pixels": SIDE**2, **more}
        return Entry("warp", key, name, build, "ours", group=group, threads=1, **more)

    kernel, matrix = "fusewarp.kernels.warp", mixing_colour()
    return (
        row("kernel", kernel, variant(), quick=True),
        row("kernel.uint8", f"{kernel}, uint8 out", variant(dtype=np.uint8), OUTPUTS, quick=True),
        row("kernel.float16", "float16 out", variant(dtype=np.float16), OUTPUTS),
        row("kernel.chw", "float32 out, CHW", variant(layout="CHW"), OUTPUTS),
        *(row(f"kernel.{mode}", mode, variant(fill_mode=mode), FILLS) for mode in FILL_MODES),
        row("kernel.1", "1 channel", variant(channels=1), SOURCES),
        row("kernel.4", "4 channels", variant(channels=4), SOURCES),
        row("kernel.from-float32", "float32 sources", variant(source=np.float32), SOURCES),
        row("kernel.matrix", "full 3 x 4 colour matrix", variant(colour=matrix), "colour"),
        *(
            row(
                f"kernel.large.{angle}",
                f"turned by {angle} degrees",
                large(angle),
                LARGE_ONES,
                pixels=LARGE**2,
            )
            for angle in ANGLES
        ),
    )


def sizes() -> tuple[Entry, ...]:
    """Return the rows of the chart over the image's size."""
    builders = (
        ("convert", "convert only: no warp at all", "floor", sized_convert),
        ("kernel", "fusewarp.kernels.warp", "ours", sized_warp),
        ("opencv", "cv2.warpAffine + multiply", "peer", sized_opencv),
    )
    return tuple(
        Entry(
            "scaling",
            f"size.{key}.{side}",
            name,
            build(side),
            kind,  # type: ignore[arg-type]
            group="image size",
            threads=1,
            pixels=side**2,
            x=side,
        )
        for key, name, kind, build in builders
        for side in SIDES
    )
