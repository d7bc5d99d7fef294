"""The front door of the kernels: check every argument, then call one compiled loop."""

import numpy as np

from . import generic, vector
from .validation import check_arguments


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
        to 0..255; float targets are not clipped.
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
    fill_code, level, interpolation_code = check_arguments(
        images, inverse_maps, out, colour, sources, fill_mode, cval, interpolation, layout
    )
    if out.shape[0] == 0:
        return
    sources = places(out) if sources is None else sources
    is_planar = layout == "CHW"
    if vector.applies(images, out, interpolation_code):
        vector.run(images, inverse_maps, colour, sources, fill_code, level, is_planar, out)
    else:
        generic.run(
            images,
            inverse_maps,
            colour,
            sources,
            fill_code,
            level,
            interpolation_code,
            is_planar,
            out,
        )


def places(out: np.ndarray) -> np.ndarray:
    """Return the places of the images of a batch, (n,) int64."""
    return np.arange(out.shape[0], dtype=np.int64)


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
    """Do as `warp`, never by the fast loop: for tests and benchmarks of one against the other."""
    fill_code, level, interpolation_code = check_arguments(
        images, inverse_maps, out, colour, sources, fill_mode, cval, interpolation, layout
    )
    sources = places(out) if sources is None else sources
    is_planar = layout == "CHW"
    generic.run(
        images, inverse_maps, colour, sources, fill_code, level, interpolation_code, is_planar, out
    )
