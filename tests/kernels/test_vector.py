"""The fast loop: equal to the generic one, and at home in its own memory only."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

from fusewarp.kernels import warp, warp_ragged
from fusewarp.kernels.codes import BILINEAR, NEAREST_PIXEL
from fusewarp.kernels.warp import Images, fast_loop, fits_fast_loop, warp_generic
from oracles import warp_reference as reference

if config.DISABLE_JIT:
    pytest.skip("the fast loop is off without the compiler", allow_module_level=True)

NOISE_BYTE = 0xA5


CHANNELS = [1, 3, 4]
SOURCES = ["uint8", "uint16", "float32"]


def plan(seed, shape, out_shape, diagonal, channels=3, dtype="uint8"):
    rng = np.random.default_rng(seed)
    images = reference.random_images(rng, (2, *shape, channels), dtype)
    maps = reference.random_inverse_maps(rng, 2, shape, out_shape)
    colour = rng.uniform(-1, 1, (2, channels, channels + 1)).astype(np.float32)
    if diagonal:
        colour[:, :, :channels] *= np.eye(channels, dtype=np.float32)
    return images, maps, colour


def both(images, maps, shape, dtype="float32", **options):
    outs = [np.full(shape, 99, dtype) for _ in range(2)]
    warp(images, maps, outs[0], **options)
    warp_generic(images, maps, outs[1], **options)
    return outs


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 40), st.integers(2, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 70)),
    st.sampled_from(reference.FILL_MODES),
    st.booleans(),
)
def test_fast_loop_equals_generic_loop(seed, shape, out_shape, fill_mode, diagonal):
    images, maps, colour = plan(seed, shape, out_shape, diagonal)
    fast, slow = both(images, maps, (2, *out_shape, 3), colour=colour, fill_mode=fill_mode, cval=50)
    # Both take their positions from the same functions, so that no pixel needs to be left out.
    np.testing.assert_allclose(fast, slow, atol=0.01, rtol=0)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_fast_loops_equal_generic_loop_for_all_pixels(channels, source, diagonal):
    for seed, fill_mode in enumerate(("constant", "mirror")):
        images, maps, colour = plan(seed, (13, 17), (9, 35), diagonal, channels, source)
        shape = (2, 9, 35, channels)
        fast, slow = both(images, maps, shape, colour=colour, fill_mode=fill_mode, cval=50)
        levels = float(images.max()) * channels  # float32 holds 1e-7 of it
        np.testing.assert_allclose(fast, slow, atol=max(0.01, 2e-5 * levels), rtol=0)


@pytest.mark.parametrize("width", [255, 256, 257, 513])
@pytest.mark.parametrize("channels", CHANNELS)
def test_wide_targets_are_made_in_tiles(channels, width):
    images, maps, colour = plan(6, (40, 300), (3, width), True, channels)
    fast, slow = both(images, maps, (2, 3, width, channels), colour=colour, fill_mode="reflect")
    np.testing.assert_allclose(fast, slow, atol=0.01, rtol=0)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_narrow_picture_does_not_change_those_beside_it(dtype):
    """It goes by the generic loop, the others by the fast one, in whatever order they come."""
    rng = np.random.default_rng(8)
    widths = [17, 1, 1, 16, 15, 1]
    pictures = [rng.integers(0, 256, (14, width, 3), np.uint8) for width in widths]
    starts = np.cumsum([0] + [picture.size for picture in pictures[:-1]])
    maps = np.concatenate(
        [reference.random_inverse_maps(rng, 1, p.shape[:2], (9, 35)) for p in pictures]
    )
    colour = None
    if dtype == "float32":
        colour = rng.uniform(-1, 1, (6, 3, 4)).astype(np.float32)
    together = np.empty((6, 9, 35, 3), dtype)
    pixels = np.concatenate([picture.ravel() for picture in pictures])
    sizes = np.array([picture.shape[:2] for picture in pictures])
    warp_ragged(pixels, starts, sizes, maps, together, colour=colour)
    for n, picture in enumerate(pictures):
        alone = np.empty((1, 9, 35, 3), dtype)
        matrix = None if colour is None else colour[n : n + 1]
        warp(picture[np.newaxis], maps[n : n + 1], alone, colour=matrix)
        np.testing.assert_array_equal(together[n], alone[0])


def test_narrow_images_go_to_the_generic_loop():
    pixels = np.arange(60, dtype=np.uint8)
    starts, sizes = np.array([0, 30]), np.array([[3, 2], [5, 1]])
    out = np.empty((2, 4, 4, 3), np.float32)
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))
    warp_ragged(pixels, starts, sizes, maps, out)
    np.testing.assert_array_equal(out[1, :, 3], np.arange(30, 42).reshape(4, 3))


SLOW_MODES = [
    mode if mode == "nearest" else pytest.param(mode, marks=pytest.mark.slow)
    for mode in reference.FILL_MODES
]


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("fill_mode", SLOW_MODES)
def test_fast_loop_equals_generic_loop_in_every_type(fill_mode, dtype, layout):
    images, maps, _ = plan(1, (13, 17), (9, 35), False)
    shape = (2, 9, 35, 3) if layout == "HWC" else (2, 3, 9, 35)
    fast, slow = both(images, maps, shape, dtype, fill_mode=fill_mode, layout=layout, cval=50)
    difference = np.abs(fast.astype(float) - slow)
    assert difference.max() <= {"uint8": 1, "float16": 0.125, "float32": 0.01}[dtype]
    assert (difference > 0.01).mean() < 0.01  # roundings of 8 or 11 bits, at the half


def test_full_colour_matrix_equals_diagonal_one_to_the_bit():
    """So a pixel does not depend on whether a batch holds another one's mixing matrix."""
    images, maps, colour = plan(2, (9, 8), (10, 11), True)
    mixed = colour.copy()
    mixed[1, 0, 1] = 0.5
    outs = [np.empty((2, 10, 11, 3), np.float32) for _ in range(2)]
    warp(images, maps, outs[0], colour=colour)
    warp(images, maps, outs[1], colour=mixed)
    np.testing.assert_array_equal(outs[0][0], outs[1][0])
    assert not np.array_equal(outs[0][1], outs[1][1])


