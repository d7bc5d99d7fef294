import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import Augmenter, Policy
from fusewarp.engine.decode import decode_image
from fusewarp.engine.resize import _exact_reduction, centre_crop, decode_to_size, resize_area

CAT = data.chelsea()  # 300 x 451


def encoded(image: np.ndarray, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, file_format, **options)
    return stream.getvalue()


def area_weights(large: int, small: int) -> np.ndarray:
    """(small, large): the share of each output pixel that each source pixel covers."""
    edges = np.arange(small + 1) * large / small
    left, right = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    pixel = np.arange(large)
    covered = np.minimum(right, pixel + 1) - np.maximum(left, pixel)
    return np.clip(covered, 0, None) * small / large


@pytest.mark.parametrize(
    "size", [(150, 451), (300, 77), (128, 224), (100, 100), (299, 450), (1, 1)]
)
def test_shrinking_averages_areas(size):
    rows, cols = area_weights(300, size[0]), area_weights(451, size[1])
    expected = np.einsum("ri,ijc,sj->rsc", rows, CAT.astype(float), cols, optimize=True)
    resized = resize_area(CAT, size)
    assert resized.shape == (*size, 3)
    assert np.abs(resized - expected).max() <= 1


@pytest.mark.parametrize("size", [(600, 902), (333, 500), (301, 451)])
def test_growing_is_what_the_augmenter_does(size):
    expected = Augmenter(Policy(), size=size, dtype="uint8", threads=1).apply([CAT], [0])[0]
    assert np.abs(resize_area(CAT, size) - expected.astype(int)).max() <= 1


def test_a_side_that_shrinks_is_averaged_while_the_other_grows():
    stripes = np.zeros((64, 8, 1), np.uint8)
    stripes[::2] = 200
    resized = resize_area(stripes, (16, 20))
    assert resized.shape == (16, 20, 1)
    assert (resized == 100).all()


def test_fine_patterns_become_grey_and_not_moire():
    fine = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    content = encoded(fine, "PNG")
    small = decode_to_size(content, "x", (64, 64), color_mode="grayscale")
    assert np.abs(small.astype(int) - 127).max() <= 1


def test_nothing_is_touched_at_the_size_it_has():
    np.testing.assert_array_equal(decode_to_size(encoded(CAT, "PNG"), "x", (300, 451)), CAT)


@pytest.mark.parametrize(
    ("shape", "size", "reduced"),
    [
        ((600, 800), (150, 200), (150, 200)),
        ((600, 800), (151, 200), (300, 400)),
        ((600, 800), (60, 60), (75, 100)),
        ((375, 500), (150, 150), (0, 0)),  # 187.5 rows
        ((374, 500), (90, 90), (187, 250)),
        ((600, 800), (301, 100), (0, 0)),
    ],
)
def test_jpegs_are_reduced_in_the_decoder_only_to_whole_pixels(shape, size, reduced):
    content = encoded(np.zeros((*shape, 3), np.uint8), "JPEG")
    assert _exact_reduction(content, size) == reduced
    assert _exact_reduction(encoded(np.zeros((*shape, 3), np.uint8), "PNG"), size) == (0, 0)


def test_reducing_in_the_decoder_looks_like_reducing_after_it():
    large = np.asarray(Image.fromarray(CAT).resize((1600, 1200), Image.Resampling.BICUBIC))
    content = encoded(large, "JPEG", quality=95)
    whole = resize_area(decode_image(content, "x"), (130, 180))
    error = decode_to_size(content, "x", (130, 180)).astype(float) - whole
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 40  # dB, as good as the JPEG itself


@pytest.mark.parametrize(
    ("shape", "size", "corners"),
    [
        ((100, 200), (50, 50), ((0, 50), (100, 150))),
        ((200, 100), (50, 50), ((50, 0), (150, 100))),
        ((100, 100), (10, 20), ((25, 0), (75, 100))),
        ((7, 300), (300, 7), ((0, 149), (7, 150))),
        ((1, 1), (9, 16), ((0, 0), (1, 1))),
    ],
)
def test_crop_keeps_the_centre_and_the_proportions(shape, size, corners):
    image = np.indices(shape).transpose(1, 2, 0)
    cut = centre_crop(image, size)
    (top, left), (bottom, right) = corners
    np.testing.assert_array_equal(cut, image[top:bottom, left:right])


def test_crop_then_resize():
    content = encoded(CAT, "PNG")
    cropped = decode_to_size(content, "x", (100, 100), resize="crop")
    np.testing.assert_array_equal(cropped, resize_area(CAT[:, 75:375], (100, 100)))
    stretched = decode_to_size(content, "x", (100, 100))
    np.testing.assert_array_equal(stretched, resize_area(CAT, (100, 100)))


@pytest.mark.parametrize(("mode", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4)])
def test_color_modes(mode, channels):
    resized = decode_to_size(encoded(CAT, "JPEG"), "x", (33, 44), color_mode=mode)
    assert resized.shape == (33, 44, channels)
    assert resized.dtype == np.uint8
