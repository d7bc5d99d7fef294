"""One call for every warp: the fused kernel where it can, SciPy where only SciPy can."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...kernels import warp
from .geometry import TransformParameters, Transforms, compose_inverse_maps, fold_flips

if TYPE_CHECKING:
    from .generator import ImageDataGenerator

# What the drop-in accepts: the names of `scipy.ndimage`.
FILL_MODES = (
    "constant",
    "nearest",
    "reflect",
    "wrap",
    "mirror",
    "grid-constant",
    "grid-mirror",
    "grid-wrap",
)
_KERNEL_FILL_MODES = {
    "constant": "constant",
    "nearest": "nearest",
    "reflect": "reflect",
    "grid-mirror": "reflect",  # SciPy's other name for it
    "wrap": "wrap",
    "mirror": "mirror",
}
_KERNEL_INTERPOLATIONS = {0: "nearest", 1: "bilinear"}
KERNEL_SOURCES = (np.uint8, np.uint16, np.float32)


class WarpSettings(Protocol):
    """What a warp needs to know of a generator; axes are counted with the batch's."""

    fill_mode: str
    cval: float
    interpolation_order: int
    data_format: str
    row_axis: int
    col_axis: int
    quirks: str


def can_fuse(generator: WarpSettings) -> bool:
    """Return whether the kernels know the fill mode and interpolation order, and take `cval`."""
    return (
        generator.interpolation_order in _KERNEL_INTERPOLATIONS
        and generator.fill_mode in _KERNEL_FILL_MODES
        and abs(generator.cval) <= np.finfo(np.float32).max  # NaN marks what lies outside
    )


def useful_size(generator: ImageDataGenerator, target_size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest (height, width) of a source that loses no detail; (0, 0): all of it."""
    lowest = min(1.0, *generator.zoom_range)
    if lowest <= 0:
        return (0, 0)
    return math.ceil(target_size[0] / lowest), math.ceil(target_size[1] / lowest)


def kernel_maps(
    generator: WarpSettings,
    transforms: Transforms,
    height: int,
    width: int,
) -> NDArray[np.float32]:
    """Return the inverse maps of the images, flips included, shape (n, 2, 3)."""
    swap_pivot = generator.quirks == "keras"
    inverse_maps = compose_inverse_maps(transforms, height, width, swap_pivot=swap_pivot)
    fold_flips(inverse_maps, transforms.flips, height, width)
    return inverse_maps.astype(np.float32, order="C")


def resized_maps(
    inverse_maps: NDArray[np.float32], size: tuple[int, int], source_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Let maps onto an image of `size` read the larger or smaller one it is a resize of.

    Both are (height, width); the images' edges, not their outermost pixel centres, coincide.
    """
    scale = np.divide(source_size, size)[:, np.newaxis]
    maps = inverse_maps * scale
    maps[..., 2] += (scale[:, 0] - 1) / 2
    return maps.astype(np.float32, order="C")


def warp_fused(
    generator: WarpSettings,
    images: NDArray[Any],
    inverse_maps: NDArray[np.float32],
    out: NDArray[Any],
    colour: NDArray[np.float32] | None = None,
    sources: NDArray[np.int64] | None = None,
) -> None:
    """Warp images in one pass of the kernel, straight into `out`.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels)
        Channels last whatever the generator's data format.
    inverse_maps : ndarray, shape (n, 2, 3)
        As `kernel_maps` gives them.
    out : ndarray, shape (n, height, width, channels) or (n, channels, height, width)
        In the generator's data format; uint8, float16 or float32.
    colour : ndarray, shape (n, channels, channels + 1), optional
        Colour matrices applied after interpolation.
    sources : ndarray of int64, shape (n,), optional
        Which of `images` each one of `out` is made of.
    """
    if images.dtype not in KERNEL_SOURCES:
        images = images.astype(np.float32)
    if colour is None and out.dtype == np.uint8:
        # Keras' levels are exact before they are rounded; the kernel's fixed point is not quite.
        channels = images.shape[3]
        identity = np.eye(channels, channels + 1, dtype=np.float32)
        colour = np.tile(identity, (len(inverse_maps), 1, 1))
    warp(
        np.ascontiguousarray(images),
        inverse_maps,
        out,
        colour=colour,
        sources=sources,
        fill_mode=_KERNEL_FILL_MODES[generator.fill_mode],
        cval=float(generator.cval),
        interpolation=_KERNEL_INTERPOLATIONS[generator.interpolation_order],
        layout="HWC" if generator.data_format == "channels_last" else "CHW",
    )


def warp_image(
    generator: WarpSettings,
    image: NDArray[Any],
    transform: Transforms,
    dtype: np.dtype[Any],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Warp and flip one channels-last image into an array in the generator's data format.

    `dtype` is what Keras would convert the image to first. Float images go through the kernel in
    float32; integer types other than uint8 need SciPy's rounding and go there. The result is in
    `out`, an array of that dtype, where the kernel can write it, and else fresh. `transform` holds
    the parameters of this one image.
    """
    if not can_fuse(generator) or (dtype.kind != "f" and dtype != np.uint8):
        return _warp_by_scipy(generator, image, transform, dtype)
    if dtype.kind != "f":
        image = image.astype(dtype, copy=False)
    height, width, channels = image.shape
    is_last = generator.data_format == "channels_last"
    shape = (height, width, channels) if is_last else (channels, height, width)
    if out is None or out.dtype not in (np.uint8, np.float32):
        out = np.empty(shape, np.uint8 if dtype == np.uint8 else np.float32)
    inverse_maps = kernel_maps(generator, transform, height, width)
    warp_fused(generator, image[np.newaxis], inverse_maps, out[np.newaxis])
    return out.astype(dtype, copy=False)


def _warp_by_scipy(
    generator: WarpSettings,
    image: NDArray[Any],
    transform: Transforms,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Spline orders 2-5, the `grid-` modes and odd dtypes, as Keras does them: per channel."""
    swap_pivot = generator.quirks == "keras"
    inverse_map = compose_inverse_maps(transform, *image.shape[:2], swap_pivot=swap_pivot)[0]
    source = image.astype(np.float32 if dtype == np.float16 else dtype)
    planes = [
        ndimage.affine_transform(
            source[:, :, channel],
            inverse_map[:, :2],
            inverse_map[:, 2],
            order=generator.interpolation_order,
            mode=generator.fill_mode,
            cval=generator.cval,
        )
        for channel in range(image.shape[2])
    ]
    axis = 2 if generator.data_format == "channels_last" else 0
    warped = np.stack(planes, axis=axis).astype(dtype, copy=False)
    vertical, horizontal = transform.flips[0]
    warped = np.flip(warped, generator.row_axis - 1) if vertical else warped
    return np.flip(warped, generator.col_axis - 1) if horizontal else warped


def flip(
    image: NDArray[Any], parameters: TransformParameters, row_axis: int, col_axis: int
) -> NDArray[Any]:
    """Return the image itself, or a mirrored view of it."""
    if parameters.get("flip_horizontal", False):
        image = np.flip(image, col_axis)
    if parameters.get("flip_vertical", False):
        image = np.flip(image, row_axis)
    return image
