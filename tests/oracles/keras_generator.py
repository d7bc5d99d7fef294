"""Keras' own `ImageDataGenerator`, the judge of the drop-in, and how close is close enough."""

import warnings
from contextlib import contextmanager

import numpy as np
from keras.src.legacy.preprocessing.image import ImageDataGenerator as KerasGenerator

__all__ = ["KerasGenerator", "allowed_error", "as_keras", "is_tie", "random_options"]

FILL_MODES = ("nearest", "constant", "reflect", "wrap")


@contextmanager
def as_keras():
    """Keras reaches SciPy by a deprecated name, once per channel; anything else stays an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*scipy.ndimage.interpolation.*", DeprecationWarning)
        yield


def random_options(rng):
    """Choose augmentation options, each on in some two of three draws, in all allowed shapes."""
    choices = {
        "rotation_range": [15, 90, 7.5],
        "width_shift_range": [0.2, 3, 2.5, [0.1, 0.3], (1, 4), 1.0],
        "height_shift_range": [0.3, 2, 4.5, [0.2], [-2, 3, 5], 0.999],
        "shear_range": [5, 20.0],
        "zoom_range": [0.3, (0.5, 1.5), [1.2, 1.2], (2, 3)],
        "channel_shift_range": [10, 60.0],
        "brightness_range": [(0.3, 1.4), [1.5, 0.2]],
        "horizontal_flip": [True],
        "vertical_flip": [True],
    }
    return {
        name: values[rng.integers(len(values))]
        for name, values in choices.items()
        if rng.random() < 0.67
    }


def is_tie(inverse_map, height, width, fill_mode, order):
    """Mark the output pixels whose source lies where one ulp decides between two answers.

    Order 0 jumps at half pixels; `constant` and SciPy's `wrap`, of period size - 1, jump at the
    first and last pixel centre.
    """
    position = np.stack([*np.indices((height, width)), np.ones((height, width))])
    coordinates = np.einsum("ij,jrc->irc", inverse_map, position)
    tie = np.zeros((height, width), bool)
    for coordinate, size in zip(coordinates, (height, width), strict=True):
        if order == 0:
            tie |= abs(coordinate % 1 - 0.5) < 1e-4
        if fill_mode == "constant":
            tie |= (abs(coordinate) < 1e-4) | (abs(coordinate - (size - 1)) < 1e-4)
        if fill_mode == "wrap":
            turns = coordinate / (size - 1)
            tie |= abs(turns - np.round(turns)) * (size - 1) < 1e-4
    return tie


def allowed_error(parameters):
    """Grey levels: rounding, or one truncated level by the factor of a brightness."""
    brightness = parameters.get("brightness")
    return 0.005 if brightness is None else np.ceil(max(1.0, abs(brightness)))
