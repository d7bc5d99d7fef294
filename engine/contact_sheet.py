"""The contact sheet: each row one photo, first as it is, then as augmentation shows it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .augmenter import Augmenter
from .policy import Policy
from .sources import Source

PAPER, INK, FAINT = (250, 250, 248), (38, 38, 42), (120, 120, 126)
CHECKER = (214, 236)  # the two greys under transparent pixels
MARGIN, GAP, HEADING, LINE_HEIGHT, FONT_SIZE = 20, 10, 20, 15, 12
MIN_TILE = 32

TINY = 1e-6
NEUTRAL = {  # what changes nothing
    **dict.fromkeys(("angle", "shear", "shift_row", "shift_col", "channel_shift"), 0.0),
    **dict.fromkeys(("flip_horizontal", "flip_vertical"), 0.0),
    **dict.fromkeys(("zoom_row", "zoom_col", "brightness", "contrast", "saturation"), 1.0),
}

Levels = tuple[float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Cell = tuple[Image.Image, list[str]]  # a tile and the lines of its caption


def contact_sheet(
    source: Source,
    augmenter: Augmenter,
    sample_ids: Sequence[int],
    copies: int = 6,
    tile: int = 160,
) -> Image.Image:
    """Draw photos beside their augmentations, with the drawn parameters as captions.

    The augmentations are those of `augmenter.apply(image, [sample_id], epoch)` for the epochs
    0 .. copies - 1: exactly the pictures a model would be shown, at the augmenter's size, with
    `rescale`, `mean` and `std` left out so that they can be looked at. A picture larger or smaller
    than a tile is scaled to fit it; one that fits exactly is copied pixel by pixel.

    Parameters
    ----------
    source : ArraySource or FolderSource
        Any number of channels: 1 is gray, 2 gray and alpha, 3 RGB, 4 RGBA (shown over a
        checkerboard); of five or more the first three are shown. Levels of float images are taken
        as 0-1 or 0-255 where they lie inside, else stretched from their least to their greatest.
    augmenter : Augmenter
        Its policy, size and seed decide the pictures.
    sample_ids : sequence of int
        One row for each.
    copies : int
        Augmentations in a row, at least 1.
    tile : int
        Side of a tile in pixels, at least 32.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    ValueError
        If there is no sample id, one lies outside the source, `copies` or `tile` is too small, or a
        float image holds NaN or infinity.
    """
    _check(source, sample_ids, copies, tile)
    shown = _for_showing(augmenter)
    font = ImageFont.load_default(FONT_SIZE)
    rows = [_draw_row(source, shown, int(i), copies, tile, font) for i in sample_ids]
    return _lay_out(rows, tile, font)


def caption(drawn: Mapping[str, float], policy: Policy) -> list[str]:
    """Put drawn parameters into few words, leaving out those that change nothing.

    Parameters
    ----------
    drawn : mapping of str to float
        What `Augmenter.explain` returns.
    policy : Policy
        What they were drawn from: it says whether shifts are fractions or pixels.

    Returns
    -------
    list of str
        Short phrases such as ``turn +12°``; ``unchanged`` alone when nothing was drawn.
    """
    said = {
        "angle": f"turn {round(drawn['angle']):+d}°",
        "shear": f"shear {round(drawn['shear']):+d}°",
        "zoom_row": _zoom(drawn["zoom_row"], drawn["zoom_col"]),
        "zoom_col": _zoom(drawn["zoom_row"], drawn["zoom_col"]),
        "shift_col": "right " + _distance(drawn["shift_col"], policy.width_shift_range),
        "shift_row": "down " + _distance(drawn["shift_row"], policy.height_shift_range),
        "flip_horizontal": "flip left-right",
        "flip_vertical": "flip up-down",
        "brightness": f"brightness {drawn['brightness']:.2f}",
        "contrast": f"contrast {drawn['contrast']:.2f}",
        "saturation": f"saturation {drawn['saturation']:.2f}",
        "channel_shift": f"levels {round(drawn['channel_shift']):+d}",
    }
    phrases = [text for name, text in said.items() if abs(drawn[name] - NEUTRAL[name]) > TINY]
    return list(dict.fromkeys(phrases)) or ["unchanged"]


def _zoom(rows: float, cols: float) -> str:
    return f"zoom {rows:.2f}" if rows == cols else f"zoom {rows:.2f} x {cols:.2f}"


def _distance(shift: float, reach: float) -> str:
    """Say how far a picture moved, in the unit of its range (see `Policy`)."""
    return f"{round(100 * shift):+d}%" if reach < 1 else f"{round(shift):+d} px"


def to_bytes(image: NDArray[Any], levels: Levels) -> NDArray[np.uint8]:
    """Turn levels into 0-255 for showing, clipped and rounded half up.

    Parameters
    ----------
    image : (height, width, channels) array
        Any number type.
    levels : (float, float)
        The level shown black and the level shown white.

    Returns
    -------
    (height, width, channels) uint8
    """
    low, high = levels
    scaled = (image.astype(np.float64) - low) * (255.0 / (high - low))
    return np.floor(np.clip(scaled, 0.0, 255.0) + 0.5).astype(np.uint8)


def _check(source: Source, sample_ids: Sequence[int], copies: int, tile: int) -> None:
    if len(sample_ids) == 0:
        raise ValueError("`sample_ids` is empty: a contact sheet needs at least one photo.")
    for i in sample_ids:
        if not 0 <= i < len(source):
            raise ValueError(
                f"`sample_ids` holds {i}, but the source has {len(source)} samples: "
                f"use 0 to {len(source) - 1}."
            )
    if copies < 1:
        raise ValueError(f"`copies` must be at least 1, got {copies}.")
    if tile < MIN_TILE:
        raise ValueError(f"`tile` must be at least {MIN_TILE} pixels, got {tile}.")


def _for_showing(augmenter: Augmenter) -> Augmenter:
    """Give an augmenter that draws the same pictures in the levels of the source."""
    policy = augmenter.policy.replace(rescale=None, mean=None, std=None)
    return Augmenter(policy, size=augmenter.size, seed=augmenter.seed, threads=augmenter.threads)


def _draw_row(
    source: Source, augmenter: Augmenter, sample_id: int, copies: int, tile: int, font: Font
) -> list[Cell]:
    """Give the tiles of one row, each with the lines of its caption."""
    image = source.read(sample_id, augmenter.useful_size)
    levels = _levels_of(image, source.names[sample_id])
    name = _shorten(PurePath(source.names[sample_id]).name, tile, font)
    row = [(_as_tile(image, levels, tile), [name])]
    for epoch in range(copies):
        augmented = augmenter.apply([image], [sample_id], epoch)[0]
        lines = _wrap(caption(augmenter.explain(sample_id, epoch), augmenter.policy), tile, font)
        row.append((_as_tile(augmented, levels, tile), lines))
    return row


def _levels_of(image: NDArray[Any], name: str) -> Levels:
    """Say which levels of an image are black and white."""
    if image.dtype.kind == "u":
        return 0.0, float(np.iinfo(image.dtype).max)
    low, high = float(image.min()), float(image.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name} holds NaN or infinity, which cannot be shown.")
    for white in (1.0, 255.0):
        if low >= 0.0 and high <= white:
            return 0.0, white
    return low, max(high, low + 1.0)


def _as_tile(image: NDArray[Any], levels: Levels, tile: int) -> Image.Image:
    """Scale an image into a tile without distorting it."""
    picture = _as_picture(to_bytes(image, levels))
    scale = tile / max(picture.size)
    if scale == 1.0:
        return picture
    enlarged = scale >= 2  # then show the pixels there are, not a blur of them
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize(
        (width, height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    )


def _as_picture(image: NDArray[np.uint8]) -> Image.Image:
    """Show 1 to n channels as RGB, transparent pixels over a checkerboard."""
    channels = image.shape[2]
    color = image[:, :, [0, 0, 0]] if channels < 3 else image[:, :, :3]
    picture = Image.fromarray(np.ascontiguousarray(color))
    if channels not in (2, 4):
        return picture
    below = _checkerboard(image.shape[0], image.shape[1])
    below.paste(picture, mask=Image.fromarray(np.ascontiguousarray(image[:, :, -1])))
    return below


def _checkerboard(height: int, width: int) -> Image.Image:
    rows, cols = np.indices((height, width)) // max(1, min(height, width) // 16)
    gray = np.where((rows + cols) % 2, *CHECKER).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


def _shorten(name: str, width: int, font: Font) -> str:
    """Cut the middle of a file name until it fits."""
    if font.getlength(name) <= width:
        return name
    keep = len(name) - 1
    while keep > 2 and font.getlength(_cut(name, keep)) > width:
        keep -= 1
    return _cut(name, keep)


def _cut(name: str, keep: int) -> str:
    return name[: keep - keep // 2] + "..." + name[len(name) - keep // 2 :]


def _wrap(phrases: list[str], width: int, font: Font) -> list[str]:
    """Set phrases into lines that fit, never breaking a phrase."""
    lines: list[str] = []
    for phrase in phrases:
        longer = f"{lines[-1]}, {phrase}" if lines else phrase
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(phrase)
    return lines


def _lay_out(rows: list[list[Cell]], tile: int, font: Font) -> Image.Image:
    """Paste all tiles and captions onto the paper, under a line of headings."""
    pictures = [max(picture.height for picture, _ in row) for row in rows]
    captions = [6 + LINE_HEIGHT * max(len(lines) for _, lines in row) for row in rows]
    width = 2 * MARGIN + len(rows[0]) * (tile + GAP) - GAP
    height = 2 * MARGIN + HEADING + sum(pictures) + sum(captions) + GAP * (len(rows) - 1)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column in range(len(rows[0])):
        heading = "original" if column == 0 else f"epoch {column - 1}"
        draw.text((MARGIN + column * (tile + GAP), MARGIN), heading, FAINT, font)
    upper = MARGIN + HEADING
    for row, picture_height, caption_height in zip(rows, pictures, captions, strict=True):
        _paste_row(sheet, row, upper, picture_height, tile, font)
        upper += picture_height + caption_height + GAP
    return sheet


def _paste_row(
    sheet: Image.Image, row: list[Cell], upper: int, height: int, tile: int, font: Font
) -> None:
    draw = ImageDraw.Draw(sheet)
    for column, (picture, lines) in enumerate(row):
        left = MARGIN + column * (tile + GAP)
        sheet.paste(picture, (left + (tile - picture.width) // 2, upper + height - picture.height))
        for k, line in enumerate(lines):
            draw.text((left, upper + height + 5 + k * LINE_HEIGHT), line, INK, font)
