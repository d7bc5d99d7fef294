"""The work that every row of the warp benchmarks does: the same pictures, the same random maps.

64 crops of real photos, 224 x 224 x 3 uint8 -> float32 in 0..1, bilinear, fill mode nearest, one
thread. `fusewarp.kernels.warp` is the public kernel; the generic loop behind it and a plain convert
of the same bytes (the floor: no warp at all) stand beside it.
"""

from collections.abc import Callable

import cv2
import numpy as np
from skimage import data

from fusewarp import Augmenter, Policy
from fusewarp.kernels import warp
from fusewarp.kernels.warp import warp_generic

COUNT, SIDE = 64, 224
SCALE = np.float32(1 / 255)
POLICY = Policy(
    rotation_range=30,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=10,
    zoom_range=0.2,
    horizontal_flip=True,
    rescale=1 / 255,
)
TITLE = (
    f"{COUNT} x {SIDE} x {SIDE} x 3 uint8 -> float32; rotation 30, shift 10 %, shear 10, "
    "zoom 0.8-1.2, flip; bilinear, fill nearest; one thread"
)


def make_images() -> np.ndarray:
    """Cut crops out of four photos, at places drawn from a seed."""
    photos = [data.chelsea(), data.coffee(), data.rocket(), data.astronaut()]
    rng = np.random.default_rng(0)
    crops = []
    for number in range(COUNT):
        photo = photos[number % len(photos)]
        row, col = (rng.integers(0, side - SIDE + 1) for side in photo.shape[:2])
        crops.append(photo[row : row + SIDE, col : col + SIDE])
    return np.stack(crops)


def opencv_maps(inverse_maps: np.ndarray) -> np.ndarray:
    """Turn (row, col) maps from output to source into OpenCV's (x, y) ones."""
    return inverse_maps[:, ::-1][:, :, [1, 0, 2]].astype(np.float64)


def make_cases() -> dict[str, Callable[[], None]]:
    """Return what is timed, by name; every call warps or converts all pictures once."""
    cv2.setNumThreads(1)
    images = make_images()
    plan = Augmenter(POLICY).plan(
        np.arange(COUNT), 0, size=(SIDE, SIDE), channels=3, source_dtype=np.uint8
    )
    maps, colour = plan.inverse_maps(slice(None), (SIDE, SIDE)), plan.colour
    cv_maps = opencv_maps(maps)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out, levels = np.empty(images.shape, np.float32), np.empty_like(images)

    def convert() -> None:
        np.multiply(images, SCALE, out=out)

    def warp_opencv_levels() -> None:
        for image, inverse_map, row in zip(images, cv_maps, levels, strict=True):
            cv2.warpAffine(
                image, inverse_map, (SIDE, SIDE), row, flags, borderMode=cv2.BORDER_REPLICATE
            )

    def warp_opencv() -> None:
        warp_opencv_levels()
        np.multiply(levels, SCALE, out=out)

    return {
        "convert only (the floor)": convert,
        "fusewarp.kernels.warp": lambda: warp(images, maps, out, colour=colour),
        "fusewarp.kernels.warp, uint8 out": lambda: warp(images, maps, levels),
        "fusewarp's generic loop": lambda: warp_generic(images, maps, out, colour=colour),
        "cv2.warpAffine + multiply": warp_opencv,
        "cv2.warpAffine alone, uint8 out": warp_opencv_levels,
    }
