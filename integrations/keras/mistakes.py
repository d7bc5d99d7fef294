"""The most confident mistakes: which they are, and a sheet of them to look at."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .outcome import Outcome

PAPER, INK, FAINT, WRONG = (250, 250, 248), (38, 38, 42), (110, 110, 116), (176, 32, 32)
MARGIN, GAP, LINE_HEIGHT, FONT_SIZE = 20, 12, 19, 14
TILE, COLUMNS = 200, 4


@dataclass(frozen=True)
class Mistake:
    """One picture that was taken for something else.

    Attributes
    ----------
    sample_id : int
    true, predicted : str
        Class names, or values.
    probability : float or None
        What the model gave its wrong answer, 0 to 1; None for a quantity.
    """

    sample_id: int
    true: str
    predicted: str
    probability: float | None


def find_mistakes(outcome: Outcome, count: int = 12) -> list[Mistake]:
    """Return the wrong answers that the model was surest of, the surest first.

    Parameters
    ----------
    outcome : Outcome
    count : int
        At most so many; one for each picture.

    Returns
    -------
    list of Mistake
        Of a quantity the largest errors, each in units of its column's spread.
    """
    if outcome.task.name == "regression":
        return _largest_errors(outcome, count)
    if outcome.task.name == "multi-label":
        return _wrong_labels(outcome, count)
    return _wrong_classes(outcome, count)


def _wrong_classes(outcome: Outcome, count: int) -> list[Mistake]:
    true, predicted = outcome.true_classes, outcome.predicted_classes
    surest = np.where(true != predicted, outcome.probabilities().max(axis=1), -1.0)
    names = outcome.task.outputs
    return [
        Mistake(i, names[true[i]], names[predicted[i]], float(surest[i]))
        for i in _highest(surest, count)
    ]


def _wrong_labels(outcome: Outcome, count: int) -> list[Mistake]:
    """Take the surest wrong yes or no of each picture."""
    truth, said, scores = outcome.truth(), outcome.said(), outcome.probabilities()
    surest = np.where(truth != said, np.where(said, scores, 1 - scores), -1.0)
    worst = surest.argmax(axis=1)
    rows = np.arange(len(outcome))
    mistakes = []
    for i in _highest(surest[rows, worst], count):
        name = outcome.task.outputs[worst[i]]
        true, predicted = (f"no {name}", name) if said[i, worst[i]] else (name, f"no {name}")
        mistakes.append(Mistake(i, true, predicted, float(surest[i, worst[i]])))
    return mistakes


def _largest_errors(outcome: Outcome, count: int) -> list[Mistake]:
    values, predicted = outcome.values()
    spread = np.maximum(values.std(axis=0), np.finfo(np.float64).tiny)
    errors = np.abs(predicted - values) / spread
    worst = errors.argmax(axis=1)
    several = len(outcome.task.outputs) > 1
    mistakes = []
    for i in _highest(errors[np.arange(len(outcome)), worst], count):
        name = f"{outcome.task.outputs[worst[i]]} " if several else ""
        true, said = (f"{name}{column[i, worst[i]]:.4g}" for column in (values, predicted))
        mistakes.append(Mistake(i, true, said, None))
    return mistakes


def _highest(scores: NDArray[Any], count: int) -> list[int]:
    """Return where the highest scores are, those below 0 left out."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [int(i) for i in order if scores[i] >= 0]


def read_tiles(source: Any, mistakes: Sequence[Mistake], tile: int = TILE) -> list[Image.Image]:
    """Read the pictures of mistakes, made to fit a square of `tile` pixels.

    Parameters
    ----------
    source : FolderSource, ArraySource or the like
        uint8 RGB.
    mistakes : sequence of Mistake
    tile : int

    Raises
    ------
    SampleError
        If a picture cannot be read.
    """
    tiles = []
    for mistake in mistakes:
        picture = Image.fromarray(source.read(mistake.sample_id, (tile, tile)))
        scale = tile / max(picture.size)
        size = [max(1, round(side * scale)) for side in picture.size]
        tiles.append(picture.resize((size[0], size[1]), Image.Resampling.LANCZOS))
    return tiles


def draw_mistakes(
    mistakes: Sequence[Mistake], tiles: Sequence[Image.Image], names: Sequence[str]
) -> Image.Image:
    """Draw pictures in rows, below each what it is, what the model said, and how sure it was.

    Parameters
    ----------
    mistakes : sequence of Mistake
        At least one.
    tiles : sequence of PIL.Image.Image
        From `read_tiles`.
    names : sequence of str
        Of the pictures.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    font = _font()
    columns = min(COLUMNS, len(mistakes))
    cell = TILE + 3 * LINE_HEIGHT + GAP
    rows = -(-len(mistakes) // columns)
    size = (2 * MARGIN + columns * (TILE + GAP) - GAP, 2 * MARGIN + rows * cell)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (mistake, tile, name) in enumerate(zip(mistakes, tiles, names, strict=True)):
        left = MARGIN + place % columns * (TILE + GAP)
        upper = MARGIN + place // columns * cell
        sheet.paste(tile, (left + (TILE - tile.width) // 2, upper + TILE - tile.height))
        lines = ((mistake.true, INK), (in_words(mistake), WRONG), (PurePath(name).name, FAINT))
        for k, (text, colour) in enumerate(lines):
            lower = upper + TILE + 3 + k * LINE_HEIGHT
            draw.text((left, lower), _shortened(text, font), colour, font)
    return sheet


def in_words(mistake: Mistake) -> str:
    """Say what the model said: ``said dog, 0.98``."""
    sure = "" if mistake.probability is None else f", {mistake.probability:.2f}"
    return f"said {mistake.predicted}{sure}"


def showable(text: str) -> str:
    """Replace what no font and no file has: the bytes of a name that is not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Load the font that Matplotlib brings along: it has Latin, Greek, Cyrillic and more."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), FONT_SIZE)


def _shortened(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Cut the middle of a text until it fits below a tile."""
    text = showable(text)
    for keep in range(len(text), 1, -1):
        shown = text if keep == len(text) else f"{text[: keep - keep // 2]}…{text[-(keep // 2) :]}"
        if font.getlength(shown) <= TILE:
            return shown
    return text[:1]
