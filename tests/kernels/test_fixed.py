"""uint8 that stays uint8, in 16-bit fixed point: as near to the exact level as it says."""

import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite.binding import ffi
from numba import config

from fusewarp.kernels import warp
from fusewarp.kernels.fixed import has_rounded_products
from fusewarp.kernels.vector import NONE, kind_of_colours
from oracles import warp_reference as reference

if config.DISABLE_JIT or not has_rounded_products():
    pytest.skip("this processor takes the loops in float32", allow_module_level=True)

BYTE = np.dtype(np.uint8)
NOT_QUITE_HALF = 0.5 + 1 / 64
IDENTITY = np.eye(2, 3, dtype=np.float32)[np.newaxis]


@contextmanager
def held_by_another_thread(lock):
    is_held, may_go = threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            may_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    try:
        yield
    finally:
        may_go.set()
        thread.join()


def warped(images, maps, shape, **options):
    out = np.full(shape, 99, np.uint8)
    warp(images, maps, out, **options)
    return out


def distances(images, maps, out_shape, fill_mode, channels):
    """Return how far each level is from the exact one, where the exact one does not jump."""
    exact = reference.warp(images, maps, out_shape, fill_mode, "bilinear", 50.0)
    out = warped(images, maps, (len(maps), *out_shape, channels), fill_mode=fill_mode, cval=50.0)
    jumps = reference.near_jump(maps, images.shape[1:3], out_shape, fill_mode, "bilinear")
    return np.abs(out - exact)[~jumps]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(2, 40), st.integers(2, 40)),
    st.tuples(st.integers(1, 12), st.integers(1, 70)),
    st.sampled_from(["nearest", "constant"]),
    st.sampled_from([3, 4]),
)
def test_each_level_is_the_nearest_or_a_64th_from_it(seed, shape, out_shape, fill_mode, channels):
    rng = np.random.default_rng(seed)
    images = reference.random_images(rng, (2, *shape, channels), "uint8")
    maps = reference.random_inverse_maps(rng, 2, shape, out_shape)
    away = distances(images, maps, out_shape, fill_mode, channels)
    assert away.size == 0 or away.max() <= NOT_QUITE_HALF


@pytest.mark.parametrize("fill_mode", ["reflect", "mirror", "wrap"])
def test_every_other_fill_mode_is_as_near(fill_mode):
    rng = np.random.default_rng(4)
    images = reference.random_images(rng, (8, 31, 37, 3), "uint8")
    maps = reference.random_inverse_maps(rng, 8, (31, 37), (20, 100))
    away = distances(images, maps, (20, 100), fill_mode, 3)
    assert away.size > 40_000
    assert away.max() <= NOT_QUITE_HALF


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("flip", [(1, 1), (1, -1), (-1, 1)])
def test_whole_pixels_are_themselves(channels, flip):
    rng = np.random.default_rng(5)
    images = rng.choice([0, 1, 254, 255], (2, 19, 23, channels)).astype(np.uint8)
    maps = np.zeros((2, 2, 3), np.float32)
    for axis, size in enumerate((19, 23)):
        maps[:, axis, axis] = flip[axis]
        maps[:, axis, 2] = 0 if flip[axis] == 1 else size - 1
    expected = images[:, :: flip[0], :: flip[1]]
    np.testing.assert_array_equal(warped(images, maps, images.shape), expected)


def test_halves_go_up():
    levels = np.arange(256, dtype=np.uint8)
    pairs = np.stack(np.meshgrid(levels, levels, indexing="ij"), -1).reshape(1, -1, 2)
    images = np.repeat(pairs[..., np.newaxis], 3, -1)  # every pair of neighbours there is
    maps = np.array([[[1, 0, 0], [0, 1, 0.5]]], np.float32)
    middle = warped(images, maps, images.shape)[0, :, 0, 0]
    np.testing.assert_array_equal(middle, np.floor(pairs[0].mean(-1) + 0.5))


@pytest.mark.parametrize(("cval", "level"), [(49.5, 50), (49.4, 49), (-3.0, 0), (300.0, 255)])
def test_outside_is_the_nearest_level_to_cval(cval, level):
    images = np.full((1, 5, 6, 3), 7, np.uint8)
    maps = IDENTITY + np.float32([[[0, 0, 100], [0, 0, 0]]])
    out = warped(images, maps, (1, 5, 6, 3), fill_mode="constant", cval=cval)
    np.testing.assert_array_equal(out, level)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_at_the_end_of_memory_comes_out_the_same(channels, layout):
    """There its pixels go one by one; before another picture, by pairs."""
    rng = np.random.default_rng(6)
    images = reference.random_images(rng, (2, 14, 15, channels), "uint8")
    maps = np.repeat(reference.random_inverse_maps(rng, 1, (14, 15), (20, 33)), 2, 0)
    shape = (2, 20, 33, channels) if layout == "HWC" else (2, channels, 20, 33)
    first, _ = warped(images, maps, shape, layout=layout)
    (alone,) = warped(images[:1], maps[:1], (1, *shape[1:]), layout=layout)
    np.testing.assert_array_equal(first, alone)


def test_a_colour_matrix_that_changes_nothing_is_not_looked_at():
    """Else a picture would hang on the matrices of the others in its batch."""
    same, other = (np.eye(3, 4, dtype=np.float32)[np.newaxis] * k for k in (1, 2))
    assert kind_of_colours(None, BYTE, BYTE) == NONE
    assert kind_of_colours(same, BYTE, BYTE) == kind_of_colours(other, BYTE, BYTE) != NONE
    assert kind_of_colours(None, BYTE, np.dtype(np.float32)) != NONE


def test_processors_without_the_instruction_take_float32():
    code = (
        "import numpy as np; from fusewarp.kernels import warp, fixed;"
        "image = np.arange(243, dtype=np.uint8).reshape(1, 9, 9, 3); out = image * 0;"
        "warp(image, np.eye(2, 3, dtype=np.float32)[None], out);"
        "print(fixed.has_rounded_products(), (out == image).all())"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["False", "True"], result.stderr


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_another_thread_compiles_can_warp():
    """LLVM's lock is then held for ever in the child; a warp that is compiled must not take it."""
    images = np.arange(243, dtype=np.uint8).reshape(1, 9, 9, 3)
    warped(images, IDENTITY, images.shape)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=warped, args=(images, IDENTITY, images.shape))
    with held_by_another_thread(ffi.lib._lock):
        child.start()
    child.join(20)
    hangs = child.exitcode is None
    child.kill()
    assert not hangs
    assert child.exitcode == 0
