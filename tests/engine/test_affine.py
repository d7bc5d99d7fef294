import numpy as np
import pytest

from fusewarp import Augmenter, Policy
from fusewarp.engine.affine import frame_maps, source_maps
from fusewarp.engine.sampling import Parameters, sample_parameters

SIZE = (7, 9)


def parameters(**changes: float) -> Parameters:
    """One picture's parameters, neutral but for the changes."""
    neutral = dict.fromkeys(Parameters.__dataclass_fields__, 0.0)
    neutral |= dict.fromkeys(("zoom_row", "zoom_col", "brightness", "contrast", "saturation"), 1.0)
    neutral |= changes
    flips = ("flip_horizontal", "flip_vertical")
    return Parameters(
        **{k: np.array([v], bool if k in flips else float) for k, v in neutral.items()}
    )


def map_point(policy: Policy, point, size=SIZE, source_size=SIZE, **changes) -> np.ndarray:
    frame = frame_maps(parameters(**changes), policy, size)
    return source_maps(frame, size, [source_size])[0] @ [*point, 1.0]


def test_neutral_parameters_are_the_identity():
    maps = source_maps(frame_maps(parameters(), Policy(), SIZE), SIZE, [SIZE])
    np.testing.assert_array_equal(maps[0], [[1, 0, 0], [0, 1, 0]])


def test_every_map_keeps_the_centre_when_nothing_is_shifted():
    drawn = parameters(angle=33, shear=12, zoom_row=0.7, zoom_col=1.4, flip_horizontal=1)
    frame = frame_maps(drawn, Policy(), SIZE)
    centre = source_maps(frame, SIZE, [(20, 31)])[0] @ [3.0, 4.0, 1.0]
    np.testing.assert_allclose(centre, [9.5, 15.0], atol=1e-5)


def test_positive_angle_turns_the_content_counter_clockwise():
    """What stood at the right edge shows at the top: the output's top reads the source's right."""
    np.testing.assert_allclose(map_point(Policy(), (1, 4), angle=90), [3, 6], atol=1e-6)


def test_positive_shear_moves_rows_below_the_centre_right():
    row_below = map_point(Policy(), (5, 4), shear=30)
    assert row_below[1] == pytest.approx(4 - 2 * np.sin(np.deg2rad(30)))


def test_zoom_above_one_shrinks_the_content():
    np.testing.assert_allclose(map_point(Policy(), (4, 6), zoom_row=2, zoom_col=3), [5, 10])


def test_shift_below_one_is_a_fraction_of_its_own_side():
    policy = Policy(width_shift_range=0.5, height_shift_range=0.5)
    moved = map_point(policy, (3, 4), shift_row=1 / 7, shift_col=-1 / 9)
    np.testing.assert_allclose(moved, [2, 5], atol=1e-6)  # content moved down 1 and left 1


def test_shift_from_one_on_is_pixels():
    policy = Policy(width_shift_range=3.0)
    np.testing.assert_allclose(map_point(policy, (3, 4), shift_col=2.0), [3, 2], atol=1e-6)


def test_shift_is_in_output_pixels_whatever_the_rotation_and_zoom():
    policy = Policy(width_shift_range=3.0, rotation_range=90, zoom_range=0.5)
    changes = {"angle": 50, "zoom_row": 1.3, "zoom_col": 0.6}
    moved = map_point(policy, (3, 4 + 2), shift_col=2.0, **changes)
    np.testing.assert_allclose(moved, [3, 4], atol=1e-6)


def test_flips_mirror_what_the_rest_made():
    changes = {"angle": 20, "shear": 5, "shift_col": 2.0, "zoom_row": 1.2}
    policy = Policy(width_shift_range=3.0)
    plain = map_point(policy, (1, 2), **changes)
    flipped = map_point(policy, (1, 6), flip_horizontal=1, **changes)
    np.testing.assert_allclose(flipped, plain, atol=1e-5)
    both = map_point(policy, (5, 6), flip_horizontal=1, flip_vertical=1, **changes)
    np.testing.assert_allclose(both, plain, atol=1e-5)


def test_resize_has_half_pixel_centres():
    """Halving 14 x 18: output pixel 0 covers source pixels 0 and 1, so reads at 0.5."""
    np.testing.assert_allclose(map_point(Policy(), (0, 0), source_size=(14, 18)), [0.5, 0.5])
    np.testing.assert_allclose(map_point(Policy(), (6, 8), source_size=(14, 18)), [12.5, 16.5])


def test_composition_equals_its_factors_one_by_one():
    """Shears, rotations ... as 3 x 3 matrices about the origin, multiplied in the stated order."""
    drawn = {"angle": 25.0, "shear": -8.0, "zoom_row": 0.9, "zoom_col": 1.2, "shift_row": 1.5}
    turn, lean = np.deg2rad(25.0), np.deg2rad(-8.0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    shear = np.array([[np.cos(lean), 0], [-np.sin(lean), 1]])
    zoom = np.diag([0.9, 1.2])
    expected = rotation @ shear @ zoom @ (np.array([2.0, 7.0]) - [3, 4] - [1.5, 0]) + [3, 4]
    policy = Policy(height_shift_range=2.0)
    np.testing.assert_allclose(map_point(policy, (2, 7), **drawn), expected, atol=1e-5)


def test_pixels_follow_the_stated_directions():
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 7] = 200  # right of the centre
    seeds = range(30)
    policy = Policy(rotation_range=90)
    for seed in seeds:
        augmenter = Augmenter(policy, seed=seed, dtype="uint8", threads=1)
        turned = augmenter.apply(image, [0])[0, :, :, 0]
        brightest_row = np.unravel_index(turned.argmax(), turned.shape)[0]
        angle = augmenter.explain(0)["angle"]
        if abs(angle) > 25:
            assert (brightest_row < 4) == (angle > 0)


def test_draws_stay_inside_their_ranges_and_reach_both_ends():
    policy = Policy(rotation_range=30, shear_range=10, zoom_range=(0.8, 1.2), width_shift_range=0.1)
    drawn = sample_parameters(policy, 1, 2, np.arange(5000))
    for values, low, high in [
        (drawn.angle, -30, 30),
        (drawn.shear, -10, 10),
        (drawn.zoom_row, 0.8, 1.2),
        (drawn.zoom_col, 0.8, 1.2),
        (drawn.shift_col, -0.1, 0.1),
    ]:
        width = high - low
        assert low <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high
    assert not drawn.shift_row.any()
    assert not drawn.flip_vertical.any()
    assert abs(np.corrcoef(drawn.zoom_row, drawn.zoom_col)[0, 1]) < 0.05


def test_keep_aspect_draws_one_zoom():
    drawn = sample_parameters(Policy(zoom_range=0.3, zoom_keep_aspect=True), 0, 0, np.arange(9))
    np.testing.assert_array_equal(drawn.zoom_row, drawn.zoom_col)


def test_an_option_switched_on_leaves_the_other_draws():
    plain = sample_parameters(Policy(rotation_range=30), 0, 0, np.arange(9))
    more = sample_parameters(
        Policy(rotation_range=30, zoom_range=0.2, vertical_flip=True), 0, 0, np.arange(9)
    )
    np.testing.assert_array_equal(plain.angle, more.angle)
    assert more.flip_vertical.any()
