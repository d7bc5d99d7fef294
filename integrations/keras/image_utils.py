"""Pictures in and out: `load_img`, `save_img` and what turns them into arrays, as in Keras 3."""

from __future__ import annotations

import io
import os
import pathlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .images import CHANNELS, RESAMPLING, convert_mode, naming_the_file, resize_image
from .settings import floatx, image_data_format

_PATH_TYPES = (str, bytes, os.PathLike)


def array_to_img(
    x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> Image.Image:
    """Turn one image's array into a Pillow picture.

    Parameters
    ----------
    x : array, rank 3
        With 1, 3 or 4 channels; not changed.
    data_format : str or None
        `channels_last`, `channels_first`, or None for Keras' setting.
    scale : bool
        Stretch the array's own range to 0-255 first (a constant array becomes black). Without it
        levels must lie in 0-255: others wrap around.
    dtype : dtype or None
        What to compute in, a float type if `scale`; None is Keras' `floatx`.

    Returns
    -------
    PIL.Image.Image
        Mode RGBA, RGB or L, its levels truncated to whole numbers; mode I (int32) for one channel
        with levels above 255.

    Raises
    ------
    ValueError
        If `x` is not of rank 3, is empty, or has another number of channels, or for an unknown
        `data_format`.
    TypeError
        If an integer `dtype` is to be scaled.

    Source
    ------
    `keras.utils.array_to_img` of Keras 3: equal to it.
    """
    is_first = standard_data_format(data_format) == "channels_first"
    array = np.asarray(x, dtype=dtype or floatx())
    if array.ndim != 3:
        raise ValueError(
            "Expected image array to have rank 3 (single image). "
            f"Got array with shape: {array.shape}"
        )
    array = array.transpose(1, 2, 0) if is_first else array
    array = _stretched(array) if scale else array
    channels = array.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"Unsupported channel number: {channels} of 1, 3 or 4, in an array of shape "
            f"{np.shape(x)}. `data_format` says which axis has the channels."
        )
    if channels > 1:
        return Image.fromarray(array.astype(np.uint8))
    is_deep = np.max(array) > 255
    return Image.fromarray(array[:, :, 0].astype(np.int32 if is_deep else np.uint8))


def _stretched(array: NDArray[Any]) -> NDArray[Any]:
    levels: NDArray[Any] = array - np.min(array)
    highest = np.max(levels)
    if highest != 0:
        if levels.dtype.kind not in "fc":
            raise TypeError(
                f"`scale=True` divides, so `dtype` must be a float type, got {levels.dtype}. "
                "Leave `dtype` out, or pass `scale=False` for levels of 0-255."
            )
        levels /= highest
    levels *= 255
    return levels


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> NDArray[Any]:
    """Turn a Pillow picture into an array of rank 3.

    Parameters
    ----------
    img : PIL.Image.Image or array of rank 2 or 3
        Height, width and perhaps channels.
    data_format : str or None
        Of the result: `channels_last`, `channels_first`, or None for Keras' setting.
    dtype : dtype or None
        Of the result; None is Keras' `floatx`.

    Returns
    -------
    ndarray, shape (height, width, channels) or (channels, height, width)
        The picture's levels as they are. A view of `img` if that was an array of this dtype.

    Raises
    ------
    ValueError
        If `img` is of another rank, or for an unknown `data_format`.

    Source
    ------
    `keras.utils.img_to_array` of Keras 3: equal to it.
    """
    is_first = standard_data_format(data_format) == "channels_first"
    array = np.asarray(img, dtype=dtype or floatx())
    if array.ndim not in (2, 3):
        raise ValueError(
            f"Unsupported image shape: {array.shape}. One picture has rank 2 or 3: "
            "(height, width) or (height, width, channels)."
        )
    if array.ndim == 2:
        return array[np.newaxis] if is_first else array[:, :, np.newaxis]
    return array.transpose(2, 0, 1) if is_first else array


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
    *,
    grayscale: bool = False,
) -> Image.Image:
    """Load an image file into a Pillow picture.

    The whole file is read and decoded at once, and left closed.

    Parameters
    ----------
    path : str, bytes, path-like or io.BytesIO
        The file.
    color_mode : str
        `rgb`, `rgba` or `grayscale`, which keeps 16 and 32 bits a pixel if the file has them.
    target_size : (int, int) or None
        Height and width in pixels to resize to; None keeps the file's.
    interpolation : str
        `nearest`, `bilinear`, `bicubic`, `hamming`, `box` or `lanczos`, Pillow's filters; looked
        at only if a resize is needed.
    keep_aspect_ratio : bool
        Cut the centre out in the target's aspect ratio before resizing, instead of distorting.
    grayscale : bool
        Older Keras' word for ``color_mode="grayscale"``.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    TypeError
        If `path` is of another type.
    FileNotFoundError, PermissionError, IsADirectoryError
        If the file cannot be opened.
    OSError
        If it cannot be decoded (PIL.UnidentifiedImageError if it is no image at all); the message
        names the file.
    ValueError
        If `color_mode`, `interpolation` or `target_size` is none that exists.

    Warns
    -----
    UserWarning
        If `grayscale` is given.

    Source
    ------
    `keras.utils.load_img` of Keras 3: the same pixels.
    """
    if grayscale:
        warnings.warn('`grayscale` is deprecated: use `color_mode="grayscale"`.', stacklevel=2)
        color_mode = "grayscale"
    picture = _decode(path)
    picture = convert_mode(picture, _checked_color_mode(color_mode))
    if target_size is None or picture.size == (target_size[1], target_size[0]):
        return picture
    size = _checked_target(target_size)
    if interpolation not in RESAMPLING:
        raise ValueError(
            f"Invalid interpolation method {interpolation} specified. Supported methods are "
            f"{', '.join(RESAMPLING)}"
        )
    return resize_image(picture, size, interpolation, keep_aspect_ratio)


