"""`warp` against the float64 reference, SciPy, and what can be seen with the naked eye."""

import re
import zlib

import numpy as np
import pytest
import scipy.ndimage
from numba import config
from skimage import data

from fusewarp.kernels.fixed import has_rounded_products
from oracles import backend
from oracles import warp_reference as reference
from oracles.backend import warp, warp_ragged

pytestmark = pytest.mark.usefixtures("backend")

# Of source and target. CUDA stores rows of 12 four pixels at a time, rows of 11 one by one.
SHAPES = [((7, 9), (6, 12)), ((12, 5), (6, 11)), ((1, 1), (6, 11)), ((1, 6), (6, 12))]
SHAPES += [((5, 1), (6, 11)), ((2, 2), (6, 12)), ((3, 11), (6, 11))]
TOLERANCE = 0.005 / 255  # of the source's range: a hundredth of a level is asked of uint8 images
RANGES = {"uint8": 255, "uint16": 65535, "float32": 255}
PAIRS = [("uint8", "float32"), ("uint16", "float32"), ("float32", "float32")]
PAIRS += [("uint8", "uint8"), ("uint8", "float16")]
OTHER_PAIRS = [("uint16", "uint8"), ("uint16", "float16")]
OTHER_PAIRS += [("float32", "uint8"), ("float32", "float16")]


FIXED_POINT = 1 / 64  # levels, before the rounding: tests/kernels/test_fixed.py


def seeded(*parts):
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


def run(images, maps, out_shape, dtype="float32", layout="HWC", **options):
    """Warp into a buffer that shows pixels nobody wrote; always returned as (n, h, w, C)."""
    batch, channels = images.shape[0], images.shape[3]
    shape = (batch, *out_shape, channels) if layout == "HWC" else (batch, channels, *out_shape)
    out = np.full(shape, 77 if dtype == "uint8" else np.nan, dtype)
    warp(images, maps, out, layout=layout, **options)
    return out if layout == "HWC" else out.transpose(0, 2, 3, 1)


def check_against_reference(source, target, channels, shapes, fill_mode, interpolation, layout):
    rng = seeded(source, target, channels, shapes, fill_mode, interpolation, layout)
    shape, out_shape = shapes
    images = reference.random_images(rng, (3, *shape, channels), source)
    maps = reference.random_inverse_maps(rng, 3, shape, out_shape)
    options = {"fill_mode": fill_mode, "interpolation": interpolation, "cval": 31.0}
    actual = run(images, maps, out_shape, target, layout, **options)
    levels = reference.warp(images, maps, out_shape, **options)
    sure = ~reference.near_jump(maps, shape, out_shape, fill_mode, interpolation)
    assert sure.mean() > 0.97
    in_fixed_point = (
        source == target == "uint8"
        and interpolation == "bilinear"
        and channels in (3, 4)
        and shape[1] > 1
        and not config.DISABLE_JIT
        and has_rounded_products()
    )
    tolerance = FIXED_POINT if in_fixed_point else RANGES[source] * TOLERANCE
    assert_close(actual[sure], levels[sure], tolerance)


def assert_close(actual, levels, tolerance):
    """Levels up to `tolerance` off, then cast: as casts are monotone, one rule for every type."""
    with np.errstate(over="ignore"):  # float16 ends at 65504, uint16 at 65535
        least = reference.cast(levels - tolerance, actual.dtype)
        most = reference.cast(levels + tolerance, actual.dtype)
    wrong = ~((least <= actual) & (actual <= most))
    assert not wrong.any(), (actual[wrong], levels[wrong])


def grid(pairs):
    return [
        pytest.param(*pair, channels, id=f"{pair[0]}-{pair[1]}-{channels}")
        for pair in pairs
        for channels in (1, 3, 4, 5)
    ]


@pytest.mark.parametrize("interpolation", reference.INTERPOLATIONS)
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
@pytest.mark.parametrize(("source", "target", "channels"), grid(PAIRS))
def test_warp_equals_reference(source, target, channels, fill_mode, interpolation):
    for shapes in SHAPES:
        check_against_reference(source, target, channels, shapes, fill_mode, interpolation, "HWC")


@pytest.mark.parametrize("interpolation", reference.INTERPOLATIONS)
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_warp_planar_equals_reference(channels, fill_mode, interpolation):
    for shapes in SHAPES:
        check_against_reference(
            "uint8", "float32", channels, shapes, fill_mode, interpolation, "CHW"
        )


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:overflow encountered in cast"
)  # the simulator: 65520 in float16
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
@pytest.mark.parametrize(("source", "target", "channels"), grid(PAIRS + OTHER_PAIRS))
def test_every_pair_of_types_equals_reference(source, target, channels, fill_mode, layout):
    for interpolation in reference.INTERPOLATIONS:
        for shapes in [((7, 9), (6, 12)), ((7, 9), (6, 11))]:
            check_against_reference(
                source, target, channels, shapes, fill_mode, interpolation, layout
            )


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_colour_mixes_channels_after_interpolation(fill_mode, channels):
    rng = seeded("colour", fill_mode, channels)
    images = reference.random_images(rng, (3, 8, 7, channels), "uint8")
    maps = reference.random_inverse_maps(rng, 3, (8, 7), (9, 10))
    colour = rng.normal(0, 0.4, (3, channels, channels + 1)).astype(np.float32)
    options = {"fill_mode": fill_mode, "cval": 20.0, "colour": colour}
    actual = run(images, maps, (9, 10), **options)
    expected = reference.warp(images, maps, (9, 10), interpolation="bilinear", **options)
    sure = ~reference.near_jump(maps, (8, 7), (9, 10), fill_mode, "bilinear")
    np.testing.assert_allclose(actual[sure], expected[sure], atol=0.01, rtol=0)


