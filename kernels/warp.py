"""The front door of the kernels: check every argument, then call one compiled loop."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numba import config

from . import generic, gray, vector
from .codes import BILINEAR, PLACE
from .simd import has_float16
from .validation import check_arguments, check_ragged_arguments
from .views import read_only, view_target


class Images(NamedTuple):
    """Where the images to be warped lie: as `warp_ragged` takes them."""

    pixels: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


Loop = Callable[..., None]


def warp(
    images: np.ndarray,
    inverse_maps: np.ndarray,
    out: np.ndarray,
    *,
    colour: np.ndarray | None = None,
    sources: np.ndarray | None = None,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation: str = "bilinear",
    layout: str = "HWC",
) -> None:
    """Resample a batch of images by affine maps, apply colour, cast and store, in one pass.

    Runs in the calling thread with the GIL released, and allocates nothing of image size.

    Parameters
    ----------
    images : (n, H, W, C) uint8, uint16 or float32
        C-contiguous; H and W from 1 to 2**22. With `sources` any number of images.
    inverse_maps : (n, 2, 3) float32
        C-contiguous, finite: output (row, col, 1) to source (row, col), pixel centres at integers.
    out : (n, h, w, C), or (n, C, h, w) with `layout="CHW"`; uint8, float16 or float32
        C-contiguous and apart from the inputs; overwritten. uint8 is rounded half up and clipped
        to 0..255; from uint8 without `colour`, levels are off by up to 1/64 before that (16-bit
        fixed point). Float targets are not clipped.
    colour : (n, C, C + 1) float32, optional
        C-contiguous, finite: source channels (c0 .. cC-1, 1) to output channels, applied after
        interpolation. None leaves the levels as they are.
    sources : (n,) int64, optional
        Which of `images` each one of `out` is warped from. None: the one at its own place.
    fill_mode : {"nearest", "constant", "reflect", "wrap", "mirror"}
        What lies outside the image, exactly as in `scipy.ndimage` (table: kernels/README.md).
    cval : float
        Source level outside the image with `fill_mode="constant"`; goes through `colour` too.
    interpolation : {"bilinear", "nearest"}
        SciPy's order 1 and order 0 (halves round up).
    layout : {"HWC", "CHW"}
        Order of the axes of `out`.

    Raises
    ------
    TypeError
        For an argument that is not an array, or of a dtype not named above.
    ValueError
        For a wrong shape, a size of 0, memory that is not contiguous, aligned, writeable (`out`) or
        apart, NaN or infinity in `inverse_maps`, `colour` or `cval`, or an unknown word.
        Nothing has been written then. A batch of 0 is no error.
    """
    codes = check_arguments(
        images, inverse_maps, out, colour, sources, fill_mode, cval, interpolation, layout
    )
    _run(_flatten(images, sources), inverse_maps, colour, *codes, layout == "CHW", out)


def warp_ragged(
    pixels: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    inverse_maps: np.ndarray,
    out: np.ndarray,
    *,
    colour: np.ndarray | None = None,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation: str = "bilinear",
    layout: str = "HWC",
) -> None:
    """Do as `warp` with images of different sizes, which lie anywhere in one array.

    Parameters
    ----------
    pixels : (any,) uint8, uint16 or float32
        C-contiguous. May hold more than the images, which may lie in any order and overlap.
    starts : (n,) int64
        The element of `pixels` that each image begins with.
    sizes : (n, 2) int64
        Height and width of each image, from 1 to 2**22; it has as many channels as `out`.
    inverse_maps, out, colour, fill_mode, cval, interpolation, layout
        As in `warp`.

    Raises
    ------
    TypeError, ValueError
        As `warp`, and if an image does not lie within `pixels`.
    """
    codes = check_ragged_arguments(
        pixels, starts, sizes, inverse_maps, out, colour, fill_mode, cval, interpolation, layout
    )
    _run(Images(pixels, starts, sizes), inverse_maps, colour, *codes, layout == "CHW", out)


def warp_generic(
    images: np.ndarray,
    inverse_maps: np.ndarray,
    out: np.ndarray,
    *,
    colour: np.ndarray | None = None,
    sources: np.ndarray | None = None,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation: str = "bilinear",
    layout: str = "HWC",
) -> None:
    """Do as `warp`, never by a fast loop: for tests and benchmarks of one against the other."""
    codes = check_arguments(
        images, inverse_maps, out, colour, sources, fill_mode, cval, interpolation, layout
    )
    is_planar = layout == "CHW"
    _run(_flatten(images, sources), inverse_maps, colour, *codes, is_planar, out, is_fast=False)


def _flatten(images: np.ndarray, sources: np.ndarray | None) -> Images:
    """Describe a batch of images of one size."""
    places = np.arange(len(images), dtype=np.int64) if sources is None else sources
    length = images[0].size if len(images) else 0
    sizes = np.broadcast_to(np.array(images.shape[1:3], np.int64), (len(places), 2))
    return Images(images.reshape(-1), places * length, np.ascontiguousarray(sizes))


def _run(
    images: Images,
    inverse_maps: np.ndarray,
    colour: np.ndarray | None,
    fill_code: int,
    cval: np.float32,
    interpolation_code: int,
    is_planar: bool,
    out: np.ndarray,
    is_fast: bool = True,
) -> None:
    if out.shape[0] == 0:
        return
    channels = out.shape[1 if is_planar else 3]
    generic_loop: Loop = partial(generic.run, interpolation_code)
    loop = fast_loop(channels, out.dtype, interpolation_code) if is_fast else None
    colour = None if colour is None else read_only(colour)
    arrays = [read_only(array) for array in (*images, inverse_maps)]
    target = view_target(out)
    fits = fits_fast_loop(images, channels)
    if loop is None or fits.all():
        (loop or generic_loop)(*arrays, colour, fill_code, cval, is_planar, target)
        return
    pixels, *rest = arrays
    for n, is_fit in enumerate(fits):  # each by its own loop, whatever lies beside it
        here = slice(n, n + 1)
        (loop if is_fit else generic_loop)(
            pixels,
            *(array[here] for array in rest),
            None if colour is None else colour[here],
            fill_code,
            cval,
            is_planar,
            target[here],
        )


def fast_loop(channels: int, dtype: np.dtype, interpolation_code: int) -> Loop | None:
    """Return the fast loop for channels and a type of target, or None."""
    if (
        config.DISABLE_JIT
        or interpolation_code != BILINEAR
        or (dtype == np.float16 and not has_float16())
    ):
        return None
    loops: dict[int, Loop] = {1: gray.run, 3: vector.run, 4: vector.run}
    return loops.get(channels)


def fits_fast_loop(images: Images, channels: int) -> np.ndarray:
    """Tell of each image whether the fast loops take it: two neighbours, and offsets that fit."""
    heights, widths = images.sizes[:, 0], images.sizes[:, 1]
    fits: np.ndarray = widths > 1
    if images.pixels.size > PLACE:
        fits &= heights * widths * channels <= PLACE
    return fits
