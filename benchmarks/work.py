"""The work that all rows share: pictures, ranges, sizes, and the maps of a drawn plan."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine import Augmenter, Policy

SIDE, BATCH_SIZE = 224, 64
SCALE = 1 / 255
ROTATION, SHIFT, SHEAR, ZOOM = 30.0, 0.1, 10.0, (0.8, 1.2)  # degrees, share, degrees, factors
OPTIONS: dict[str, Any] = {
    "rotation_range": ROTATION,
    "width_shift_range": SHIFT,
    "height_shift_range": SHIFT,
    "shear_range": SHEAR,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "rescale": SCALE,
}  # as Keras' ImageDataGenerator takes them, and as `Policy` does
POLICY = Policy(**OPTIONS)
RANGES = (
    "rotation +-30 degrees, shift +-10 %, shear +-10 degrees, zoom 0.8 to 1.2 on each axis, "
    "horizontal flip; bilinear, fill nearest"
)
WARP_PICTURES = 64

Images = NDArray[np.uint8]
Maps = NDArray[np.float32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Work:
    """How much each row does, and on what.

    Attributes
    ----------
    pictures : int
        Arrays in memory; ours and the floors go through all of them in a lap.
    peer_pictures : int
        The first so many, which are a lap of a peer: its time does not hang on the cache.
    folder : Path
        Has `tiles/<class>/*.jpg`, 500 x 375, and room for what a row has to write.
    trained_pictures : int
    threads : tuple of int
        For each of which the tables of loaders have a row.
    quick : bool
        Whether a tiny base is trained on.
    """

    pictures: int
    peer_pictures: int
    folder: Path
    trained_pictures: int = 128
    threads: tuple[int, ...] = (1,)
    quick: bool = False
    batch_size: int = BATCH_SIZE

    @property
    def tiles(self) -> Path:
        """The JPEGs, in one folder for each class."""
        return self.folder / "tiles"

    @property
    def images(self) -> Images:
        """(pictures, SIDE, SIDE, 3) uint8."""
        return crops(self.pictures, SIDE)

    @property
    def peer_images(self) -> Images:
        """The first of `images`."""
        return self.images[: self.peer_pictures]

    def tile_paths(self) -> list[Path]:
        """List the JPEGs, sorted."""
        return sorted(self.tiles.rglob("*.jpg"))


@functools.cache
def crops(count: int, side: int) -> Images:
    """Cut crops out of four photos, at places drawn from a seed: (count, side, side, 3) uint8."""
    photos = _photos()
    rng = np.random.default_rng(0)
    made = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        photo = photos[number % len(photos)]
        scale = max(1.0, side / min(photo.shape[:2]))
        if scale > 1.0:
            size = tuple(math.ceil(length * scale) for length in photo.shape[1::-1])
            photo = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
        row, col = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        made[number] = photo[row : row + side, col : col + side]
    made.flags.writeable = False  # every row has the same pictures
    return made


@functools.cache
def _photos() -> list[Images]:
    try:
        from skimage import data
    except ImportError as error:
        raise ModuleNotFoundError(
            "The photos come with scikit-image: pip install 'fusewarp[bench]'"
        ) from error
    return [data.chelsea(), data.coffee(), data.rocket(), data.astronaut()]


def drawn_maps(count: int, side: int = SIDE, source_side: int | None = None) -> Maps:
    """Return the inverse maps, (count, 2, 3) float32, that `POLICY` draws for pictures 0, 1, ..."""
    plan = Augmenter(POLICY).plan(
        np.arange(count), 0, size=(side, side), channels=3, source_dtype=np.uint8
    )
    source_side = source_side or side
    return plan.inverse_maps(slice(None), (source_side, source_side))


def turning_maps(count: int, side: int, degrees: float) -> Maps:
    """Return inverse maps, (count, 2, 3) float32, that turn pictures about their centre."""
    angle, centre = math.radians(degrees), np.full(2, (side - 1) / 2)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    one = np.column_stack([turn, centre - turn @ centre]).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(one, (count, 2, 3)))


def xy_maps(inverse_maps: NDArray[Any]) -> NDArray[np.float64]:
    """Turn (row, col) maps from output to source into the (x, y) ones of OpenCV and others."""
    return inverse_maps[:, ::-1][:, :, [1, 0, 2]].astype(np.float64)


def scale_colour(count: int, channels: int = 3) -> NDArray[np.float32]:
    """Return colour matrices, (count, C, C + 1) float32, that only scale to 0..1."""
    one = np.eye(channels, channels + 1, dtype=np.float32) * np.float32(SCALE)
    return np.ascontiguousarray(np.broadcast_to(one, (count, channels, channels + 1)))
