"""Picked pixels against NumPy's indexing."""

import numpy as np
import pytest

from fusewarp.kernels.grid import take_grid


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_are_those_of_fancy_indexing(channels, dtype):
    image = np.random.default_rng(0).integers(0, 200, (5, 7, channels)).astype(dtype)
    rows, cols = np.array([4, 0, 0, 2]), np.array([6, 1, 0])
    out = np.full((4, 3, channels), 255, dtype)
    take_grid(image, rows, cols, out)
    np.testing.assert_array_equal(out, image[rows[:, None], cols])


def test_what_does_not_fit_is_refused():
    image, places = np.zeros((5, 7, 3), np.uint8), np.arange(3)
    with pytest.raises(ValueError, match="`out` must be uint8 of shape"):
        take_grid(image, places, places, np.zeros((3, 2, 3), np.uint8))
    with pytest.raises(IndexError, match=r"`rows` must lie in 0\.\.4"):
        take_grid(image, places + 3, places, np.zeros((3, 3, 3), np.uint8))
