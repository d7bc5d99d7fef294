import keras
import numpy as np
import pytest
from keras import layers

from fusewarp.integrations.keras.freezing import (
    check_trainable_layers,
    count_layers,
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
        count_layers(base, len(base.layers) + 1)


def test_counts_numbers_not_arrays():
    assert count_parameters([np.zeros((2, 3)), np.zeros(()), np.zeros((4, 0))]) == 7


@pytest.mark.parametrize(
    ("asked", "count"),
    [(0, 0), (2, 2), ("all", 6), ("late_block", 2), ("early_bn", 4), ("early", 5), ("late", 2)],
)
def test_layers_are_asked_for_by_number_name_or_block(asked, count):
    assert count_layers(small_base(), asked) == count


def test_a_block_is_not_one_whose_number_only_begins_so():
    layers_of = [keras.layers.ReLU(name=name) for name in ("block10_a", "block1_a", "block2_a")]
    assert count_layers(keras.Sequential([keras.Input((4,)), *layers_of]), "block1") == 2


def test_an_unknown_block_is_refused_with_near_names():
    with pytest.raises(ValueError, match=r"'late_blok', but no layer .* late_block"):
        count_layers(small_base(), "late_blok")


def test_batch_normalization_learns_where_that_is_asked_and_keeps_its_statistics():
    base = small_base()
    set_trainable(base, 2, batch_norm=True)
    names = {f"late_conv/{part}" for part in ("kernel", "bias")}
    assert trainable_names(base) == names | {"late_bn/gamma", "late_bn/beta"}
