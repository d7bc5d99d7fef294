"""The pixels at the input of every base, read off there while the trainer trains it."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from fusewarp.engine import ArraySource, Policy
from fusewarp.integrations.keras.bases import REGISTRY
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.keras_pixels import expected_pixels
from oracles.small_training import small_base

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (14, 10)
FIRST_OF_EACH_STEP = {entry.pixels: key for key, entry in reversed(REGISTRY.items())}.values()


@keras.saving.register_keras_serializable("tests")
class Capture(keras.layers.Layer):
    """Passes pixels on, and keeps the batches that came by, those of a saved copy too."""

    batches: ClassVar[list[np.ndarray]] = []

    def call(self, pixels):
        def capture(batch):
            self.batches.append(batch.numpy())
            return batch

        captured = tf.py_function(capture, [pixels], tf.float32)
        captured.set_shape(pixels.shape)
        return captured


def capturing_base(image_size, weights):
    pixels = keras.Input((*image_size, 3))
    return keras.Model(pixels, keras.layers.Conv2D(2, 3)(Capture()(pixels)))


@pytest.fixture(scope="module")
def photos():
    """Return pieces of four real photos, whose first pixels differ in every channel."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    whole = [getattr(skimage.data, name)() for name in names]
    pieces = np.stack([photo[120 : 120 + SIZE[0], 200 : 200 + SIZE[1]] for photo in whole])
    assert all(len(set(pieces[:, 0, 0, channel])) == len(names) for channel in range(3))
    return pieces


def sorted_pictures(pictures):
    return pictures[np.argsort(pictures[:, 0, 0, 0])]


def check_all_equal(batches, expected):
    for batch in batches:
        seen = sorted_pictures(batch)
        np.testing.assert_allclose(seen, sorted_pictures(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "key",
    [
        key if key in FIRST_OF_EACH_STEP else pytest.param(key, marks=pytest.mark.slow)
        for key in REGISTRY
    ],
)
def test_a_base_sees_what_keras_would_show_it(key, photos, monkeypatch, tmp_path):
    entry = dataclasses.replace(REGISTRY[key], build=capturing_base)
    monkeypatch.setitem(REGISTRY, key, entry)
    monkeypatch.setattr(Capture, "batches", [])
    source = ArraySource(photos, np.array([0, 1, 0, 1]))
    trainer = TransferTrainer(
        entry.name,
        weights=None,
        image_size=SIZE,
        epochs=(1, 1),
        batch_size=len(photos),
        trainable_layers=1,
        policy=Policy(),
        cache_features=False,
        threads=1,
    )
    trainer.fit(source, source, verbose=0, check_leaks=False)
    trainer.model.save(tmp_path / "saved.keras")
    in_training = Capture.batches.copy()
    Capture.batches.clear()
    keras.models.load_model(tmp_path / "saved.keras").predict(photos, verbose=0)

    assert (len(in_training), len(Capture.batches)) == (4, 1)  # of two stages, each with validation
    check_all_equal(in_training + Capture.batches, expected_pixels(entry.name, photos))


@pytest.mark.parametrize("pixels", ["tf", "torch", "caffe", "lite"])
def test_a_model_that_rescales_inside_is_refused_what_would_rescale_again(pixels):
    base = small_base(rescaling=True)
    with pytest.raises(ValueError, match=rf"by its layer 'rescaling.*pixels='{pixels}' would re"):
        TransferTrainer(base, pixels=pixels)
    assert TransferTrainer(base, pixels="raw").pixels == "raw"
