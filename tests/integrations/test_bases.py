import inspect
import re
import urllib.error

import keras
import numpy as np
import pytest
from keras import layers

from fusewarp.engine import Augmenter, Policy
from fusewarp.integrations.keras.bases import (
    PIXEL_STEPS,
    REGISTRY,
    PixelStep,
    build_base,
    find_base,
    rescaling_layer,
    use_own_model,
)
from oracles.keras_pixels import expected_pixels
from oracles.small_training import small_base

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

applications = keras.applications
KERAS_NAMES = [
    name for name in dir(applications) if inspect.isfunction(getattr(applications, name))
]
SMALLEST_OF_FAMILIES = [
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
]


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(5).integers(0, 256, (1, 9, 7, 3), np.uint8)


@pytest.mark.parametrize("name", [entry.name for entry in REGISTRY.values()])
def test_pixels_in_training_are_those_of_preprocess_input(name, photo):
    step = find_base(name).pixels
    fed = Augmenter(Policy(mean=step.mean, std=step.std)).apply(photo, [0])
    seen = keras.ops.convert_to_numpy(step.order_channels(keras.ops.convert_to_tensor(fed)))
    np.testing.assert_allclose(seen, expected_pixels(name, photo), atol=1e-4)


@pytest.mark.parametrize("name", [entry.name for entry in REGISTRY.values()])
def test_pixels_in_the_saved_model_are_those_of_preprocess_input(name, photo):
    step = find_base(name).pixels
    levels = keras.Input((9, 7, 3))
    model = keras.Model(levels, step.order_channels(step.apply(levels)))
    seen = keras.ops.convert_to_numpy(model(photo.astype(np.float32)))
    np.testing.assert_allclose(seen, expected_pixels(name, photo), atol=1e-4)


def test_every_keras_application_is_registered():
    assert {entry.name for entry in REGISTRY.values()} == {"efficientnet-lite0", *KERAS_NAMES}


@pytest.mark.parametrize("spelling", ["MobileNetV2", "mobilenet-v2", "MOBILENET_V2", "mobilenetv2"])
def test_spelling_does_not_matter(spelling):
    assert find_base(spelling).name == "MobileNetV2"


def test_unknown_name_suggests_near_ones():
    with pytest.raises(ValueError, match=r"no base 'mobilnet'.*MobileNet"):
        find_base("mobilnet")


def assert_rescales_as_registered(name):
    base = build_base(name, weights=None, image_size=(96, 96))
    assert (rescaling_layer(base.model) is not None) == (base.pixels == PixelStep())
    assert len(base.model.output_shape) == 4


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "efficientnet-lite0"])
def test_a_base_rescales_inside_exactly_if_it_is_fed_raw_levels(name):
    assert_rescales_as_registered(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST_OF_FAMILIES)
def test_every_family_rescales_inside_exactly_if_it_is_fed_raw_levels(name):
    assert_rescales_as_registered(name)


