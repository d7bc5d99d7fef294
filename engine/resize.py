"""A picture at exactly the wanted size, antialiased: what is shrunk is averaged over areas."""

from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .affine import Size
from .decode import ColorMode, decode_image

ResizeWay = Literal["stretch", "crop"]
RESIZE_WAYS = ("stretch", "crop")


def decode_to_size(
    data: bytes,
    name: str,
    size: Size,
    *,
    color_mode: ColorMode = "rgb",
    resize: ResizeWay = "stretch",
) -> NDArray[np.uint8]:
    """Decode one picture and resize it.

    Parameters
    ----------
    data, name, color_mode
        As in `decode_image`.
    size : (height, width)
    resize : {"stretch", "crop"}
        "stretch" squeezes the whole picture into `size`, as `Augmenter(size=...)` does; "crop"
        first cuts the largest centred part that has its proportions.

    Returns
    -------
    (*size, C) uint8

    Raises
    ------
    SampleError
        As `decode_image`.
    """
    image = decode_image(data, name, color_mode=color_mode, min_size=_exact_reduction(data, size))
    if resize == "crop":
        image = centre_crop(image, size)
    return resize_area(image, size)


def centre_crop(image: NDArray[Any], size: Size) -> NDArray[Any]:
    """Return the largest centred part with the proportions of `size`, to a pixel; a view."""
    height, width = image.shape[:2]
    rows = min(height, max(1, round(width * size[0] / size[1])))
    cols = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - rows) // 2, (width - cols) // 2
    return image[top : top + rows, left : left + cols]


def resize_area(image: NDArray[Any], size: Size) -> NDArray[Any]:
    """Resize (H, W, C): a side that shrinks by averaging areas, one that grows linearly."""
    shrunk = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    for target, way in ((shrunk, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if image.shape[:2] != target:
            source = np.ascontiguousarray(image)
            resized: Any = cv2.resize(source, target[::-1], interpolation=way)
            image = np.asarray(resized).reshape(*target, image.shape[2])
    return image


def _exact_reduction(data: bytes, size: Size) -> Size:
    """Return the smallest size a JPEG can be decoded at without a fraction of a pixel.

    A picture of 375 rows decoded at half scale has 188, and the last shows half of nothing. The
    result still covers `size`; (0, 0), the whole picture, if there is none, or it is no JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return (0, 0)
    for factor in (8, 4, 2):
        rows, cols = height // factor, width // factor
        whole = rows * factor == height and cols * factor == width
        if whole and rows >= size[0] and cols >= size[1]:
            return (rows, cols)
    return (0, 0)