@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_whole_shifts_fall_on_the_same_side_as_scipy(channels, fill_mode):
    """Exactly on the jumps, where nothing may be left out."""
    image = seeded(channels).integers(0, 256, (5, 4, channels), np.uint8)
    for shift in range(-13, 14):
        inverse_map = np.array([[[1, 0, shift], [0, 1, -shift]]], np.float32)
        actual = run(image[np.newaxis], inverse_map, (5, 4), fill_mode=fill_mode, cval=9.0)
        expected = [
            scipy.ndimage.affine_transform(
                image[..., c].astype(float), np.eye(2), (shift, -shift), mode=fill_mode,
                order=1, cval=9.0,
            )
            for c in range(channels)
        ]  # fmt: skip
        np.testing.assert_array_equal(actual[0], np.stack(expected, -1), f"shift {shift}")


EXACT = {
    "identity": ([[1, 0, 0], [0, 1, 0]], lambda image: image),
    "flip left and right": ([[1, 0, 0], [0, -1, 8]], lambda image: image[:, ::-1]),
    "flip up and down": ([[-1, 0, 6], [0, 1, 0]], lambda image: image[::-1]),
    "turn by 90": ([[0, 1, 0], [-1, 0, 8]], lambda image: np.rot90(image)),
    "turn by 180": ([[-1, 0, 6], [0, -1, 8]], lambda image: np.rot90(image, 2)),
    "turn by 270": ([[0, -1, 6], [1, 0, 0]], lambda image: np.rot90(image, 3)),
    "every second": ([[2, 0, 1], [0, 2, 0]], lambda image: image[1::2, ::2]),
}


@pytest.mark.parametrize("interpolation", reference.INTERPOLATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EXACT)
def test_exact_maps_move_pixels_untouched(name, channels, interpolation):
    inverse_map, expect = EXACT[name]
    images = seeded(name).integers(0, 256, (1, 7, 9, channels), np.uint8)
    expected = expect(images[0])
    maps = np.array([inverse_map], np.float32)
    for dtype in ("uint8", "float32"):
        actual = run(images, maps, expected.shape[:2], dtype, interpolation=interpolation)
        np.testing.assert_array_equal(actual[0], expected)


def test_identity_gives_back_float_images_to_the_bit():
    images = (10 ** seeded("float").uniform(-30, 30, (1, 6, 7, 2))).astype(np.float32)
    maps = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    np.testing.assert_array_equal(run(images, maps, (6, 7)), images)


def test_uint8_is_rounded_half_up_and_clipped():
    images = np.array([0, 1, 2, 254, 255], np.uint8).reshape(1, 1, 5, 1)
    maps = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    colour = np.array([[[1.5, -1.0]]], np.float32)
    actual = run(images, maps, (1, 5), "uint8", colour=colour)
    np.testing.assert_array_equal(actual.ravel(), [0, 1, 2, 255, 255])


@pytest.mark.parametrize("number", [3e38, 1e30, 3e9, -3e9, -3e38])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_huge_positions_read_inside_the_image(fill_mode, channels, number):
    backend.skip_on_cuda("refused there: see test_cuda.py")
    images = np.full((1, 4, 5, channels), 100, np.uint8)
    maps = np.full((1, 2, 3), number, np.float32)
    maps[0, 1, 1] = -number  # sums of both signs overflow to infinity, or cancel
    actual = run(images, maps, (3, 40), fill_mode=fill_mode, cval=100.0)
    np.testing.assert_allclose(actual, 100, atol=1e-4)


def test_nearest_holds_the_edge_at_huge_positions():
    backend.skip_on_cuda("refused there: see test_cuda.py")
    images = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    maps = np.array([[[1e30, 0, 0], [0, 0, -1e30]]], np.float32)
    np.testing.assert_array_equal(run(images, maps, (2, 1))[0, :, 0, 0], [0, 8])


def test_precision_holds_far_from_the_origin():
    """500 columns out a plain float32 position would be 3e-5 pixels off: 0.008 levels."""
    images = seeded("far").integers(0, 2, (1, 3, 2000, 3), np.uint8) * np.uint8(255)
    maps = np.array([[[1, 0, 0.25], [0, 0.77, 411.3]]], np.float32)
    actual = run(images, maps, (2, 2000))
    expected = reference.warp(images, maps, (2, 2000), "nearest", "bilinear")
    np.testing.assert_allclose(actual, expected, atol=0.005, rtol=0)