def _decode(path: Any) -> Image.Image:
    source, name = _opened(path)
    with naming_the_file(name, source.getbuffer().nbytes):
        picture = Image.open(source)
        picture.load()
    return picture


def _opened(path: Any) -> tuple[io.BytesIO, str]:
    if isinstance(path, io.BytesIO):
        return path, "in the given BytesIO"
    if not isinstance(path, _PATH_TYPES):
        raise TypeError(
            f"path should be path-like or io.BytesIO, not {type(path)}. "
            "Wrap the content of an open file: `io.BytesIO(file.read())`."
        )
    with open(path, "rb") as file:
        return io.BytesIO(file.read()), repr(os.fsdecode(path))


def _checked_color_mode(color_mode: Any) -> str:
    if isinstance(color_mode, bool):
        raise ValueError(
            f"The second argument of `load_img` is `color_mode`, got {color_mode}; it was "
            '`grayscale` in older versions. Write `color_mode="grayscale"` for True, and leave '
            "it out for False."
        )
    if color_mode not in CHANNELS:
        raise ValueError(
            f'color_mode must be "grayscale", "rgb", or "rgba". Received: {color_mode!r}'
        )
    return str(color_mode)


def _checked_target(target_size: Any) -> tuple[int, int]:
    height, width = target_size[0], target_size[1]
    if min(height, width) < 1:
        raise ValueError(
            "`target_size` is (height, width) in pixels, each at least 1. "
            f"Received: {target_size!r}"
        )
    return height, width


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Save one image's array as a file.

    Parameters
    ----------
    path : str, bytes, path-like or file object
        Where to.
    x : array, rank 3
        With 1, 3 or 4 channels.
    data_format, scale
        As for `array_to_img`.
    file_format : str or None
        A format or suffix that Pillow knows, in any case; None takes the suffix of `path`, so a
        file object without a name needs one.
    **kwargs
        Passed to `PIL.Image.Image.save`: `quality`, for example.

    Raises
    ------
    ValueError
        As for `array_to_img`, and if there is neither a format nor a suffix.
    KeyError
        If Pillow cannot write that format.

    Warns
    -----
    UserWarning
        If an alpha channel is left out because JPEG has none.

    Source
    ------
    `keras.utils.save_img` of Keras 3: the same file.
    """
    picture = array_to_img(x, data_format, scale)
    pillow_format = _pillow_format(file_format or _suffix(path))
    if pillow_format == "JPEG" and picture.mode == "RGBA":
        warnings.warn(
            "The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2
        )
        picture = picture.convert("RGB")
    picture.save(path, format=pillow_format, **kwargs)


def _suffix(path: Any) -> str:
    name = path if isinstance(path, _PATH_TYPES) else getattr(path, "name", "")
    suffix = pathlib.Path(os.fsdecode(name)).suffix if isinstance(name, _PATH_TYPES) else ""
    if not suffix[1:]:
        raise ValueError(f"unknown file extension: {path!r} has none. Pass `file_format`.")
    return suffix[1:]


def _pillow_format(word: str) -> str:
    """Return Pillow's name of a format given by that name or by a suffix, such as `tif`."""
    suffixes = Image.registered_extensions()  # loads Pillow's plugins, too
    name = word.upper() if word.upper() in Image.SAVE else suffixes.get(f".{word.lower()}", "")
    if name not in Image.SAVE:
        raise KeyError(f"Pillow cannot write the format {word!r}; use png, jpg, bmp, tiff, ...")
    return name


def standard_data_format(data_format: str | None) -> str:
    """Return `channels_last` or `channels_first`; None is Keras' setting, the case is ignored.

    Raises
    ------
    ValueError
        If it is another word.
    """
    standard = str(image_data_format() if data_format is None else data_format).lower()
    if standard not in ("channels_last", "channels_first"):
        raise ValueError(
            'The `data_format` argument must be "channels_last" or "channels_first". '
            f"Received: data_format={data_format}"
        )
    return standard