@pytest.mark.parametrize(
    ("dtype", "shape", "interpolation", "applies"),
    [
        ("uint8", (1, 3, 2, 3), BILINEAR, True),
        ("uint8", (1, 1, 2, 3), BILINEAR, True),
        ("uint8", (1, 9, 1, 3), BILINEAR, False),
        ("uint8", (1, 3, 2, 1), BILINEAR, True),
        ("uint8", (1, 3, 2, 2), BILINEAR, False),
        ("uint8", (1, 3, 2, 4), BILINEAR, True),
        ("float32", (1, 3, 2, 3), BILINEAR, True),
        ("uint8", (1, 3, 2, 3), NEAREST_PIXEL, False),
    ],
)
def test_fast_loop_applies(dtype, shape, interpolation, applies):
    pixels = np.zeros(int(np.prod(shape)), dtype)
    images = Images(pixels, np.zeros(1, np.int64), np.array([shape[1:3]]))
    loop = fast_loop(shape[3], np.dtype(np.float32), interpolation)
    assert (loop is not None and bool(fits_fast_loop(images, shape[3]).all())) is applies


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("width", [1, 2, 31, 32, 33])
@pytest.mark.parametrize("channels", CHANNELS)
def test_no_byte_around_the_target_changes(channels, width, dtype, layout):
    images, maps, _ = plan(3, (5, 6), (4, width), False, channels)
    shape = (2, 4, width, channels) if layout == "HWC" else (2, channels, 4, width)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.full(size + 128, NOISE_BYTE, np.uint8)
    target = room[64 : 64 + size].view(dtype).reshape(shape)
    warp(images, maps, target, layout=layout)
    assert (room[:64] == NOISE_BYTE).all()
    assert (room[64 + size :] == NOISE_BYTE).all()
    expected = np.empty(shape, dtype)
    warp(images, maps, expected, layout=layout)
    np.testing.assert_array_equal(target, expected)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize("fill_mode", SLOW_MODES)
def test_no_byte_outside_is_read_or_written(fill_mode):
    script = Path(__file__).with_name("guarded_pages.py")
    done = subprocess.run(
        [sys.executable, str(script), fill_mode],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "untouched"


def test_float16_asks_the_processor_that_is_compiled_for():
    """A generic x86-64 has no float16 instructions: their use there was a crash."""
    code = (
        "import numpy as np; from fusewarp.kernels import warp;"
        "image = np.full((1, 9, 9, 3), 7, np.uint8); out = np.zeros(image.shape, np.float16);"
        "warp(image, np.eye(2, 3, dtype=np.float32)[None], out); print(int(out.min()))"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "7"), result.stderr
