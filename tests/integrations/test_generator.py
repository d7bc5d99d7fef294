"""`ImageDataGenerator` against Keras' own: pixels, directions, standardisation, errors."""

import re

import numpy as np
import pytest

import fusewarp.keras
from fusewarp.integrations.keras.geometry import compose_inverse_maps
from fusewarp.keras import ImageDataGenerator
from oracles.keras_generator import (
    FILL_MODES,
    KerasGenerator,
    allowed_error,
    as_keras,
    is_tie,
    random_options,
)


def noise(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(dtype)


def compare_transform(options, image, parameters, fill_mode, order=1):
    """Demand Keras' pixels off ties; a tie may go either way, and there are few."""
    options = options | {"fill_mode": fill_mode, "interpolation_order": order, "cval": 31.5}
    with as_keras():
        theirs = KerasGenerator(**options).apply_transform(image.copy(), parameters)
    ours = ImageDataGenerator(**options, quirks="keras").apply_transform(image, parameters)
    assert ours.dtype == theirs.dtype
    axis = 0 if options["data_format"] == "channels_first" else 2
    height, width = np.delete(image.shape, axis)
    inverse_map = compose_inverse_maps([parameters], height, width, swap_pivot=True)[0]
    tie = is_tie(inverse_map, height, width, fill_mode, order)
    tie = tie[:, ::-1] if parameters["flip_horizontal"] else tie
    tie = tie[::-1] if parameters["flip_vertical"] else tie
    error = abs(np.moveaxis(ours - theirs, axis, -1))
    assert error[~tie].max(initial=0) <= allowed_error(parameters), (options, parameters)
    if parameters["brightness"] is None:
        assert np.mean(error > 1) < 0.02


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("shape", [(24, 24, 3), (23, 35, 3), (34, 21, 1)])
def test_transform_equals_keras_for_many_configurations(fill_mode, shape):
    rng = np.random.default_rng(len(fill_mode) + shape[1])
    for seed in range(25):
        options = random_options(rng) | {"data_format": "channels_last"}
        order = int(rng.integers(2))
        parameters = KerasGenerator(**options).get_random_transform(shape, seed)
        compare_transform(options, noise(shape, seed), parameters, fill_mode, order)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_transform_equals_keras_with_channels_first(fill_mode):
    rng = np.random.default_rng(8)
    for seed in range(20):
        options = random_options(rng) | {"data_format": "channels_first"}
        options.pop("brightness_range", None)  # Keras cannot do it
        parameters = KerasGenerator(**options).get_random_transform((3, 22, 31), seed)
        compare_transform(options, noise((3, 22, 31), seed), parameters, fill_mode)


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("fill_mode", ["nearest", "wrap", "grid-wrap"])
def test_spline_orders_equal_keras(order, fill_mode):
    options = {"rotation_range": 40, "zoom_range": 0.3, "horizontal_flip": True}
    options["data_format"] = "channels_last"
    parameters = KerasGenerator(**options).get_random_transform((19, 26, 3), 11)
    compare_transform(options, noise((19, 26, 3)), parameters, fill_mode, order)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64, np.int32])
def test_transform_keeps_the_dtype_and_keras_rounding(dtype):
    options = {"rotation_range": 40, "shear_range": 9, "quirks": "keras"}
    image = noise((19, 26, 3)).astype(dtype)
    ours = ImageDataGenerator(**options).random_transform(image, seed=3)
    options.pop("quirks")
    with as_keras():
        theirs = KerasGenerator(**options).random_transform(image, seed=3)
    assert ours.dtype == theirs.dtype == dtype
    difference = abs(ours.astype(float) - theirs.astype(float))
    if np.dtype(dtype).kind == "f":
        assert difference.max() < 0.005
    else:  # a level at .5 may round either way
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 0.001


def test_quirkless_result_is_keras_on_square_images_without_shift():
    options = {"rotation_range": 40, "zoom_range": 0.3, "shear_range": 9, "vertical_flip": True}
    image = noise((25, 25, 3))
    with as_keras():
        theirs = KerasGenerator(**options).random_transform(image, seed=3)
    np.testing.assert_allclose(
        ImageDataGenerator(**options).random_transform(image, seed=3), theirs, atol=0.005
    )


def spot(height=7, width=11, row=3, col=5):
    image = np.zeros((height, width, 1), np.float32)
    image[row, col] = 200
    return image


def place_of_spot(image):
    return np.unravel_index(np.argmax(image), image.shape)[:2]


