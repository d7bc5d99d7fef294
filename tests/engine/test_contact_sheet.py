"""The contact sheet shows the source's pixels, the augmenter's pixels, and what was drawn."""

import re

import numpy as np
import pytest
from PIL import Image

from fusewarp.engine import ArraySource, Augmenter, FolderSource, Policy
from fusewarp.engine.contact_sheet import (
    GAP,
    HEADING,
    INK,
    LINE_HEIGHT,
    MARGIN,
    PAPER,
    caption,
    contact_sheet,
    to_bytes,
)

TILE = 40
POLICY = Policy(
    rotation_range=30, width_shift_range=0.2, horizontal_flip=True, brightness_range=(0.6, 1.4)
)


def noise(shape, dtype=np.uint8):
    rng = np.random.default_rng(1)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def tile_of(sheet, column, shape=(TILE, TILE), upper=MARGIN + HEADING):
    height, width = shape
    left = MARGIN + column * (TILE + GAP) + (TILE - width) // 2
    return np.asarray(sheet)[upper : upper + height, left : left + width]


def strip_under(sheet, column, height=LINE_HEIGHT):
    """The first caption line under a tile of the first row."""
    left, upper = MARGIN + column * (TILE + GAP), MARGIN + HEADING + TILE + 5
    return np.asarray(sheet)[upper : upper + height, left : left + TILE]


def test_first_column_holds_the_originals_pixels():
    images = noise((3, TILE, TILE, 3))

    sheet = contact_sheet(ArraySource(images), Augmenter(POLICY), [2], copies=2, tile=TILE)

    np.testing.assert_array_equal(tile_of(sheet, 0), images[2])


def test_other_columns_hold_what_apply_gives_epoch_by_epoch():
    images = noise((3, TILE, TILE, 3))
    augmenter = Augmenter(POLICY, dtype="uint8", seed=5)

    sheet = contact_sheet(ArraySource(images), augmenter, [2], copies=3, tile=TILE)

    for epoch in range(3):
        expected = augmenter.apply(images[2:], [2], epoch)[0]
        np.testing.assert_array_equal(tile_of(sheet, epoch + 1), expected)


def test_output_size_is_kept_and_no_other_pixels_are_drawn_upon():
    images = noise((2, 30, 50, 3))
    augmenter = Augmenter(POLICY, size=(20, TILE), dtype="uint8", seed=5)

    sheet = contact_sheet(ArraySource(images), augmenter, [1], copies=1, tile=TILE)

    expected = augmenter.apply(images[1:], [1], 0)[0]
    original_height = round(30 * TILE / 50)
    upper = MARGIN + HEADING + original_height - 20  # pictures of a row stand on one line
    np.testing.assert_array_equal(tile_of(sheet, 1, (20, TILE), upper), expected)


def test_normalisation_is_left_out_so_that_it_can_be_looked_at():
    images = noise((1, TILE, TILE, 3))
    source = ArraySource(images)
    plain = contact_sheet(source, Augmenter(POLICY, seed=5), [0], copies=2, tile=TILE)

    normalising = POLICY.replace(rescale=1 / 255, mean=0.5, std=0.25)
    sheet = contact_sheet(source, Augmenter(normalising, seed=5, layout="CHW"), [0], 2, TILE)

    np.testing.assert_array_equal(np.asarray(sheet), np.asarray(plain))


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)]
)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_gray_and_many_channels_in_every_dtype(dtype, white, channels):
    images = noise((1, TILE, TILE, channels), dtype)

    sheet = contact_sheet(ArraySource(images), Augmenter(Policy()), [0], copies=1, tile=TILE)

    levels = np.floor(images[0].astype(np.float64) * 255 / white + 0.5)
    expected = levels[..., [0, 0, 0]] if channels == 1 else levels[..., :3]
    np.testing.assert_array_equal(tile_of(sheet, 0), expected)
    np.testing.assert_allclose(tile_of(sheet, 1), expected, atol=1)  # float32 there and back


def test_transparent_pixels_show_a_checkerboard_opaque_ones_their_colour():
    images = noise((1, TILE, TILE, 4))
    images[0, :20, :, 3] = 0
    images[0, 20:, :, 3] = 255

    sheet = contact_sheet(ArraySource(images), Augmenter(Policy()), [0], copies=1, tile=TILE)

    above = tile_of(sheet, 0)[:20]
    assert sorted(np.unique(above)) == [214, 236]
    np.testing.assert_array_equal(tile_of(sheet, 0)[20:], images[0, 20:, :, :3])