def photo(name):
    """Shrink a real photograph, so that the run without a compiler takes a second."""
    return np.ascontiguousarray(getattr(data, name)()[np.newaxis, ::9, ::7])


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_photos_turn_as_in_scipy(name, fill_mode):
    images = photo(name)
    shape = images.shape[1:3]
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]) * 1.3
    shift = (np.array(shape) - 1) / 2 - turn @ ((np.array(shape) - 1) / 2)
    maps = np.column_stack([turn, shift]).astype(np.float32)[np.newaxis]
    actual = run(images, maps, shape, fill_mode=fill_mode, cval=128.0)
    sure = ~reference.near_jump(maps, shape, shape, fill_mode, "bilinear")[0]
    for channel in range(3):
        expected = scipy.ndimage.affine_transform(
            images[0, ..., channel].astype(float), maps[0, :, :2].astype(float),
            maps[0, :, 2].astype(float), order=1, mode=fill_mode, cval=128.0,
        )  # fmt: skip
        np.testing.assert_allclose(actual[0, sure, channel], expected[sure], atol=0.005, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_does_not_depend_on_its_batch(channels):
    rng = seeded("batch", channels)
    images = rng.integers(0, 256, (5, 6, 7, channels), np.uint8)
    maps = reference.random_inverse_maps(rng, 5, (6, 7), (8, 9))
    together = run(images, maps, (8, 9))
    for n in range(5):
        alone = run(images[n : n + 1], maps[n : n + 1], (8, 9))
        np.testing.assert_array_equal(alone[0], together[n])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("source", RANGES)
def test_an_unmoved_image_stays_as_it_is(source, channels):
    images = reference.random_images(seeded(source, channels), (2, 7, 9, channels), source)
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))
    np.testing.assert_array_equal(run(images, maps, (7, 9)), images)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_white_stays_white(channels):
    """Between equal levels there is no other: 255.00003 would not fit into 8 bits."""
    maps = reference.random_inverse_maps(seeded("white", channels), 2, (31, 29), (40, 41))
    images = np.full((2, 31, 29, channels), 255, np.float32)
    np.testing.assert_array_equal(run(images, maps, (40, 41)), 255)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_ragged_images_equal_each_by_itself(channels):
    rng = np.random.default_rng(7)
    sizes = np.array([[9, 14], [1, 2], [30, 5], [2, 2], [17, 16]])
    gaps = rng.integers(0, 5, len(sizes))
    lengths = sizes.prod(1) * channels
    starts = np.cumsum(gaps + lengths) - lengths
    pixels = rng.integers(0, 256, starts[-1] + lengths[-1], np.uint8)
    maps = reference.random_inverse_maps(rng, len(sizes), (9, 14), (5, 37))
    colour = rng.uniform(-1, 1, (len(sizes), channels, channels + 1)).astype(np.float32)
    order = rng.permutation(len(sizes))
    out = np.full((len(sizes), 5, 37, channels), np.nan, np.float32)
    warp_ragged(pixels, starts[order], sizes[order], maps, out, colour=colour, fill_mode="wrap")
    for row, at in enumerate(order):
        image = pixels[starts[at] : starts[at] + lengths[at]].reshape(1, *sizes[at], channels)
        part = slice(row, row + 1)
        expected = run(image, maps[part], (5, 37), colour=colour[part], fill_mode="wrap")
        np.testing.assert_array_equal(out[row], expected[0])


def test_a_batch_of_none_writes_nothing():
    out = np.empty((0, 4, 5, 3), np.float32)
    warp(np.empty((0, 2, 3, 3), np.uint8), np.empty((0, 2, 3), np.float32), out)


@pytest.mark.parametrize("channels", [1, 3])
def test_sources_name_the_images_that_are_warped(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 9, 11, channels), np.uint8)
    sources = np.array([3, 0, 3, 2, 1, 3])
    maps = np.tile(np.float32([[0.8, 0.3, -1.2], [-0.2, 0.9, 0.7]]), (6, 1, 1))
    expected, actual = np.zeros((2, 6, 9, 11, channels), np.float32)
    warp(np.ascontiguousarray(images[sources]), maps, expected)
    warp(images, maps, actual, sources=sources)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (np.array([0, 4]), "`sources` must name images from 0 to 3, got 0 to 4"),
        (np.array([-1, 0]), "`sources` must name images from 0 to 3, got -1 to 0"),
        (np.array([[0, 1]]), "`sources` needs 1 axis"),
        (np.array([0.0, 1.0]), "`sources` needs dtype int64"),
        (np.array([0, 1, 2]), "`out` needs the shape (3, height, width, 3)"),
    ],
)
def test_sources_that_do_not_fit_are_refused(sources, message):
    backend.skip_on_cuda("`warp_ragged` alone runs there")
    maps = np.tile(np.float32([[1, 0, 0], [0, 1, 0]]), (2, 1, 1))
    out = np.zeros((2, 5, 6, 3), np.float32)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        warp(np.zeros((4, 5, 6, 3), np.uint8), maps, out, sources=sources)
