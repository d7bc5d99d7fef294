"""Bases whose every layer passes something on, so that every weight that may learn moves."""

import keras
from keras import layers

from fusewarp.engine import Augmenter, Policy
from fusewarp.integrations.keras.bases import PIXEL_STEPS, build_base
from oracles.small_training import coloured_pictures

SIZE = (32, 32)


def write_base(name, folder):
    """Write random weights of a base by name, with the statistics of some pictures."""
    base = build_base(name, weights=None, image_size=SIZE, seed=3)
    measure_statistics(base.model, base.pixels)
    path = folder / f"{name}.weights.h5"
    base.model.save_weights(path)
    return path


def measure_statistics(base, pixels):
    """Let batch normalization note one batch: without, deep random bases shrink it to nothing."""
    for layer in base._flatten_layers(recursive=True):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    pictures, _ = coloured_pictures(16, SIZE)
    policy = Policy(mean=pixels.mean, std=pixels.std)
    base(Augmenter(policy, threads=1).apply(pictures, range(16)), training=True)


def nested_base():
    """Return a base of sub-models: `late` holds a block that holds a block."""
    inner = _block("inner", 8, 8)
    middle_in = keras.Input((None, None, 8))
    middle = layers.BatchNormalization(name="middle_bn")(_conv("middle_conv", 8)(middle_in))
    late = keras.Model(middle_in, inner(layers.ReLU()(middle)), name="late")

    levels = keras.Input((*SIZE, 3))
    x = layers.BatchNormalization(name="stem_bn")(_conv("stem_conv", 8)(levels))
    x = late(_block("early", 8, 8)(x))
    base = keras.Model(levels, _conv("last_conv", 6)(x), name="nested_base")
    measure_statistics(base, PIXEL_STEPS["tf"])
    return base


def _block(name, channels, filters):
    taken = keras.Input((None, None, channels))
    x = layers.BatchNormalization(name=f"{name}_bn")(_conv(f"{name}_conv", filters)(taken))
    return keras.Model(taken, layers.LeakyReLU()(x), name=name)


def _conv(name, filters):
    initializer = keras.initializers.HeNormal(seed=len(name))
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=initializer, name=name)
