"""What the model is shown, read off inside the model: Keras may repeat pictures or skip them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fusewarp.engine import Policy
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.killed_training import plain_pictures

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
NUM_TRAIN, NUM_VALIDATION, BATCH = 50, 23, 8
EPOCHS = (2, 2)


class Note(keras.layers.Layer):
    """Passes pictures on, and notes the level of each one's first pixel."""

    def __init__(self):
        super().__init__()
        self.levels = []

    def call(self, pictures):
        def note(batch):
            self.levels += np.rint(batch.numpy()[:, 0, 0, 0]).astype(int).tolist()
            return batch

        noted = tf.py_function(note, [pictures], tf.float32)
        noted.set_shape(pictures.shape)
        return noted


@pytest.fixture(scope="module")
def shown():
    note = Note()
    pixels = keras.Input((6, 6, 3))
    base = keras.Model(pixels, keras.layers.Conv2D(4, 3)(note(pixels)))
    trainer = TransferTrainer(
        base,
        pixels="raw",
        epochs=EPOCHS,
        batch_size=BATCH,
        trainable_layers=1,
        policy=Policy(),
        cache_features=False,
    )
    validation = plain_pictures(100, NUM_VALIDATION)
    trainer.fit(plain_pictures(0, NUM_TRAIN), validation, verbose=0)
    return trainer, np.array(note.levels), validation


def test_every_epoch_trains_on_every_picture_once(shown):
    _, levels, _ = shown
    epochs = levels[levels < 100].reshape(sum(EPOCHS), NUM_TRAIN)
    np.testing.assert_array_equal(np.sort(epochs), [np.arange(NUM_TRAIN)] * sum(EPOCHS))
    assert not np.array_equal(epochs[0], epochs[1])


def test_every_epoch_validates_on_every_picture_once_in_order(shown):
    _, levels, _ = shown
    epochs = levels[levels >= 100].reshape(sum(EPOCHS), NUM_VALIDATION) - 100
    np.testing.assert_array_equal(epochs, [np.arange(NUM_VALIDATION)] * sum(EPOCHS))


def test_the_last_validation_is_what_evaluate_says(shown):
    trainer, _, validation = shown
    figures = trainer.evaluate(validation)
    last = trainer.history[-1]
    assert {f"val_{name}": value for name, value in figures.items()} == pytest.approx(
        {name: last[name] for name in ("val_loss", "val_accuracy")}, rel=1e-6
    )