def test_width_shift_moves_sideways_and_height_shift_up_and_down():
    for seed in range(4):  # [2] picks 2 with either sign
        sideways = ImageDataGenerator(width_shift_range=[2]).random_transform(spot(), seed)
        assert place_of_spot(sideways) in [(3, 3), (3, 7)]
        upright = ImageDataGenerator(height_shift_range=[2]).random_transform(spot(), seed)
        assert place_of_spot(upright) in [(1, 5), (5, 5)]


def test_width_shift_is_a_fraction_of_the_width():
    drawn = [
        ImageDataGenerator(width_shift_range=0.5).get_random_transform((10, 1000, 3), seed)
        for seed in range(50)
    ]
    assert 300 < max(abs(parameters["tx"]) for parameters in drawn) < 500
    assert {parameters["ty"] for parameters in drawn} == {0}


def test_keras_quirk_moves_the_height_shift_sideways():
    generator = ImageDataGenerator(height_shift_range=[2], quirks="keras")
    assert place_of_spot(generator.random_transform(spot(), 0)) in [(3, 3), (3, 7)]


def test_directions():
    generator = ImageDataGenerator()

    def moved(**parameters):
        return place_of_spot(generator.apply_transform(spot(row=3, col=8), parameters))

    assert moved(tx=1) == (3, 7)  # left
    assert moved(ty=1) == (2, 8)  # up
    assert moved(theta=90) == (0, 5)  # counter-clockwise: right goes to the top
    assert moved(flip_horizontal=1) == (3, 2)
    assert place_of_spot(generator.apply_transform(spot(row=1), {"flip_vertical": 1})) == (5, 5)


@pytest.mark.parametrize("parameters", [{"theta": 180}, {"zx": 0.5, "zy": 0.5}, {"shear": 30}])
def test_the_pivot_is_the_centre_of_an_image_that_is_not_square(parameters):
    generator = ImageDataGenerator(fill_mode="constant")
    assert place_of_spot(generator.apply_transform(spot(), parameters)) == (3, 5)
    quirky = ImageDataGenerator(fill_mode="constant", quirks="keras")
    assert place_of_spot(quirky.apply_transform(spot(), parameters)) != (3, 5)


def test_the_environment_switches_the_quirks_on(monkeypatch):
    monkeypatch.setenv("FUSEWARP_QUIRKS", "keras")
    assert ImageDataGenerator().quirks == "keras"
    assert ImageDataGenerator(quirks="none").quirks == "none"
    monkeypatch.setenv("FUSEWARP_QUIRKS", "kreas")
    with pytest.raises(ValueError, match="`FUSEWARP_QUIRKS` must be one of 'none', 'keras'"):
        ImageDataGenerator()


def test_quirks_are_keyword_only_behind_keras_own_arguments():
    with pytest.raises(TypeError):
        ImageDataGenerator(*[False] * 4, *[None] * 20)


def test_nothing_to_do_returns_the_same_object_and_flips_a_view():
    image = noise((5, 6, 3))
    generator = ImageDataGenerator()
    assert generator.apply_transform(image, {"unknown": 3}) is image
    flipped = generator.apply_transform(image, {"flip_horizontal": 1, "flip_vertical": 1})
    assert np.shares_memory(flipped, image)
    np.testing.assert_array_equal(flipped, image[::-1, ::-1])
    before = image.copy()
    generator.apply_transform(image, {"theta": 20, "brightness": 2.0})
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("low_high", [(0, 255), (0, 300), (-20, 255), (0, 1), (-5, -5), (7, 7)])
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.6, -0.5])
def test_brightness_equals_keras_exactly(channels, low_high, factor):
    image = np.random.default_rng(0).uniform(*low_high, (9, 13, channels)).astype(np.float32)
    theirs = KerasGenerator().apply_transform(image, {"brightness": factor})
    ours = ImageDataGenerator().apply_transform(image, {"brightness": factor})
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_brightness_works_with_channels_first():
    image = noise((3, 9, 13))
    ours = ImageDataGenerator(data_format="channels_first").apply_transform(
        image, {"brightness": 1.3}
    )
    expected = KerasGenerator().apply_transform(image.transpose(1, 2, 0), {"brightness": 1.3})
    np.testing.assert_array_equal(ours, expected.transpose(2, 0, 1))


def test_channel_shift_equals_keras_exactly():
    for image in (noise((9, 13, 3)), noise((9, 13, 3), dtype=np.uint8)):
        parameters = {"channel_shift_intensity": -33.3}
        ours = ImageDataGenerator().apply_transform(image, parameters)
        theirs = KerasGenerator().apply_transform(image, parameters)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def add_one(image):
    return image + 1


STANDARDIZATIONS = [
    {"rescale": 1 / 255},
    {"preprocessing_function": add_one, "rescale": 0.5},
    {"samplewise_center": True},
    {"samplewise_center": True, "samplewise_std_normalization": True, "rescale": 0.1},
    {"featurewise_center": True, "rescale": 0.1},
    {"featurewise_center": True, "featurewise_std_normalization": True},
    {"featurewise_center": True, "zca_whitening": True, "rescale": 0.01},
]


