import numpy as np
import pytest

from fusewarp import Augmenter, Policy
from fusewarp.engine.colour import colour_matrices
from fusewarp.engine.sampling import sample_parameters

PIXEL = np.array([200.0, 90.0, 30.0])


def matrix_of(policy: Policy, channels: int = 3, dtype=np.uint8, sample_id: int = 5):
    drawn = sample_parameters(policy, 3, 1, [sample_id])
    return drawn, colour_matrices(drawn, policy, channels, dtype)


def mapped(matrix: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    return matrix[0] @ [*pixel, 1.0]


def test_no_colour_option_means_no_matrix():
    assert matrix_of(Policy(rotation_range=30))[1] is None


def test_steps_in_their_stated_order():
    policy = Policy(
        brightness_range=(0.5, 1.5),
        contrast_range=(0.5, 1.5),
        saturation_range=(0.2, 2.0),
        channel_shift_range=40,
        rescale=1 / 255,
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.6, 0.7),
    )
    drawn, matrix = matrix_of(policy)
    pixel = PIXEL * drawn.brightness
    pixel = 127.5 + drawn.contrast * (pixel - 127.5)
    grey = pixel @ [0.299, 0.587, 0.114]
    pixel = grey + drawn.saturation * (pixel - grey)
    pixel = (pixel + drawn.channel_shift) / 255
    expected = (pixel - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(mapped(matrix, PIXEL), expected, rtol=1e-5)


def test_alpha_keeps_its_value_but_is_rescaled():
    policy = Policy(brightness_range=(2, 2), channel_shift_range=9, saturation_range=(0, 0))
    _, matrix = matrix_of(policy.replace(rescale=0.5), channels=4)
    pixel = np.array([10.0, 20.0, 30.0, 77.0])
    assert mapped(matrix, pixel)[3] == pytest.approx(77 / 2)
    assert mapped(matrix, pixel)[0] == pytest.approx(mapped(matrix, pixel)[2])


@pytest.mark.parametrize(
    ("dtype", "grey"), [(np.uint8, 127.5), (np.uint16, 32767.5), (np.float32, 127.5)]
)
def test_contrast_keeps_mid_grey(dtype, grey):
    _, matrix = matrix_of(Policy(contrast_range=(0.1, 0.2)), dtype=dtype)
    np.testing.assert_allclose(mapped(matrix, np.full(3, grey)), np.full(3, grey), rtol=1e-6)


def test_saturation_needs_colours():
    with pytest.raises(ValueError, match=r"saturation_range.*1 channel"):
        matrix_of(Policy(saturation_range=(0.5, 1)), channels=1)


def test_mean_needs_one_value_per_channel():
    with pytest.raises(ValueError, match=r"`mean` has 3 values for pictures of 1 channels"):
        matrix_of(Policy(mean=(1, 2, 3)), channels=1)


def test_reaches_the_pixels():
    images = np.full((1, 4, 5, 3), PIXEL, np.uint8)
    out = Augmenter(Policy(rescale=1 / 255, mean=0.5, std=0.25), threads=1).apply(images, [0])
    np.testing.assert_allclose(out[0, 2, 2], (PIXEL / 255 - 0.5) / 0.25, rtol=1e-5)
