import numpy as np
from PIL import Image

from fusewarp import ArraySource
from fusewarp.integrations.keras.mistakes import (
    MARGIN,
    TILE,
    WRONG,
    Mistake,
    draw_mistakes,
    read_tiles,
)
from oracles.saved_runs import noise_pictures


def sheet_of(true, predicted, name="0.jpg"):
    mistakes = [Mistake(0, true, predicted, 0.97)]
    tiles = read_tiles(ArraySource(noise_pictures(1)), mistakes)
    return np.asarray(draw_mistakes(mistakes, tiles, [name])).astype(int)


def test_shows_the_picture_whole():
    mistakes = [Mistake(1, "a", "b", 0.9)]
    source = ArraySource(noise_pictures(2, size=(40, 80)))

    (tile,) = read_tiles(source, mistakes)

    assert tile.size == (TILE, TILE // 2)
    expected = Image.fromarray(source.read(1)).resize(tile.size, Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(np.asarray(tile), np.asarray(expected))
    drawn = np.asarray(draw_mistakes(mistakes, [tile], ["1"]))
    lower = MARGIN + TILE
    np.testing.assert_array_equal(
        drawn[lower - tile.height : lower, MARGIN : MARGIN + TILE], np.asarray(tile)
    )


def test_what_was_said_is_red_and_differs_by_name():
    one, other = sheet_of("кошка", "собака"), sheet_of("кошка", "ψυχή")

    captions = one[MARGIN + TILE :], other[MARGIN + TILE :]
    for caption in captions:
        assert (np.abs(caption - WRONG).sum(axis=2) < 30).any()
    assert (captions[0] != captions[1]).any()


def test_long_names_stay_below_their_picture_and_keep_the_probability():
    short = sheet_of("a", "b")
    long = sheet_of("a" * 300, "b" * 300, "c" * 300 + "\udcff.jpg")

    assert long.shape == short.shape
    paper = short[0, 0]
    assert (long[:, -MARGIN + 1 :] == paper).all()


def test_rows_of_four():
    mistakes = [Mistake(0, "a", "b", 0.9)] * 6
    tiles = read_tiles(ArraySource(noise_pictures(1)), mistakes)

    wide = draw_mistakes(mistakes, tiles, ["x"] * 6)
    narrow = draw_mistakes(mistakes[:2], tiles[:2], ["x"] * 2)

    assert wide.width > 4 * TILE > 2 * TILE + 2 * MARGIN < wide.height
    assert narrow.width < 3 * TILE
