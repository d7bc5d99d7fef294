"""Small bases and small pictures for tests of the trainer."""

import keras
import numpy as np
from keras import layers
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (200, 50, 40)}


def small_base(size=(32, 40), *, rescaling=False, seed=3):
    """Two conv blocks with batch normalization, the second one in a model of its own."""
    inputs = keras.Input((*size, 3))
    x = layers.Rescaling(1 / 255)(inputs) if rescaling else inputs
    x = _conv("early_conv", 8, seed)(x)
    x = layers.BatchNormalization(name="early_bn")(x)
    x = layers.ReLU(6.0)(x)
    block = keras.Input((None, None, 8))
    y = layers.BatchNormalization(name="late_bn")(_conv("late_conv", 12, seed + 1)(block))
    outputs = keras.Model(block, y, name="late_block")(x)
    base = keras.Model(inputs, layers.ReLU(6.0, name="last_relu")(outputs), name="small_base")
    _give_statistics(base, seed)
    return base


def _conv(name, filters, seed):
    initializer = keras.initializers.HeNormal(seed=seed)
    return layers.Conv2D(filters, 3, 2, padding="same", kernel_initializer=initializer, name=name)


def _give_statistics(base, seed):
    """Fill the moving mean and variance with something else than 0 and 1."""
    rng = np.random.default_rng(seed)
    for layer in base._flatten_layers(recursive=True):
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (
                rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights
            )
            layer.set_weights([gamma, beta - 1.0, mean - 1.0, variance])


def coloured_pictures(count, size=(32, 40), seed=0):
    """Noisy pictures of one colour each, (n, height, width, 3) uint8, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(COLOURS)
    base = np.array(list(COLOURS.values()))[labels][:, np.newaxis, np.newaxis, :]
    noise = rng.normal(0.0, 12.0, (count, *size, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8), labels


def write_coloured_folder(folder, per_class, seed=0):
    """Write them as JPEGs in one sub-folder per colour."""
    pictures, labels = coloured_pictures(per_class * len(COLOURS), seed=seed)
    names = list(COLOURS)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / names[label] / f"{number:03d}.jpg", quality=95)
    return folder
