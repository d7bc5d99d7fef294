import keras
import numpy as np
import pytest
from keras import layers

from fusewarp.integrations.keras.checks import check_loss
from fusewarp.integrations.keras.heads import Head, check_own_head
from fusewarp.integrations.keras.tasks import Task

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CLASSES = Task("single-label", ("a", "b", "c"))
FEATURES = (None, 4, 4, 8)


def own_head(*, units=3, activation="softmax", features=(4, 4, 8)):
    inputs = keras.Input(features)
    x = layers.GlobalMaxPooling2D()(inputs)
    return keras.Model(inputs, layers.Dense(units, activation=activation)(x))


def test_layers_in_their_order():
    made = Head(dropout=0.3, units=(16, 8)).top(CLASSES, seed=1)
    names = [layer.name for layer in made]
    expected = ["dropout_1", "hidden_1", "dropout_2", "hidden_2", "dropout", "predictions"]
    assert names == expected
    assert [layer.rate for layer in made if isinstance(layer, layers.Dropout)] == [0.3] * 3
    assert made[-1].units == 3


@pytest.mark.parametrize(
    ("task", "activation", "units"),
    [
        (CLASSES, "softmax", 3),
        (Task("multi-label", ("a", "b")), "sigmoid", 2),
        (Task("binary", ("a", "b")), "sigmoid", 1),
        (Task("regression", ("value",)), "linear", 1),
    ],
)
def test_outputs_are_the_tasks(task, activation, units):
    last = Head().top(task, seed=0)[-1]
    assert (last.activation.__name__, last.units) == (activation, units)


def test_pooling_is_the_mean_or_the_largest():
    features = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
    average = keras.ops.convert_to_numpy(Head().pool()(features))
    largest = keras.ops.convert_to_numpy(Head(pooling="max").pool()(features))
    np.testing.assert_allclose(average, features.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(largest, features.max(axis=(1, 2)))


def test_the_same_seed_the_same_weights():
    def weights(seed):
        model = keras.Sequential([keras.Input((8,)), *Head(units=(4,)).top(CLASSES, seed)])
        return np.concatenate([weight.ravel() for weight in model.get_weights()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.allclose(weights(1), weights(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 1.0}, "below 1, got 1.0"),
        ({"dropout": True}, "got True"),
        ({"units": (0,)}, r"at least 1, got \(0,\)"),
        ({"units": (2.5,)}, "whole numbers"),
        ({"pooling": "mean"}, "got 'mean'"),
    ],
)
def test_what_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        Head(**arguments)


class TestOwnHead:
    def test_one_that_fits(self):
        check_own_head(own_head(), FEATURES, CLASSES)
        check_own_head(own_head(features=(None, None, 8)), FEATURES, CLASSES)

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            ({"features": (4, 4, 6)}, r"takes \[4, 4, 6\].*gives \[4, 4, 8\]"),
            ({"units": 4}, r"gives \[4\].*needs \[3\]"),
            ({"activation": None}, "no probabilities; single-label needs a softmax"),
            ({"activation": "sigmoid"}, "no probabilities"),
        ],
    )
    def test_one_that_does_not(self, head, message):
        with pytest.raises(ValueError, match=message):
            check_own_head(own_head(**head), FEATURES, CLASSES)


@pytest.mark.parametrize("kind", ["BinaryCrossentropy", "SparseCategoricalCrossentropy"])
def test_a_loss_of_logits_is_refused(kind):
    with pytest.raises(ValueError, match="from_logits=True"):
        check_loss(getattr(keras.losses, kind)(from_logits=True), 0.0)
    check_loss(getattr(keras.losses, kind)(), 0.0)
    check_loss("mse", 0.0)


def test_smoothing_is_not_for_a_loss_of_the_users_own():
    with pytest.raises(ValueError, match="would not use it"):
        check_loss("binary_crossentropy", 0.2)