def fitted_pair(options, images, **fit):
    ours, theirs = ImageDataGenerator(**options, quirks="keras"), KerasGenerator(**options)
    ours.fit(images, **fit)
    with as_keras():
        theirs.fit(images, **fit)
    return ours, theirs


@pytest.mark.parametrize("options", STANDARDIZATIONS)
def test_standardize_equals_keras_in_place_too(options):
    ours, theirs = fitted_pair(options, noise((60, 4, 3, 3)))
    image = noise((4, 3, 3), seed=1)
    mine, other = image.copy(), image.copy()
    np.testing.assert_allclose(ours.standardize(mine), theirs.standardize(other), atol=2e-3)
    np.testing.assert_allclose(mine, other, atol=1e-4)  # changed in place, or left, alike
    batch = noise((5, 4, 3, 3), seed=2)
    np.testing.assert_allclose(
        ours.standardize(batch.copy()), theirs.standardize(batch.copy()), atol=2e-3
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_fit_equals_keras(data_format, dtype):
    options = {
        "featurewise_center": True,
        "featurewise_std_normalization": True,
        "data_format": data_format,
        "rescale": 1 / 255,
    }
    shape = (30, 9, 7, 3) if data_format == "channels_last" else (30, 3, 9, 7)
    ours, theirs = fitted_pair(options, noise(shape).astype(dtype))
    assert ours.mean.shape == theirs.mean.shape
    assert ours.mean.dtype == theirs.mean.dtype == np.float32
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-5)  # theirs: float32 sums
    np.testing.assert_allclose(ours.std, theirs.std, rtol=1e-5)


