"""Frozen means frozen: bit by bit, through both stages, in bases as people use them."""

import functools

import keras
import numpy as np
import pytest

from fusewarp.engine import ArraySource, Policy
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.frozen_bases import SIZE, nested_base, write_base
from oracles.small_training import coloured_pictures

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NEVER_TRAINED = (keras.layers.BatchNormalization, keras.layers.Normalization)
ENDS = {  # base: what is asked for, and the layers that learn then; of the slow ones one each
    "VGG16": {
        3: {"block5_conv2", "block5_conv3"},
        "block5": {"block5_conv1", "block5_conv2", "block5_conv3"},
    },
    "ResNet50": {
        "conv5_block3": {f"conv5_block3_{part}_conv" for part in (1, 2, 3)},
    },
    "MobileNetV2": {
        7: {"block_16_project", "Conv_1"},
        "block_16": {"block_16_expand", "block_16_depthwise", "block_16_project", "Conv_1"},
    },
    "EfficientNetB0": {
        8: {"block7a_se_reduce", "block7a_se_expand", "block7a_project_conv", "top_conv"},
    },
    "efficientnet-lite0": {
        7: {"block7a_project_conv", "top_conv"},
        "block7a": {"top_conv"}
        | {f"block7a_{part}" for part in ("expand_conv", "dwconv", "project_conv")},
    },
}
NESTED_ENDS = {
    1: {"last_conv"},
    "late": {"middle_conv", "inner_conv", "last_conv"},
    "all": {"stem_conv", "early_conv", "middle_conv", "inner_conv", "last_conv"},
}


class KeepBase(keras.callbacks.Callback):
    """Keeps the bytes of the base's weights and statistics at the begin and the end of stages."""

    def __init__(self, trainer):
        super().__init__()
        self.trainer, self.kept = trainer, []

    def keep(self, logs=None):
        weights = self.trainer.conv_base.model.weights
        self.kept.append({weight.path: weight.numpy().tobytes() for weight in weights})

    on_train_begin = on_train_end = keep


def trained(base, trainable_layers, **arguments):
    """Train both stages at a rate that no weight survives; return the base's bytes around them."""
    trainer = TransferTrainer(
        base,
        epochs=(1, 1),
        batch_size=4,
        learning_rate=(1e-2, 1e-2),
        trainable_layers=trainable_layers,
        policy=Policy(horizontal_flip=True),
        threads=1,
        **arguments,
    )
    keep = KeepBase(trainer)
    trainer.fit(ArraySource(*coloured_pictures(8, SIZE)), callbacks=[keep], verbose=0)
    assert all(np.isfinite(weight.numpy()).all() for weight in trainer.model.weights)
    return trainer.conv_base.model, keep.kept


def changed(before, after):
    return {path for path in before if before[path] != after[path]}


def weights_of(base, layer_names):
    return {w.path for w in base.weights if w.path.split("/")[-2] in layer_names}


def check_exactly_these_learn(base, kept, layer_names):
    begin_of_head, end_of_head, begin_of_fine_tuning, end = kept
    assert begin_of_head == end_of_head == begin_of_fine_tuning
    assert weights_of(base, layer_names)
    assert changed(begin_of_head, end) == weights_of(base, layer_names)


@pytest.fixture(scope="module")
def weights_for(tmp_path_factory):
    """Return the weights of a base: its own where installed, others of a known state."""
    folder = tmp_path_factory.mktemp("bases")
    return functools.cache(
        lambda name: "imagenet" if name == "efficientnet-lite0" else write_base(name, folder)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trainable_layers"), [(name, asked) for name in ENDS for asked in (*ENDS[name], "all")]
)
def test_exactly_the_last_layers_learn(weights_for, name, trainable_layers):
    base, kept = trained(name, trainable_layers, weights=weights_for(name), image_size=SIZE)
    every = {layer.name for layer in base.layers if not isinstance(layer, NEVER_TRAINED)}
    check_exactly_these_learn(base, kept, {**ENDS[name], "all": every}[trainable_layers])


@pytest.mark.parametrize("trainable_layers", NESTED_ENDS)
def test_sub_models_within_sub_models(trainable_layers):
    base, kept = trained(nested_base(), trainable_layers, pixels="tf")
    check_exactly_these_learn(base, kept, NESTED_ENDS[trainable_layers])