def test_float_levels_beyond_255_are_stretched():
    images = np.array([-100.0, 0.0, 300.0], np.float32).reshape(1, 1, 3, 1)
    images = np.repeat(np.repeat(images, 9, axis=1), 3, axis=2)

    sheet = contact_sheet(ArraySource(images), Augmenter(Policy()), [0], copies=1, tile=36)

    assert sorted(
        np.unique(np.asarray(sheet)[MARGIN + HEADING : MARGIN + HEADING + 36, 20:56])
    ) == [
        0,
        64,
        255,
    ]


def test_size_grows_with_rows_and_columns():
    source = ArraySource(noise((3, TILE, TILE, 3)))
    augmenter = Augmenter(Policy())  # every caption is one line

    sheet = contact_sheet(source, augmenter, [0, 2, 1], copies=4, tile=TILE)

    row = TILE + 6 + LINE_HEIGHT
    assert sheet.size == (
        2 * MARGIN + 5 * TILE + 4 * GAP,
        2 * MARGIN + HEADING + 3 * row + 2 * GAP,
    )


def test_captions_are_drawn_under_every_tile():
    source = ArraySource(noise((1, TILE, TILE, 3)))

    sheet = contact_sheet(source, Augmenter(POLICY), [0], copies=2, tile=TILE)

    for column in range(3):
        strip = strip_under(sheet, column)
        assert (strip == PAPER).all(axis=2).any()
        assert np.abs(strip.astype(int) - INK).sum(axis=2).min() < 60, f"column {column}"


def test_long_file_names_are_cut_to_the_tile(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "a-very-long-name-of-a-photo-that-goes-on-and-on.png"):
        Image.fromarray(noise((TILE, TILE, 3))).save(folder / name)
    source = FolderSource(folder, labelled=False)

    sheet = contact_sheet(source, Augmenter(Policy()), [0], copies=1, tile=TILE)

    gap = np.asarray(sheet)[MARGIN + HEADING :, MARGIN + TILE + 1 : MARGIN + TILE + GAP]
    assert (gap == PAPER).all()


def test_caption_says_what_was_drawn_and_leaves_out_the_rest():
    drawn = Augmenter(Policy()).explain(0)
    assert caption(drawn, Policy()) == ["unchanged"]

    drawn |= {"angle": -12.4, "shift_col": -0.05, "shift_row": 3.2, "zoom_row": 1.25}
    drawn |= {"flip_horizontal": 1.0, "brightness": 0.805, "channel_shift": 7.0}
    policy = Policy(width_shift_range=0.1, height_shift_range=5)

    assert caption(drawn, policy) == [
        "turn -12°",
        "zoom 1.25 x 1.00",
        "right -5%",
        "down +3 px",
        "flip left-right",
        "brightness 0.81",
        "levels +7",
    ]


def test_caption_covers_every_drawn_parameter():
    drawn = dict.fromkeys(Augmenter(Policy()).explain(0), 0.5)

    assert len(caption(drawn, Policy())) == len(drawn) - 1  # both zooms share a phrase


def test_to_bytes_rounds_half_up_and_clips():
    image = np.array([-1.0, 0.0, 0.5, 1.5, 254.5, 300.0]).reshape(1, 6, 1)

    np.testing.assert_array_equal(to_bytes(image, (0.0, 255.0)).ravel(), [0, 0, 1, 2, 255, 255])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_ids": []}, "`sample_ids` is empty"),
        ({"sample_ids": [0, 3]}, "`sample_ids` holds 3, but the source has 3 samples"),
        ({"sample_ids": [-1]}, "`sample_ids` holds -1"),
        ({"copies": 0}, "`copies` must be at least 1, got 0"),
        ({"tile": 8}, "`tile` must be at least 32 pixels, got 8"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    source = ArraySource(noise((3, 5, 4, 3)))

    with pytest.raises(ValueError, match=re.escape(message)):
        contact_sheet(source, Augmenter(Policy()), **{"sample_ids": [0]} | arguments)


def test_nan_is_refused_with_the_samples_name():
    images = noise((3, 5, 4, 3), np.float32)
    images[2, 1, 1, 0] = np.nan

    with pytest.raises(ValueError, match="2 holds NaN or infinity"):
        contact_sheet(ArraySource(images), Augmenter(Policy()), [2])
