"""The map of the drop-in against a plain matrix product, and its flips against reversed arrays."""

import numpy as np
import pytest

from fusewarp.integrations.keras.geometry import compose_inverse_maps, fold_flips, is_moved


def apply(inverse_map, row, col):
    return inverse_map @ [row, col, 1]


def test_neutral_parameters_give_the_exact_identity():
    maps = compose_inverse_maps([{}, {"theta": 0, "zx": 1}], 7, 10)
    np.testing.assert_array_equal(maps, [np.eye(3)[:2]] * 2)
    assert not is_moved({"flip_horizontal": 1, "brightness": 2.0})
    assert is_moved({"ty": 0.5})


@pytest.mark.parametrize("parameters", [{"theta": 33}, {"zx": 0.5, "zy": 3}, {"shear": 20}])
def test_the_centre_stays_where_it_is(parameters):
    inverse_map = compose_inverse_maps([parameters], 5, 9)[0]
    np.testing.assert_allclose(apply(inverse_map, 2, 4), [2, 4], atol=1e-12)


def test_the_swapped_pivot_is_keras_point():
    inverse_map = compose_inverse_maps([{"theta": 33}], 5, 9, swap_pivot=True)[0]
    np.testing.assert_allclose(apply(inverse_map, 4, 2), [4, 2], atol=1e-12)


def test_shift_is_turned_but_neither_sheared_nor_zoomed():
    inverse_map = compose_inverse_maps([{"theta": 90, "tx": 3, "zx": 2, "zy": 5}], 11, 11)[0]
    np.testing.assert_allclose(apply(inverse_map, 5, 5), [8, 5], atol=1e-12)


def test_flips_reverse_the_output_side():
    rng = np.random.default_rng(1)
    plain = rng.normal(size=(4, 2, 3))
    flips = [(0, 0), (1, 0), (0, 1), (1, 1)]  # vertical, horizontal
    folded = plain.copy()
    fold_flips(folded, np.array(flips, bool), 5, 8)
    for i, (vertical, horizontal) in enumerate(flips):
        row, col = (4 - 1 if vertical else 1), (7 - 6 if horizontal else 6)
        np.testing.assert_allclose(apply(folded[i], 1, 6), apply(plain[i], row, col), atol=1e-12)
