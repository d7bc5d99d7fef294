"""Encoded bytes -> array: JPEG at the nearest useful scale, everything else through Pillow."""

import io
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from ..kernels.fitting import ROUNDING
from .errors import SampleError

Extent = tuple[float, float]
Room = Callable[[int], NDArray[Any]]
ColorMode = Literal["rgb", "grayscale", "rgba"]
CHANNELS: dict[ColorMode, int] = {"rgb": 3, "grayscale": 1, "rgba": 4}

_PIL_MODES: dict[ColorMode, str] = {"rgb": "RGB", "grayscale": "L", "rgba": "RGBA"}
_JPEG_SPACES: dict[ColorMode, str] = {"rgb": "RGB", "grayscale": "GRAY", "rgba": "RGBA"}
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_FACTOR = 8  # libjpeg-turbo scales by eighths; its SIMD serves 1, 1/2, 1/4 and 1/8


class Decoded(NamedTuple):
    """A decoded picture.

    Attributes
    ----------
    image : (H, W, C) uint8
    extent : (height, width)
        Of what it shows, in its own pixels: a JPEG of 375 rows decoded at half scale has 188 rows
        and shows 187.5.
    """

    image: NDArray[np.uint8]
    extent: Extent


def decode_image(
    data: bytes,
    name: str,
    *,
    color_mode: ColorMode = "rgb",
    min_size: Extent = (0, 0),
    is_fast: bool = False,
) -> NDArray[np.uint8]:
    """Decode one picture.

    Parameters
    ----------
    data : bytes
        The encoded file.
    name : str
        For error messages.
    color_mode : {"rgb", "grayscale", "rgba"}
    min_size : (height, width)
        The smallest size that is still useful. A picture at least twice as large is reduced by a
        whole factor, in the JPEG decoder where it can be, else by averaging areas. (0, 0) keeps
        every pixel.
    is_fast : bool
        Repeat the colours of JPEGs that have fewer of them than pixels, instead of interpolating:
        8 % faster, and 46 to 55 dB from the exact photo once warped.

    Returns
    -------
    (H, W, C) uint8
        C is 3, 1 or 4. The EXIF orientation is not applied, as in Keras.

    Raises
    ------
    SampleError
        If the bytes are empty, truncated, or no picture in a known format.
    """
    decoded = decode_into(
        data, name, _fresh_room, color_mode=color_mode, min_size=min_size, is_fast=is_fast
    )
    return reduce_area(decoded.image, min_size)


def decode_into(
    data: bytes,
    name: str,
    room: Room,
    *,
    color_mode: ColorMode = "rgb",
    min_size: Extent = (0, 0),
    is_fast: bool = False,
) -> Decoded:
    """Decode one picture into memory that the caller gives, once its size is known.

    Parameters
    ----------
    data, name, color_mode, is_fast
        As in `decode_image`.
    room : callable
        ``room(n)`` returns n bytes to decode into, a 1-D uint8 array. Only what the last call
        returned is written to in the end.
    min_size : (height, width)
        The smallest size that is still useful: a JPEG is decoded at the smallest scale of 1, 1/2,
        1/4 and 1/8 that covers it. Nothing else is reduced.

    Raises
    ------
    SampleError
        As `decode_image`.
    """
    if not data:
        raise SampleError(f"{name} is empty (0 bytes). Delete it or restore its content.")
    if data.startswith(_JPEG_MAGIC):
        decoded = _decode_jpeg(data, room, color_mode, min_size, is_fast)
        if decoded is not None:
            return decoded
    other = _decode_other(data, name, color_mode)
    image = room(other.size).reshape(other.shape)
    image[...] = other
    return Decoded(image, other.shape[:2])


def _fresh_room(num_bytes: int) -> NDArray[np.uint8]:
    return np.empty(num_bytes, np.uint8)


def _decode_jpeg(
    data: bytes, room: Room, color_mode: ColorMode, min_size: Extent, is_fast: bool
) -> Decoded | None:
    """Return None for what libjpeg-turbo refuses: Pillow then decodes it or says why not."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if space in ("CMYK", "YCCK") or height * width > _most_pixels():
        return None
    factor = min(_whole_factor((height, width), min_size), _JPEG_FACTOR)
    rows, cols = -(-height // factor), -(-width // factor)
    memory = room(rows * cols * CHANNELS[color_mode])
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            _JPEG_SPACES[color_mode],
            min_height=rows if factor > 1 else 0,
            min_width=cols if factor > 1 else 0,
            min_factor=factor,
            fastupsample=is_fast,
            buffer=memory,
        )
    except ValueError:
        return None
    return Decoded(image, (height / factor, width / factor))


def _decode_other(data: bytes, name: str, color_mode: ColorMode) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            converted = _to_8_bits(picture).convert(_PIL_MODES[color_mode])
    except Exception as error:  # Pillow's plugins raise whatever their format makes them stumble on
        raise SampleError(
            f"{name} cannot be decoded ({type(error).__name__}: {_reason(error)}). "
            'Replace or delete it, or load with on_error="skip".'
        ) from error
    image = np.asarray(converted)
    return image[:, :, np.newaxis] if image.ndim == 2 else image


def _reason(error: Exception) -> str:
    """Return the message without the address of our buffer: the same file, the same message."""
    return re.sub(r" <_io\.BytesIO object at \w+>", "", str(error))


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit greys to 8 bits; Pillow's own conversion would cut them off at 255."""
    is_16_bit = picture.mode.startswith("I;16") or (picture.mode, picture.format) == ("I", "PNG")
    if is_16_bit:
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(
            f"its mode {picture.mode!r} has no fixed range; convert it to 8 or 16 bits, or load "
            "it yourself into an ArraySource"
        )
    return picture


def _most_pixels() -> float:
    """Return the size at which Pillow refuses a picture as a decompression bomb."""
    limit = Image.MAX_IMAGE_PIXELS
    return float("inf") if limit is None else 2 * limit


def _whole_factor(size: tuple[int, int], min_size: Extent) -> int:
    """Return the largest power of two by which `size` can shrink and still cover `min_size`."""
    if min(min_size) <= 0:
        return 1
    room = min(size[0] / min_size[0], size[1] / min_size[1])
    return 1 << max(0, int(room * ROUNDING).bit_length() - 1)


def reduce_area(image: NDArray[np.uint8], min_size: Extent) -> NDArray[np.uint8]:
    """Average areas where a bilinear read would skip pixels, which shows as aliasing."""
    height, width = image.shape[:2]
    factor = _whole_factor((height, width), min_size)
    if factor == 1:
        return image
    size = (-(-width // factor), -(-height // factor))
    reduced: Any = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.uint8).reshape(size[1], size[0], image.shape[2])
