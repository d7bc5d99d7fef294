"""`fit_maps` against the NumPy definition of the engine, to the last bit."""

import numpy as np
import pytest

from fusewarp.engine.affine import source_maps
from fusewarp.kernels.fitting import fit_maps

SIZE = (120, 90)


def random_frames(rng, count):
    return rng.normal(0, 1, (count, 2, 3)) * [1, 1, 40]


def test_maps_equal_those_of_the_engine_to_the_last_bit():
    rng = np.random.default_rng(0)
    frame, sizes = random_frames(rng, 50), rng.integers(1, 3000, (50, 2))
    factors, fitted, maps = fit_maps(frame, SIZE, np.full((50, 2), np.inf), sizes, sizes)
    assert factors is None
    np.testing.assert_array_equal(fitted, sizes)
    np.testing.assert_array_equal(maps, source_maps(frame, SIZE, sizes))


def test_maps_to_reduced_sources_see_what_is_shown_and_no_more():
    """375 rows reduced by 4 are 94, of which the last shows three rows: 93.75."""
    rng = np.random.default_rng(1)
    frame, sizes = random_frames(rng, 50), rng.integers(100, 3000, (50, 2))
    useful = rng.uniform(20, 200, (50, 2))
    before = sizes.copy()
    factors, fitted, maps = fit_maps(frame, SIZE, useful, sizes, sizes)
    np.testing.assert_array_equal(sizes, before)
    assert len(np.unique(factors)) > 4
    np.testing.assert_array_equal(fitted, -(-sizes // factors))
    np.testing.assert_array_equal(maps, source_maps(frame, SIZE, sizes / factors))
    point = np.array([17.0, 33.0, 1.0])
    whole = source_maps(frame, SIZE, sizes) @ point
    np.testing.assert_allclose((maps @ point + 0.5) * factors - 0.5, whole, atol=1e-2)


def test_extents_count_and_not_sizes():
    frame, sizes = random_frames(np.random.default_rng(2), 1), np.array([[188, 250]])
    extents = np.array([[187.5, 250.0]])
    _, _, maps = fit_maps(frame, SIZE, np.full((1, 2), np.inf), sizes, extents)
    np.testing.assert_array_equal(maps, source_maps(frame, SIZE, extents))
    assert extents.tolist() == [[187.5, 250.0]]


def test_factors_are_the_largest_power_of_two_that_leaves_a_step_of_one():
    room = np.array([[0.4, 1], [1.99, 2], [2 - 1e-12, 3.99], [4, 7.9], [8, 255], [700, 1e9]])
    sizes = np.full((6, 2), 1000)
    frame, useful = np.zeros((6, 2, 3)), np.full((6, 2), 120.0)
    factors, _, _ = fit_maps(frame, SIZE, useful, sizes, room * 120)
    assert factors.tolist() == [[1, 1], [1, 2], [2, 2], [4, 4], [8, 128], [256, 256]]


@pytest.mark.parametrize("useful", [np.inf, 501.0])
def test_nothing_to_reduce_is_none(useful):
    sizes = np.full((3, 2), 1000)
    factors, _, _ = fit_maps(np.zeros((3, 2, 3)), SIZE, np.full((3, 2), useful), sizes, sizes)
    assert factors is None