def test_fit_in_chunks_is_fit_at_once(monkeypatch):
    options = {"featurewise_center": True, "featurewise_std_normalization": True}
    images = noise((23, 9, 7, 3)) + np.linspace(0, 900, 23, dtype=np.float32)[:, None, None, None]
    whole, chunked = ImageDataGenerator(**options), ImageDataGenerator(**options)
    whole.fit(images)
    monkeypatch.setattr("fusewarp.integrations.keras.statistics._CHUNK_BYTES", 5 * 9 * 7 * 3 * 8)
    chunked.fit(images)
    np.testing.assert_allclose(whole.mean.ravel(), images.astype(float).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(whole.std.ravel(), images.astype(float).std((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(chunked.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(chunked.std, whole.std, rtol=1e-6)


def test_fit_augmented_draws_and_sums_what_keras_does():
    options = {"featurewise_center": True, "featurewise_std_normalization": True}
    options |= {"rotation_range": 30, "width_shift_range": 0.2, "horizontal_flip": True}
    ours, theirs = fitted_pair(options, noise((9, 11, 14, 3)), augment=True, rounds=3, seed=5)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-5)
    np.testing.assert_allclose(ours.std, theirs.std, rtol=1e-5)


def test_fit_augmented_calls_an_overridden_random_transform():
    class Negative(ImageDataGenerator):
        def random_transform(self, x, seed=None):
            return -x

    generator, images = Negative(featurewise_center=True), noise((5, 6, 7, 3))
    generator.fit(images, augment=True)
    np.testing.assert_allclose(generator.mean.ravel(), -images.mean((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("count", [200, 20])  # more and fewer images than values (36)
def test_zca_matrix_equals_keras(count):
    options = {"zca_whitening": True, "featurewise_center": True, "zca_epsilon": 1e-3}
    ours, theirs = fitted_pair(options, noise((count, 4, 3, 3)) / 255)
    assert ours.zca_whitening_matrix.dtype == np.float32  # Keras': NumPy 2 makes it float64
    np.testing.assert_allclose(ours.zca_whitening_matrix, theirs.zca_whitening_matrix, atol=2e-3)


def test_missing_statistics_warn_and_are_skipped():
    generator = ImageDataGenerator(featurewise_center=True)
    with pytest.warns(UserWarning, match="hasn't been fit on any training data"):
        result = generator.standardize(np.full((2, 2, 3), 7.0))
    np.testing.assert_array_equal(result, 7)


def test_preprocessing_function_without_return_is_named():
    generator = ImageDataGenerator(preprocessing_function=lambda image: None)
    with pytest.raises(TypeError, match="`preprocessing_function` returned None"):
        generator.standardize(noise((4, 4, 3)))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_brightness_of_saturated_pictures_equals_keras(channels, dtype):
    """A level of 255.00003 would be stretched: another picture altogether."""
    images = noise((6, 20, 27, channels), dtype=dtype)
    images[:, 4:15] = 255
    images[3:] = 255
    options = {"rotation_range": 30, "zoom_range": 0.3, "brightness_range": (0.4, 0.9)}
    ours = ImageDataGenerator(**options, quirks="keras").flow(images, seed=1)
    theirs = KerasGenerator(**options).flow(images, seed=1)
    with as_keras():
        error = abs(next(ours) - next(theirs))
    assert error.max() <= 1
    assert np.mean(error > 0) < 1e-3


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_statistics_of_an_integer_dtype_are_refused_as_in_keras(dtype):
    for kind in (ImageDataGenerator, KerasGenerator):
        with pytest.raises(TypeError):
            kind(featurewise_center=True, dtype=dtype).fit(noise((5, 6, 7, 3)))


@pytest.mark.parametrize("cval", [None, "a", [1, 2]])
def test_a_cval_that_is_no_number_is_refused(cval):
    with pytest.raises(TypeError, match="`cval` must be a number"):
        ImageDataGenerator(cval=cval)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_format": "channels_middle"}, "`data_format` should be"),
        ({"validation_split": 1.0}, "strictly between 0 and 1"),
        ({"validation_split": -0.1}, "strictly between 0 and 1"),
        ({"zoom_range": (1, 2, 3)}, "`zoom_range` should be a float or"),
        ({"zoom_range": ("a", "b")}, "`zoom_range` should be a float or"),
        ({"brightness_range": 0.5}, "tuple or list of two floats"),
        ({"brightness_range": np.array([0.5, 1.5])}, "tuple or list of two floats"),
        ({"brightness_range": (1, 2, 3)}, "tuple or list of two floats"),
    ],
)
def test_errors_of_keras_are_errors_here(options, message):
    with pytest.raises(ValueError):  # noqa: PT011 -- its words are Keras' own
        KerasGenerator(**options)
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageDataGenerator(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill_mode": "neerest"}, "`fill_mode` must be one of 'constant', 'nearest', 'reflect'"),
        ({"interpolation_order": 6}, "`interpolation_order` must be one of 0, 1, 2, 3, 4, 5"),
        ({"quirks": "torch"}, "`quirks` must be one of 'none', 'keras'. Received: 'torch'"),
        ({"threads": 0}, "`threads` must be"),
    ],
)
def test_what_keras_notices_late_is_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageDataGenerator(**options)


@pytest.mark.parametrize(
    ("options", "loser", "value"),
    [
        ({"zca_whitening": True}, "featurewise_center", True),
        ({"featurewise_std_normalization": True}, "featurewise_center", True),
        ({"samplewise_std_normalization": True}, "samplewise_center", True),
    ],
)
def test_overriding_options_warn_as_in_keras(options, loser, value):
    with pytest.warns(UserWarning, match=f"overrides setting of `{loser}`"):
        generator = ImageDataGenerator(**options)
    assert getattr(generator, loser) is value


def test_zca_switches_featurewise_std_off():
    with pytest.warns(UserWarning, match="overrides setting of `featurewise_std_normalization`"):
        generator = ImageDataGenerator(
            featurewise_center=True, featurewise_std_normalization=True, zca_whitening=True
        )
    assert generator.featurewise_std_normalization is False


OWN_ARGUMENTS = {"quirks", "threads", "prefetch", "augment_validation"}


def test_attributes_are_those_of_keras():
    theirs = vars(KerasGenerator(zoom_range=0.2, validation_split=0.3))
    ours = vars(ImageDataGenerator(zoom_range=0.2, validation_split=0.3))
    assert {name: ours[name] for name in theirs} == theirs
    assert {name for name in set(ours) - set(theirs) if name[0] != "_"} == OWN_ARGUMENTS


def test_apply_transform_and_fit_refuse_other_ranks():
    with pytest.raises(ValueError, match=re.escape("got shape (5, 6)")):
        ImageDataGenerator().apply_transform(np.zeros((5, 6)), {})
    with pytest.raises(
        ValueError, match=re.escape("should have rank 4. Got array with shape: (5,")
    ):
        ImageDataGenerator().fit(np.zeros((5, 6, 3)))
    with pytest.raises(ValueError, match="no images"):
        ImageDataGenerator().fit(np.zeros((0, 5, 6, 3)))
    with pytest.warns(UserWarning, match="2 channels"):
        ImageDataGenerator().fit(np.zeros((3, 5, 6, 2)))


def test_every_public_name_is_there():
    assert fusewarp.keras.ImageDataGenerator is ImageDataGenerator
    with pytest.raises(AttributeError, match="no attribute 'Tranfer'"):
        fusewarp.keras.Tranfer  # noqa: B018