def test_random_weights_are_a_function_of_the_seed():
    weights = [
        build_base("efficientnet-lite0", weights=None, image_size=(32, 32), seed=seed).model
        for seed in (1, 1, 2)
    ]
    first, again, other = (model.get_layer("top_conv").get_weights()[0] for model in weights)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_from_a_file(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    trained = build_base("efficientnet-lite0", weights="imagenet", image_size=(32, 32)).model
    (trained.save_weights if suffix == ".weights.h5" else trained.save)(path)
    loaded = build_base("efficientnet-lite0", weights=path, image_size=(64, 32)).model
    for actual, expected in zip(loaded.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_of_another_base_are_refused(tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    other = small_base()
    (other.save_weights if suffix == ".weights.h5" else other.save)(path)
    with pytest.raises(
        ValueError, match=r"other.* does not hold the weights of efficientnet-lite0"
    ):
        build_base("efficientnet-lite0", weights=path, image_size=(32, 32))


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    path = tmp_path / "broken.weights.h5"
    path.write_bytes(b"not HDF5 at all")
    with pytest.raises(ValueError, match=r"broken\.weights\.h5 does not hold the weights"):
        build_base("efficientnet-lite0", weights=path, image_size=(32, 32))


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    path = tmp_path / "nan.weights.h5"
    model = build_base("efficientnet-lite0", weights=None, image_size=(32, 32)).model
    bias = model.get_layer("top_bn").beta
    bias.assign(np.full(bias.shape, np.nan, np.float32))
    model.save_weights(path)
    with pytest.raises(ValueError, match=r"nan\.weights\.h5 holds NaN or infinity"):
        build_base("efficientnet-lite0", weights=path, image_size=(32, 32))


def test_wrong_weights_argument(tmp_path):
    with pytest.raises(ValueError, match=r'must be "imagenet", None, or the path'):
        build_base("efficientnet-lite0", weights="imagenet21k")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.keras"):
        build_base("efficientnet-lite0", weights=tmp_path / "none.keras")


@pytest.mark.parametrize("error", [urllib.error.URLError("no network")])
def test_no_network_names_the_file_and_the_remedy(monkeypatch, tmp_path, error):
    def urlretrieve(*_):
        raise error

    get_file = keras.utils.get_file
    monkeypatch.setitem(inspect.unwrap(get_file).__globals__, "urlretrieve", urlretrieve)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"
    with pytest.raises(FileNotFoundError, match=re.escape(f"Fetch {name} elsewhere")):
        build_base("MobileNetV2", weights="imagenet", image_size=(96, 96))


class TestOwnModel:
    def test_a_model_that_rescales_inside_takes_raw_levels(self):
        base = use_own_model(small_base(rescaling=True), pixels=None)
        assert base.pixels == PixelStep()
        assert base.image_size == (32, 40)

    def test_one_that_does_not_must_say_what_it_wants(self):
        with pytest.raises(ValueError, match="does not say what pixels it wants"):
            use_own_model(small_base(), pixels=None)

    @pytest.mark.parametrize("pixels", ["tf", PixelStep((1.0,) * 3, (2.0,) * 3)])
    def test_it_is_never_rescaled_twice(self, pixels):
        with pytest.raises(ValueError, match="would rescale twice"):
            use_own_model(small_base(rescaling=True), pixels=pixels)

    def test_rescaling_in_a_nested_model_is_found(self):
        inputs = keras.Input((32, 40, 3))
        nested = keras.Model(inputs, small_base(rescaling=True)(inputs))
        with pytest.raises(ValueError, match="would rescale twice"):
            use_own_model(nested, pixels="caffe")

    def test_named_and_own_pixels(self):
        own = PixelStep((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
        assert use_own_model(small_base(), pixels="torch").pixels == PIXEL_STEPS["torch"]
        assert use_own_model(small_base(), pixels=own).pixels == own
        with pytest.raises(ValueError, match=r"must be one of .* got 'imagenet'"):
            use_own_model(small_base(), pixels="imagenet")

    def test_image_size(self):
        with pytest.raises(ValueError, match=re.escape("is (32, 40), `image_size` is (40, 32)")):
            use_own_model(small_base(), pixels="tf", image_size=(40, 32))
        with pytest.raises(ValueError, match="give `image_size`"):
            use_own_model(small_base((None, None)), pixels="tf")
        open_size = use_own_model(small_base((None, None)), pixels="tf", image_size=(48, 32))
        assert open_size.image_size == (48, 32)

    def test_a_model_with_a_head_or_grey_input_is_refused(self):
        base = small_base()
        pooled = layers.GlobalAveragePooling2D()(base.output)
        with pytest.raises(ValueError, match="include_top=False"):
            use_own_model(keras.Model(base.input, pooled), pixels="tf")
        grey = keras.Input((32, 40, 1))
        with pytest.raises(ValueError, match=r"takes \(None, 32, 40, 1\)"):
            use_own_model(keras.Model(grey, layers.Conv2D(3, 3)(grey)), pixels="tf")
        with pytest.raises(ValueError, match="1 inputs and 2 outputs"):
            use_own_model(keras.Model(base.input, [base.output, base.output]), pixels="tf")
