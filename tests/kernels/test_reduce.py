"""`reduce_areas` against means of blocks in plain NumPy."""

import numpy as np
import pytest

from fusewarp.kernels.reduce import reduce_areas

SIZES = [(1, 1), (2, 3), (3, 4), (1, 5), (2, 6), (1, 8), (7, 9), (16, 16), (33, 70), (5, 300)]
FACTORS = [(1, 1), (2, 2), (4, 4), (1, 2), (2, 1), (1, 8), (8, 2), (4, 16), (16, 32), (256, 256)]
MARK = 77


def block_means(image: np.ndarray, factor: tuple[int, int]) -> np.ndarray:
    """Mean of each block in float64, rounded half up for whole numbers."""
    rows = range(0, image.shape[0], factor[0])
    cols = range(0, image.shape[1], factor[1])
    means = np.array(
        [
            [image[r : r + factor[0], c : c + factor[1]].astype(float).mean((0, 1)) for c in cols]
            for r in rows
        ]
    )
    return means if image.dtype.kind == "f" else np.floor(means + 0.5).astype(image.dtype)


def random_image(rng, size, channels, dtype) -> np.ndarray:
    if dtype == "float32":
        return rng.normal(0, 100, (*size, channels)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, (*size, channels), dtype)


def reduce_all(images, factors, channels):
    """Reduce images that lie in one array with gaps; return them, having looked at the gaps."""
    dtype, gap = images[0].dtype, 5
    lengths = [image.size for image in images]
    starts = np.cumsum([gap, *(length + gap for length in lengths[:-1])])
    pixels = np.zeros(sum(lengths) + gap * (len(images) + 1), dtype)
    for start, image in zip(starts, images, strict=True):
        pixels[start : start + image.size] = image.ravel()
    sizes = np.array([image.shape[:2] for image in images])
    shapes = -(-sizes // factors)
    lengths = shapes.prod(axis=1) * channels
    to = np.cumsum([gap, *(length + gap for length in lengths[:-1])])
    reduced = np.full(lengths.sum() + gap * (len(images) + 1), MARK, dtype)
    reduce_areas(pixels, starts, sizes, factors, channels, reduced, to)
    untouched = np.ones(len(reduced), bool)
    results = []
    for start, length, shape in zip(to, lengths, shapes, strict=True):
        results.append(reduced[start : start + length].reshape(*shape, channels))
        untouched[start : start + length] = False
    assert (reduced[untouched] == MARK).all()
    return results


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_pixel_is_the_mean_of_its_block(dtype, channels):
    rng = np.random.default_rng(channels)
    cases = [(size, factor) for size in SIZES for factor in FACTORS]
    images = [random_image(rng, size, channels, dtype) for size, _ in cases]
    factors = np.array([factor for _, factor in cases])
    for image, factor, result in zip(
        images, factors, reduce_all(images, factors, channels), strict=True
    ):
        expected = block_means(image, factor)
        if dtype == "uint8":
            np.testing.assert_array_equal(result, expected)
        elif dtype == "uint16":  # sums of float32 round beyond 2**24
            assert np.abs(result.astype(int) - expected).max() <= 1
        else:
            np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_may_be_reduced_in_place(dtype, channels):
    rng = np.random.default_rng(channels)
    for size in SIZES:
        image = random_image(rng, size, channels, dtype)
        for factor in FACTORS:
            factors, first = np.array([factor]), np.zeros(1, np.int64)
            (expected,) = reduce_all([image], factors, channels)
            pixels = image.ravel().copy()
            reduce_areas(pixels, first, np.array([size]), factors, channels, pixels, first)
            np.testing.assert_array_equal(pixels[: expected.size], expected.ravel())


def test_the_brightest_picture_does_not_overflow():
    white = np.full((300, 300, 3), 255, np.uint8)
    for factor in [(256, 1), (16, 16), (256, 256), (1, 256)]:
        (result,) = reduce_all([white], np.array([factor]), 3)
        assert (result == 255).all()


@pytest.mark.parametrize("factor", [0, 3, 512, -2])
def test_refuses_factors(factor):
    first, sizes = np.zeros(1, np.int64), np.full((1, 2), 4)
    pixels = np.zeros(48, np.uint8)
    with pytest.raises(ValueError, match="powers of two from 1 to 256"):
        reduce_areas(pixels, first, sizes, np.array([[2, factor]]), 3, pixels, first)


@pytest.mark.parametrize(
    ("start", "to", "name"),
    [(1, 0, "pixels"), (-1, 0, "pixels"), (0, 37, "reduced"), (0, -1, "reduced")],
)
def test_refuses_images_that_do_not_lie_in_their_array(start, to, name):
    pixels, reduced = np.zeros(48, np.uint8), np.zeros(48, np.uint8)
    sizes, factors = np.full((1, 2), 4), np.full((1, 2), 2)
    with pytest.raises(ValueError, match=f"not lie in `{name}`"):
        reduce_areas(pixels, np.array([start]), sizes, factors, 3, reduced, np.array([to]))
    with pytest.raises(ValueError, match="has no pixels"):
        reduce_areas(pixels, np.array([0]), 0 * sizes, factors, 3, reduced, np.array([0]))


def test_no_image_is_no_error():
    nothing = np.zeros((0, 2), np.int64)
    pixels = np.zeros(3, np.uint8)
    reduce_areas(pixels, nothing[:, 0], nothing, nothing, 3, pixels, nothing[:, 0])
