"""Files to arrays against Pillow alone, which is what Keras calls: bit for bit."""

import io
import re

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from skimage import data

from fusewarp.integrations.keras import images
from fusewarp.integrations.keras.images import decode_jpeg, load_image, load_whole

PHOTOS = (data.chelsea, data.coffee, data.astronaut)


def encode(pixels, **options):
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG", **options)
    return memory.getvalue()


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [10, 75, 92, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_decoded_as_by_pillow(photo, subsampling, quality, progressive):
    for height, width in ((8, 16), (61, 97), (200, 233)):
        encoded = encode(
            photo()[:height, 20 : 20 + width],
            subsampling=subsampling,
            quality=quality,
            progressive=progressive,
        )
        np.testing.assert_array_equal(
            decode_jpeg(encoded), np.asarray(Image.open(io.BytesIO(encoded)))
        )


@pytest.mark.parametrize(
    "options", [{"keep_rgb": True}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_unusual_jpegs_are_decoded_as_by_pillow(options):
    encoded = encode(data.coffee()[:99, :101], **options)
    np.testing.assert_array_equal(decode_jpeg(encoded), np.asarray(Image.open(io.BytesIO(encoded))))


def test_grey_jpegs_become_rgb_as_by_pillow():
    encoded = encode(data.coffee()[:99, :101, 0])
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(decode_jpeg(encoded), expected)


def test_what_pillow_treats_specially_is_left_to_it(monkeypatch):
    cmyk = io.BytesIO()
    Image.fromarray(data.coffee()[:50, :60]).convert("CMYK").save(cmyk, "JPEG")
    whole = encode(data.coffee())
    assert decode_jpeg(cmyk.getvalue()) is None
    assert decode_jpeg(whole[: len(whole) // 2]) is None
    assert decode_jpeg(b"\xff\xd8\xff nothing") is None
    assert decode_jpeg(b"GIF89a") is None
    assert decode_jpeg(whole) is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 600 - 1)
    assert decode_jpeg(whole) is None


def test_a_cmyk_jpeg_is_pillows(tmp_path):
    Image.fromarray(data.coffee()[:50, :60]).convert("CMYK").save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        expected = np.asarray(picture.convert("RGB"))
    loaded = load_image(tmp_path / "a.jpg", "rgb", (50, 60), "nearest", False)
    np.testing.assert_array_equal(loaded, expected)


def test_a_decompression_bomb_keeps_its_type_and_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(encode(data.coffee()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError, match=re.escape("a.jpg")):
        load_image(tmp_path / "a.jpg", "rgb", (20, 30), "nearest", False)


def test_picked_pixels_are_pillows_for_many_sizes(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(120):
        height, width, to_height, to_width = rng.integers(1, 300, 4)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        keep_aspect_ratio = bool(number % 2)
        size = (int(to_height), int(to_width))
        box = images.centre_crop((width, height), *size) if keep_aspect_ratio else None
        expected = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.NEAREST, box=box)
        picked = images._pick_nearest(pixels, size, keep_aspect_ratio)
        np.testing.assert_array_equal(picked, np.asarray(expected), str((pixels.shape, size)))


def test_a_loaded_image_is_not_the_next_ones_memory(tmp_path):
    for name, shade in (("a.jpg", 30), ("b.jpg", 200)):
        Image.new("RGB", (40, 30), (shade,) * 3).save(tmp_path / name)
    for interpolation, size in (("nearest", (30, 40)), ("nearest", (9, 8)), ("bilinear", (9, 8))):
        first = load_image(tmp_path / "a.jpg", "rgb", size, interpolation, False)
        kept = first.copy()
        load_image(tmp_path / "b.jpg", "rgb", size, interpolation, False)
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_whole_image_is_reduced_while_it_still_covers_the_useful_size(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(data.coffee()).save(path)  # 400 x 600
    shapes = {
        min_size: load_whole(path, "rgb", (100, 100), min_size, False).shape
        for min_size in ((0, 0), (300, 300), (200, 300), (100, 100))
    }
    assert shapes == {
        (0, 0): (400, 600, 3),
        (300, 300): (400, 600, 3),
        (200, 300): (200, 300, 3),
        (100, 100): (100, 150, 3),
    }


def test_a_whole_image_is_cut_to_the_targets_ratio(tmp_path):
    Image.fromarray(data.coffee()).save(tmp_path / "a.png")
    cut = load_whole(tmp_path / "a.png", "rgb", (50, 50), (0, 0), True)
    np.testing.assert_array_equal(cut, data.coffee()[:, 100:500])
    assert cut.flags.c_contiguous


def test_deep_greys_stay_deep_when_loaded_whole(tmp_path):
    levels = np.arange(0, 60000, 100, np.uint16).reshape(20, 30)
    Image.fromarray(levels).save(tmp_path / "a.png")
    whole = load_whole(tmp_path / "a.png", "grayscale", (5, 5), (5, 5), False)
    np.testing.assert_array_equal(whole[:, :, 0], levels)


@pytest.mark.parametrize(
    "load",
    [
        lambda path: load_image(path, "rgb", (9, 9), "nearest", False),
        lambda path: load_whole(path, "rgb", (9, 9), (9, 9), False),
    ],
)
def test_broken_files_are_named(tmp_path, load):
    path = tmp_path / "broken.jpg"
    for content, error in (
        (b"", UnidentifiedImageError),
        (b"no picture", UnidentifiedImageError),
        (encode(data.coffee())[:5000], OSError),
    ):
        path.write_bytes(content)
        with pytest.raises(error, match=re.escape(str(path))):
            load(path)
