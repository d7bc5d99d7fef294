import keras
import numpy as np
import pytest
from keras import layers

from fusewarp.integrations.keras.freezing import (
    check_trainable_layers,
    count_parameters,
    set_trainable,
)
from oracles.small_training import small_base


def trainable_names(base):
    return {weight.path for weight in base.trainable_variables}


def test_all_layers_but_batch_normalization_can_learn():
    base = small_base()
    set_trainable(base, len(base.layers))
    names = {
        f"{name}/{part}" for name in ("early_conv", "late_conv") for part in ("kernel", "bias")
    }
    assert trainable_names(base) == names


@pytest.mark.parametrize("sequence", [(0, 2), (2, 0, 2), (6, 0, 2), (2, 2)])
def test_what_was_set_before_makes_no_difference(sequence):
    base = small_base()
    for num_layers in sequence:
        set_trainable(base, num_layers)
    assert trainable_names(base) == {"late_conv/kernel", "late_conv/bias"}


def test_a_model_around_the_base_sees_it():
    base = small_base()
    inputs = keras.Input((32, 40, 3))
    around = keras.Model(inputs, layers.Dense(2)(base(inputs, training=False)))
    set_trainable(base, 0)
    assert count_parameters(around.trainable_variables) == 26
    set_trainable(base, 2)
    assert count_parameters(around.trainable_variables) == 26 + 876


@pytest.mark.parametrize("num_layers", [0, 2, 6])
def test_numbers_that_train_something_pass(num_layers):
    check_trainable_layers(small_base(), num_layers)


def test_one_layer_too_many_is_refused():
    base = small_base()
    with pytest.raises(ValueError, match="is 7, but small_base has 6 layers"):
        check_trainable_layers(base, len(base.layers) + 1)


def test_counts_numbers_not_arrays():
    assert count_parameters([np.zeros((2, 3)), np.zeros(()), np.zeros((4, 0))]) == 7
