"""Image files to arrays, resized exactly as Keras' `load_img` does.

Pillow decides what the pixels are. RGB and grey JPEGs are decoded by simplejpeg in half the time:
both call libjpeg-turbo with its accurate DCT, and the tests find no pixel that differs.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...engine.decode import ColorMode, decode_image, reduce_area
from ...engine.errors import SampleError
from ...kernels.grid import take_grid

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
_PILLOW_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_JPEG_MAGIC = b"\xff\xd8\xff"
_MOST_SCRATCH = 2**26  # bytes a thread keeps between two pictures
_thread = threading.local()
_DEEP_GRAYS = ("I;16", "I")  # a grayscale image keeps its 16 or 32 bits


def load_image(
    path: str | os.PathLike[str],
    color_mode: str,
    target_size: tuple[int, int],
    interpolation: str,
    keep_aspect_ratio: bool,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[Any]:
    """Decode one file and resize it to `target_size` (height, width), pixel for pixel as Keras.

    Parameters
    ----------
    path, color_mode, target_size, interpolation, keep_aspect_ratio
        As for `load_img`.
    out : ndarray of uint8, shape (height, width, channels), optional
        Takes the image, if that is uint8 too.

    Returns
    -------
    ndarray, shape (height, width, channels)
        uint8; uint16 or int32 for grayscale files of that depth.

    Raises
    ------
    FileNotFoundError
        If the file is gone.
    OSError
        If it cannot be read or decoded (PIL.UnidentifiedImageError if it is no image at all);
        the message names the file.
    """
    image = _load_resized(path, color_mode, target_size, interpolation, keep_aspect_ratio, out)
    if out is None or image is out or image.dtype != np.uint8:
        return image
    np.copyto(out, image)
    return out


def _load_resized(
    path: str | os.PathLike[str],
    color_mode: str,
    target_size: tuple[int, int],
    interpolation: str,
    keep_aspect_ratio: bool,
    out: NDArray[np.uint8] | None,
) -> NDArray[Any]:
    """Return `out` only where it could be written without a copy."""
    data = read_file(path)
    pixels = decode_jpeg(data)
    if pixels is not None and color_mode == "rgb" and interpolation == "nearest":
        return _pick_nearest(pixels, target_size, keep_aspect_ratio, out)
    if pixels is not None:
        image = convert_mode(Image.fromarray(pixels), color_mode)
        resized = resize_image(image, target_size, interpolation, keep_aspect_ratio)
        return _with_channels(np.asarray(resized))
    with naming_the_file(repr(os.fspath(path)), len(data)):
        with Image.open(io.BytesIO(data)) as image:
            image = convert_mode(image, color_mode)
            resized = resize_image(image, target_size, interpolation, keep_aspect_ratio)
            return _with_channels(np.asarray(resized))


def load_whole(
    path: str | os.PathLike[str],
    color_mode: str,
    target_size: tuple[int, int],
    min_size: tuple[int, int],
    keep_aspect_ratio: bool,
) -> NDArray[Any]:
    """Decode one file at the smallest scale that still covers `min_size` (height, width).

    Files of 8 bits are reduced by a whole factor where that leaves enough pixels, deeper greys are
    not. With `keep_aspect_ratio` it is cut as for `target_size`. Raises as `load_image`.
    """
    data = read_file(path)
    pixels = decode_scaled_jpeg(data, color_mode, min_size)
    if pixels is None:
        with (
            naming_the_file(repr(os.fspath(path)), len(data)),
            Image.open(io.BytesIO(data)) as image,
        ):
            pixels = _with_channels(np.asarray(convert_mode(image, color_mode)))
        pixels = reduce_area(pixels, min_size) if pixels.dtype == np.uint8 else pixels
    if not keep_aspect_ratio:
        return pixels
    left, top, right, bottom = centre_crop(pixels.shape[1::-1], *target_size)
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def decode_scaled_jpeg(
    data: bytes, color_mode: str, min_size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Decode a JPEG at the smallest useful scale; None is for Pillow, as in `decode_jpeg`."""
    if not data.startswith(_JPEG_MAGIC):
        return None
    try:
        return decode_image(
            data, "a JPEG", color_mode=cast(ColorMode, color_mode), min_size=min_size
        )
    except SampleError:
        return None


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return a file's bytes; Python's own errors name the file."""
    with open(path, "rb", buffering=0) as file:  # the whole file at once needs no buffer
        return file.read()


@contextmanager
def naming_the_file(name: str, num_bytes: int) -> Iterator[None]:
    """Let what a decoder raises leave with the file's name and what to do, in the same type."""
    try:
        yield
    except (MemoryError, Warning):  # no fault of the file
        raise
    except UnidentifiedImageError as error:
        reason = "no image format fits it" if num_bytes else "it has 0 bytes"
        raise UnidentifiedImageError(
            f"Cannot read the image file {name}: {reason}. Remove or replace the file."
        ) from error
    except Image.DecompressionBombError as error:
        raise Image.DecompressionBombError(f"The image file {name}: {error}") from error
    except Exception as error:  # Pillow's decoders raise many kinds, hardly any naming the file
        raise OSError(
            f"Cannot decode the image file {name}: {error}. "
            "It may be truncated; remove or replace the file."
        ) from error


def decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an RGB or grey JPEG to (height, width, 3), as Pillow does to the last bit.

    The array is this thread's scratch memory: the next call overwrites it. None is for all else,
    broken files and huge ones included: Pillow takes them, or says what is wrong.
    """
    if not data.startswith(_JPEG_MAGIC):
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        limit = Image.MAX_IMAGE_PIXELS
        if space in ("CMYK", "YCCK") or (limit is not None and height * width > limit):
            return None
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, colorspace="RGB", buffer=_scratch(height, width)
        )
    except ValueError:
        return None
    return decoded


def _scratch(height: int, width: int) -> NDArray[np.uint8]:
    """Return memory for one picture: fresh memory costs a tenth of the decoding."""
    size = height * width * 3
    memory: NDArray[np.uint8] | None = getattr(_thread, "memory", None)
    if memory is None or not size <= memory.size <= _MOST_SCRATCH:
        memory = _thread.memory = np.empty(size, np.uint8)
    return memory


def _pick_nearest(
    pixels: NDArray[np.uint8],
    target_size: tuple[int, int],
    keep_aspect_ratio: bool,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Resize as Pillow's `NEAREST` does, without a copy into and out of a Pillow image."""
    height, width = target_size
    source = pixels.shape[1::-1]
    left, top, right, bottom = (0, 0, *source)
    if keep_aspect_ratio and source != (width, height):
        left, top, right, bottom = centre_crop(source, height, width)
    out = np.empty((height, width, 3), np.uint8) if out is None else out
    take_grid(pixels, _nearest(top, bottom, height), _nearest(left, right, width), out)
    return out


@lru_cache(maxsize=256)
def _nearest(start: int, stop: int, count: int) -> NDArray[np.int64]:
    """Return the places that Pillow picks: the middles of `count` parts, summed up in float64."""
    step = (stop - start) / count
    steps = np.full(count, step)
    steps[0] = start + step * 0.5
    return np.cumsum(steps).astype(np.int64)


def _with_channels(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def convert_mode(image: Image.Image, color_mode: str) -> Image.Image:
    """Return the image in the colour mode `grayscale`, `rgb` or `rgba`; deep greys as they are."""
    mode = _PILLOW_MODES[color_mode]
    if image.mode == mode or (color_mode == "grayscale" and image.mode in _DEEP_GRAYS):
        return image
    return image.convert(mode)


def resize_image(
    image: Image.Image, target_size: tuple[int, int], interpolation: str, keep_aspect_ratio: bool
) -> Image.Image:
    """Resize to (height, width), cut to its aspect ratio before with `keep_aspect_ratio`."""
    height, width = target_size
    if image.size == (width, height):
        return image
    box = centre_crop(image.size, height, width) if keep_aspect_ratio else None
    return image.resize((width, height), RESAMPLING[interpolation], box=box)


def centre_crop(size: tuple[int, ...], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the largest centred box of the target's aspect ratio, in Keras' whole numbers.

    At least one pixel, where Keras' box may be empty and Pillow refuses it.
    """
    image_width, image_height = size
    crop_height = max(1, min(image_height, (image_width * height) // width))
    crop_width = max(1, min(image_width, (image_height * width) // height))
    top, left = (image_height - crop_height) // 2, (image_width - crop_width) // 2
    return left, top, left + crop_width, top + crop_height
