"""The functions of `tensorflow.keras.preprocessing.image` that change one image, and helpers.

They take Keras' own arguments, and so the axes of channels-first images unless told otherwise.
Random numbers come from NumPy's global generator, in Keras' order.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Transforms, is_moved
from .image_utils import array_to_img, img_to_array
from .levels import change_brightness, shift_channels
from .quirks import checked_quirks, one_of
from .settings import floatx, image_data_format
from .warping import FILL_MODES, warp_image


@dataclass
class _Settings:
    """What `warp_image` asks of a generator, for one image."""

    fill_mode: str
    cval: float
    interpolation_order: int
    data_format: str
    quirks: str
    row_axis: int
    col_axis: int


def apply_affine_transform(
    x: Any,
    theta: float = 0,
    tx: float = 0,
    ty: float = 0,
    shear: float = 0,
    zx: float = 1,
    zy: float = 1,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    order: int = 1,
    *,
    quirks: str | None = None,
) -> Any:
    """Turn, shift, shear and zoom one image about its centre.

    Parameters
    ----------
    x : ndarray, rank 3
        Not changed.
    theta : float
        Degrees; positive angles turn the content counter-clockwise.
    tx, ty : float
        Pixels; positive shifts move the content left and up, in the turned frame.
    shear : float
        Degrees.
    zx, zy : float
        Factors on columns and rows; 2 makes the content half as wide or high.
    row_axis, col_axis, channel_axis : int
        0, 1 and 2 in any order with the channels first or last. The defaults are those of
        channels-first images; channels-last images need ``row_axis=0, col_axis=1,
        channel_axis=2``.
    fill_mode : str
        What lies outside the image: `nearest`, `constant`, `reflect`, `wrap`, `mirror`,
        `grid-constant`, `grid-mirror` or `grid-wrap`, as in `scipy.ndimage`.
    cval : float
        The level outside for `constant`.
    order : int
        0 nearest, 1 bilinear; 2 to 5 are SciPy's splines, which are slow and overshoot.
    quirks : str or None
        `"keras"` turns, shears and zooms about the point that Keras 3 takes, which is the centre
        of square images only; `"none"` takes the centre. None reads the environment variable
        FUSEWARP_QUIRKS, and means `"none"` when that is not set.

    Returns
    -------
    ndarray
        A new array of the same shape and dtype; `x` itself if all parameters are neutral.
        Floats are warped in float32.

    Raises
    ------
    ValueError
        If the axes are not as said, `x` is not of rank 3, or `fill_mode`, `order` or `quirks` is
        none that exists.

    Source
    ------
    Keras 3: within 0.005 grey levels of 0-255 with ``quirks="keras"``.
    """
    _check_axes(x, row_axis, col_axis, channel_axis)
    settings = _Settings(
        fill_mode=one_of("fill_mode", fill_mode, FILL_MODES),
        cval=cval,
        interpolation_order=one_of("order", order, range(6)),
        data_format="channels_first" if channel_axis == 0 else "channels_last",
        quirks=checked_quirks(quirks),
        row_axis=1 if channel_axis == 2 else 2,  # those of the warped image, and no flips
        col_axis=2 if channel_axis == 2 else 3,
    )
    parameters = {"theta": theta, "tx": tx, "ty": ty, "shear": shear, "zx": zx, "zy": zy}
    if not is_moved(parameters):
        return x
    image = np.transpose(x, (row_axis, col_axis, channel_axis))
    warped = warp_image(settings, image, Transforms.of([parameters]), image.dtype)
    return warped if row_axis < col_axis else warped.swapaxes(row_axis, col_axis)


def _check_axes(x: Any, row_axis: int, col_axis: int, channel_axis: int) -> None:
    axes = {row_axis, col_axis, channel_axis}
    if len(axes) != 3:
        raise ValueError(
            "'row_axis', 'col_axis', and 'channel_axis' must be distinct. "
            f"Received: {row_axis}, {col_axis}, {channel_axis}"
        )
    if axes != {0, 1, 2}:
        raise ValueError(
            f"Invalid axis' indices: {axes - {0, 1, 2}}. The axes of one image are 0, 1 and 2; "
            "count negative ones from the start."
        )
    if np.ndim(x) != 3:
        raise ValueError(
            "Input arrays must be multi-channel 2D images: one image of rank 3, "
            f"got shape {np.shape(x)}."
        )
    if channel_axis == 1:
        raise ValueError(
            "Channels are allowed and the first and last dimensions: `channel_axis` must be 0 "
            "or 2, got 1."
        )


def random_rotation(
    x: Any,
    rg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
    *,
    quirks: str | None = None,
) -> Any:
    """Turn one image by an angle drawn from [-rg, rg).

    Parameters
    ----------
    rg : float
        Degrees.
    x, row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order, quirks
        As in `apply_affine_transform`, where `interpolation_order` is `order`. So are the result
        and the errors.
    """
    theta = np.random.uniform(-rg, rg)
    return apply_affine_transform(
        x,
        theta=theta,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
        quirks=quirks,
    )


def random_shift(
    x: Any,
    wrg: float,
    hrg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
    *,
    quirks: str | None = None,
) -> Any:
    """Shift one image sideways by up to `wrg` of its width, vertically by `hrg` of its height.

    The vertical shift is drawn first.

    Parameters
    ----------
    wrg, hrg : float
        Fractions of the width and the height, also above 1; drawn from [-wrg, wrg) and
        [-hrg, hrg).
    quirks : str or None
        `"keras"` exchanges the directions, as Keras 3 does: `hrg` times the height moves the
        image sideways. See `apply_affine_transform` for the rest.
    x, row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order
        As in `apply_affine_transform`, where `interpolation_order` is `order`. So are the result
        and the errors.
    """
    height, width = np.shape(x)[row_axis], np.shape(x)[col_axis]
    down = np.random.uniform(-hrg, hrg) * height
    right = np.random.uniform(-wrg, wrg) * width
    tx, ty = (down, right) if checked_quirks(quirks) == "keras" else (right, down)
    return apply_affine_transform(
        x,
        tx=tx,
        ty=ty,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
        quirks=quirks,
    )


def random_shear(
    x: Any,
    intensity: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
    *,
    quirks: str | None = None,
) -> Any:
    """Shear one image by an angle drawn from [-intensity, intensity).

    Parameters
    ----------
    intensity : float
        Degrees.
    x, row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order, quirks
        As in `apply_affine_transform`, where `interpolation_order` is `order`. So are the result
        and the errors.
    """
    shear = np.random.uniform(-intensity, intensity)
    return apply_affine_transform(
        x,
        shear=shear,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
        quirks=quirks,
    )


def random_zoom(
    x: Any,
    zoom_range: Any,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
    *,
    quirks: str | None = None,
) -> Any:
    """Zoom the columns and the rows of one image by two factors drawn from `zoom_range`.

    Parameters
    ----------
    zoom_range : (float, float)
        Limits of the factors; above 1 shrinks the content. (1, 1) draws nothing.
    x, row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order, quirks
        As in `apply_affine_transform`, where `interpolation_order` is `order`. So are the result
        and the errors.

    Raises
    ------
    ValueError
        Also if `zoom_range` does not have two entries.
    """
    _check_pair("zoom_range", zoom_range)
    zx: Any = 1
    zy: Any = 1
    if zoom_range[0] != 1 or zoom_range[1] != 1:
        zx, zy = np.random.uniform(zoom_range[0], zoom_range[1], 2)
    return apply_affine_transform(
        x,
        zx=zx,
        zy=zy,
        row_axis=row_axis,
        col_axis=col_axis,
        channel_axis=channel_axis,
        fill_mode=fill_mode,
        cval=cval,
        order=interpolation_order,
        quirks=quirks,
    )


def _check_pair(name: str, limits: Any) -> None:
    if len(limits) != 2:
        raise ValueError(f"`{name}` should be a tuple or list of two floats. Received: {limits}")


def random_channel_shift(x: Any, intensity_range: float, channel_axis: int = 0) -> NDArray[Any]:
    """Add a level drawn from [-intensity_range, intensity_range) to all channels of one image.

    Parameters
    ----------
    intensity_range : float
        Grey levels.
    x, channel_axis
        As in `apply_channel_shift`; so are the result and the errors.
    """
    intensity = np.random.uniform(-intensity_range, intensity_range)
    return apply_channel_shift(x, intensity, channel_axis)


def apply_channel_shift(x: Any, intensity: float, channel_axis: int = 0) -> NDArray[Any]:
    """Add `intensity` to all channels of one image and clip to the image's own range.

    Parameters
    ----------
    x : ndarray, rank 3
        Not changed.
    intensity : float
        Grey levels.
    channel_axis : int
        Of no effect, since all channels get the same; it must be an axis of `x`.

    Returns
    -------
    ndarray
        A new array. float32 stays float32; integers plus a float are float64, as in Keras.

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` does not have the axis.
    ValueError
        If `x` is empty.
    """
    image = np.asarray(x)
    np.moveaxis(image, channel_axis, 0)  # raises AxisError for an axis that is not there
    return shift_channels(image, intensity)


def random_brightness(x: Any, brightness_range: Any, scale: bool = True) -> NDArray[Any]:
    """Multiply the levels of one image by a factor drawn from `brightness_range`.

    Parameters
    ----------
    brightness_range : (float, float)
        Limits of the factor.
    x, scale
        As in `apply_brightness_shift`; so are the result and the errors.

    Raises
    ------
    ValueError
        Also if `brightness_range` does not have two entries.
    """
    _check_pair("brightness_range", brightness_range)
    factor = np.random.uniform(brightness_range[0], brightness_range[1])
    return apply_brightness_shift(x, factor, scale)


def apply_brightness_shift(x: Any, brightness: float, scale: bool = True) -> NDArray[Any]:
    """Multiply the levels of one image by `brightness`, in whole levels of 0-255.

    Parameters
    ----------
    x : array, rank 3
        In Keras' global data format, with 1, 3 or 4 channels; the fourth is left. Not changed.
    brightness : float
        1 keeps the levels, 0 is black; negative factors are black too.
    scale : bool
        Stretch the image's range to 0-255 before, and leave it so. Without it, an image that
        leaves 0-255 is stretched before and mapped back after, and others are not.

    Returns
    -------
    ndarray
        A new array of Keras' `floatx` (float64 where a float64 image was mapped back).

    Raises
    ------
    ValueError
        If `x` is not of rank 3, is empty, or has another number of channels.

    Source
    ------
    Keras 3: equal to it.
    """
    low, high = np.min(x), np.max(x)
    is_outside = low < 0 or high > 255
    levels = img_to_array(array_to_img(x, scale=scale or bool(is_outside)))
    channel_axis = 2 if image_data_format() == "channels_last" else 0
    bright = change_brightness(levels, brightness, channel_axis).astype(floatx(), copy=False)
    if is_outside and not scale:
        bright = bright / 255 * (high - low) + low
    return bright


def transform_matrix_offset_center(matrix: Any, x: float, y: float) -> NDArray[np.float64]:
    """Return the matrix that does about the centre what `matrix` does about the origin.

    Parameters
    ----------
    matrix : array, shape (3, 3)
        In homogeneous coordinates.
    x, y : float
        Sizes in pixels along the first and the second coordinate; the centre is ((x - 1) / 2,
        (y - 1) / 2).

    Returns
    -------
    ndarray of float64, shape (3, 3)
    """
    to_center, to_origin = np.eye(3), np.eye(3)
    to_center[:2, 2] = float(x) / 2 - 0.5, float(y) / 2 - 0.5
    to_origin[:2, 2] = -to_center[:2, 2]
    centered: NDArray[np.float64] = to_center @ matrix @ to_origin
    return centered


def flip_axis(x: Any, axis: int) -> NDArray[Any]:
    """Return a view of `x` mirrored along `axis`.

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` does not have the axis.
    """
    return np.flip(np.asarray(x), operator.index(axis))


def validate_filename(filename: Any, white_list_formats: Any) -> bool:
    """Return whether a file exists and its name ends in one of the formats, in any case.

    Parameters
    ----------
    filename : str or path-like
        Path of the file.
    white_list_formats : str or iterable of str
        Lower-case endings, such as `png`.
    """
    path = os.fspath(filename)
    return path.lower().endswith(_as_tuple(white_list_formats)) and os.path.isfile(path)


def list_pictures(
    directory: Any,
    ext: str | Iterable[str] = ("jpg", "jpeg", "bmp", "png", "ppm", "tif", "tiff"),
) -> list[str]:
    """List the picture files under a folder, sorted by path; keras_preprocessing had this.

    Parameters
    ----------
    directory : str or path-like
        Searched with all its sub-folders; symlinked ones are not followed.
    ext : str or iterable of str
        Lower-case extensions without the dot. Names count in any case.

    Returns
    -------
    list of str
        Paths that start with `directory`.

    Raises
    ------
    OSError
        If a folder is not there (FileNotFoundError) or cannot be listed.
    """
    endings = tuple(f".{ending}" for ending in _as_tuple(ext))
    folders = os.walk(directory, onerror=_raise)
    paths = [os.path.join(root, name) for root, _, names in folders for name in names]
    return sorted(path for path in paths if path.lower().endswith(endings))


def _as_tuple(words: str | Iterable[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _raise(error: OSError) -> None:
    raise error
