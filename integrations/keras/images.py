"""Image files in and out by Pillow, resized exactly as Keras' `load_img` does."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

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
_DEEP_GRAYS = ("I;16", "I")  # a grayscale image keeps its 16 or 32 bits


def load_image(
    path: str | os.PathLike[str],
    color_mode: str,
    target_size: tuple[int, int],
    interpolation: str,
    keep_aspect_ratio: bool,
) -> NDArray[Any]:
    """Decode one file and resize it to `target_size` (height, width).

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
    try:
        with Image.open(path) as image:
            pixels = np.asarray(
                resize_image(
                    convert_mode(image, color_mode), target_size, interpolation, keep_aspect_ratio
                )
            )
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise  # they name the file already
    except UnidentifiedImageError as error:
        reason = "it has 0 bytes" if os.path.getsize(path) == 0 else "no image format fits it"
        raise UnidentifiedImageError(
            f"Cannot read the image file {os.fspath(path)!r}: {reason}. Remove or replace the file."
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds, hardly any naming the file
        raise OSError(
            f"Cannot decode the image file {os.fspath(path)!r}: {error}. "
            "It may be truncated; remove or replace the file."
        ) from error
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def convert_mode(image: Image.Image, color_mode: str) -> Image.Image:
    mode = _PILLOW_MODES[color_mode]
    if image.mode == mode or (color_mode == "grayscale" and image.mode in _DEEP_GRAYS):
        return image
    return image.convert(mode)


def resize_image(
    image: Image.Image, target_size: tuple[int, int], interpolation: str, keep_aspect_ratio: bool
) -> Image.Image:
    height, width = target_size
    if image.size == (width, height):
        return image
    box = centre_crop(image.size, height, width) if keep_aspect_ratio else None
    return image.resize((width, height), RESAMPLING[interpolation], box=box)


def centre_crop(size: tuple[int, int], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the largest centred box of the target's aspect ratio, in Keras' whole numbers."""
    image_width, image_height = size
    crop_height = min(image_height, (image_width * height) // width)
    crop_width = min(image_width, (image_height * width) // height)
    top, left = (image_height - crop_height) // 2, (image_width - crop_width) // 2
    return left, top, left + crop_width, top + crop_height


def array_to_image(array: NDArray[Any], data_format: str) -> Image.Image:
    """Return a picture of the array, its range stretched to 0-255 (a constant one is black).

    Raises
    ------
    ValueError
        If the array does not have 1, 3 or 4 channels.
    """
    levels = array.transpose(1, 2, 0) if data_format == "channels_first" else array
    levels = levels.astype(np.float32)
    levels -= np.min(levels)
    highest = np.max(levels)
    if highest != 0:
        levels /= highest
    levels *= 255
    channels = levels.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"A picture needs 1, 3 or 4 channels, got an array of {channels}.")
    pixels = levels.astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
