"""Pipelines of the user's own: tf.data and PyDataset."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fusewarp.engine import ArraySource, Augmenter, Policy
from fusewarp.integrations.keras.own_data import OwnBatches, OwnData, is_own_data
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.small_training import coloured_pictures, small_base

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IMAGES, LABELS = coloured_pictures(21)


class Batches(keras.utils.PyDataset):
    def __init__(self, size=8):
        super().__init__()
        self.size, self.epochs = size, 0

    def __len__(self):
        return -(-len(IMAGES) // self.size)

    def __getitem__(self, place):
        rows = slice(place * self.size, (place + 1) * self.size)
        return IMAGES[rows], LABELS[rows]

    def on_epoch_end(self):
        self.epochs += 1


def dataset(batch_size=8):
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(batch_size)


@pytest.mark.parametrize("make", [dataset, Batches])
def test_batches_are_augmented_as_the_engine_does(make):
    augmenter = Augmenter(Policy(rotation_range=30, horizontal_flip=True), size=(16, 16), seed=5)
    batches = OwnBatches(OwnData("train_source", make()), augmenter)
    batches.load_state_dict({"seed": 5, "epoch": 3, "step": 0})
    given = [batch for batch, _ in zip(batches, range(6), strict=False)]
    assert [len(batch.images) for batch in given] == [8, 8, 5] * 2
    for epoch, part in ((3, given[:3]), (4, given[3:])):
        expected = augmenter.apply(IMAGES, np.arange(21), epoch)
        np.testing.assert_array_equal(np.concatenate([b.images for b in part]), expected)
        np.testing.assert_array_equal(np.concatenate([b.labels for b in part]), LABELS)


def test_a_step_within_an_epoch_passes_over_what_was_before():
    batches = OwnBatches(OwnData("train_source", dataset()), Augmenter(Policy()))
    whole = [batch.sample_ids for batch, _ in zip(batches, range(3), strict=False)]
    batches.load_state_dict({"seed": 0, "epoch": 0, "step": 2})
    first = next(iter(batches))
    np.testing.assert_array_equal(first.sample_ids, whole[2])


@pytest.mark.parametrize("make", [dataset, Batches])
def test_training_on_it_as_on_the_arrays(make):
    """Unshuffled both, with the same ids: the same head to the last bit or so."""
    arguments = {"pixels": "tf", "epochs": (2, 1), "batch_size": 8, "trainable_layers": 2}
    arguments |= {"learning_rate": (1e-2, 1e-3), "threads": 1}
    trainer = TransferTrainer(small_base(), **arguments)
    trainer.fit(make(), make(), verbose=0)
    assert trainer.class_names == ["0", "1", "2"]
    predictions, labels = trainer.predict_labelled(make())
    np.testing.assert_array_equal(labels, LABELS)
    arrays = trainer.predict(ArraySource(IMAGES, LABELS))
    np.testing.assert_allclose(predictions, arrays, atol=1e-6)
    figures = trainer.evaluate(ArraySource(IMAGES, LABELS))
    assert trainer.history[-1]["val_loss"] == pytest.approx(figures["loss"], rel=1e-5)
    assert [row["epoch"] for row in trainer.history] == [0, 1, 2]


def test_labels_are_those_of_the_very_reading():
    """A set that comes in another order each time."""
    shuffled = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).shuffle(21).batch(8)
    trainer = TransferTrainer(
        small_base(), pixels="tf", epochs=(12, 0), batch_size=8, learning_rate=3e-2
    )
    trainer.fit(ArraySource(IMAGES, LABELS), verbose=0)
    predictions, labels = trainer.predict_labelled(shuffled)
    assert not np.array_equal(labels, LABELS)
    assert (predictions.argmax(axis=1) == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dataset().repeat(), ValueError, "endless"),
        (lambda: dataset().filter(lambda x, y: True), ValueError, "assert_cardinality"),
        (lambda: dataset().take(0), ValueError, "no batches"),
        (lambda: dataset().map(lambda x, y: (tf.cast(x, tf.float32), y)), TypeError, "float32"),
        (lambda: dataset().unbatch().apply(
            tf.data.experimental.assert_cardinality(21)), TypeError, "batch 0 has uint8 of shape"),
        (lambda: dataset().map(lambda x, y: x), ValueError, r"\(pictures, labels\)"),
    ],
)  # fmt: skip
def test_what_it_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        OwnData("train_source", make()).labels  # noqa: B018


def test_what_is_own_data():
    assert is_own_data(dataset())
    assert is_own_data(Batches())
    assert not is_own_data(ArraySource(IMAGES, LABELS))
    assert not is_own_data(IMAGES)
