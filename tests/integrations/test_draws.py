"""The drop-in draws what Keras draws, from the same generator, in the same order."""

import numpy as np
import pytest

from fusewarp.integrations.keras.draws import draw_transforms
from fusewarp.integrations.keras.geometry import Transforms
from fusewarp.keras import ImageDataGenerator
from oracles.keras_generator import KerasGenerator, random_options


def swap_shifts(parameters):
    return parameters | {"tx": parameters["ty"], "ty": parameters["tx"]}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_parameters_equal_keras_for_many_configurations(data_format):
    rng = np.random.default_rng(0)
    shape = (40, 100, 3) if data_format == "channels_last" else (3, 40, 100)
    for seed in range(150):
        options = random_options(rng) | {"data_format": data_format}
        theirs = KerasGenerator(**options).get_random_transform(shape, seed)
        state = np.random.get_state()[1:3]
        ours = ImageDataGenerator(**options, quirks="keras").get_random_transform(shape, seed)
        assert ours == theirs, options
        assert list(map(type, ours.values())) == list(map(type, theirs.values())), options
        np.testing.assert_equal(np.random.get_state()[1:3], state)
        mended = ImageDataGenerator(**options).get_random_transform(shape, seed)
        assert mended == swap_shifts(theirs), options


@pytest.mark.parametrize("limit", [True, 1, -3, [-1, -2], np.float64(0.25), 1.0, 0.999, (0.1, 0.3)])
def test_odd_shift_ranges_mean_what_they_mean_to_keras(limit):
    options = {"width_shift_range": limit, "height_shift_range": limit}
    for seed in range(5):
        theirs = KerasGenerator(**options).get_random_transform((50, 70, 3), seed)
        ours = ImageDataGenerator(**options, quirks="keras").get_random_transform((50, 70, 3), seed)
        assert ours == theirs


def test_ranges_changed_on_a_live_generator_take_effect():
    generator = ImageDataGenerator()
    assert generator.get_random_transform((8, 9, 3), 1)["theta"] == 0
    generator.rotation_range = 30
    expected = KerasGenerator(rotation_range=30).get_random_transform((8, 9, 3), 1)
    assert generator.get_random_transform((8, 9, 3), 1) == expected


def test_flips_take_two_draws_also_when_off():
    np.random.seed(5)
    ImageDataGenerator().get_random_transform((8, 9, 3))
    after = np.random.random()
    np.random.seed(5)
    assert after == np.random.random(3)[2]


def test_a_list_of_degrees_is_refused_when_drawn():
    with pytest.raises(TypeError):
        ImageDataGenerator(rotation_range=[10, 20]).get_random_transform((8, 9, 3))


@pytest.mark.parametrize("quirks", ["none", "keras"])
def test_a_batch_of_draws_is_the_draws_one_by_one(quirks):
    rng = np.random.default_rng(4)
    for seed in range(60):
        options = random_options(rng) | {"quirks": quirks}
        generator = ImageDataGenerator(**options)
        np.random.seed(seed)
        one_by_one = [generator.get_random_transform((40, 100, 3)) for _ in range(5)]
        state = np.random.get_state()[1:3]
        np.random.seed(seed)
        drawn, expected = draw_transforms(generator, 40, 100, 5), Transforms.of(one_by_one)
        for name, values in vars(drawn).items():
            np.testing.assert_array_equal(values, getattr(expected, name), f"{name} {options}")
        np.testing.assert_equal(np.random.get_state()[1:3], state)


def test_overridden_draws_are_used():
    class Still(ImageDataGenerator):
        def get_random_transform(self, img_shape, seed=None):
            return {"flip_horizontal": 1}

    images = np.arange(2 * 3 * 4 * 1, dtype=np.uint8).reshape(2, 3, 4, 1)
    batch = next(Still(rotation_range=90).flow(images, shuffle=False))
    np.testing.assert_array_equal(batch, images[:, :, ::-1])
