"""Which weights of a conv base a stage may change."""

import math
from collections.abc import Iterable
from typing import Any

import keras


def set_trainable(base: keras.Model, num_layers: int) -> None:
    """Let the last `num_layers` layers of a base learn, and freeze everything else in it.

    Batch normalization stays frozen wherever it is: its statistics were learned on millions of
    pictures, and a small data set would spoil them. Takes effect at the next `compile`.
    """
    every_layer = list(base._flatten_layers(recursive=True))
    # One by one: on TensorFlow `base.trainable = True` does nothing where it is True already,
    # and then leaves layers frozen that were frozen by themselves.
    for layer in every_layer:
        layer.trainable = True
    for layer in base.layers[: len(base.layers) - num_layers]:
        layer.trainable = False
    for layer in every_layer:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def check_trainable_layers(base: keras.Model, num_layers: int) -> None:
    """Refuse a number of layers that would train nothing, and say what would.

    Raises
    ------
    ValueError
        If the base has fewer layers, or its last ones hold no weights that may learn.
    """
    if num_layers > len(base.layers):
        raise ValueError(
            f"`trainable_layers` is {num_layers}, but {base.name} has {len(base.layers)} layers."
        )
    set_trainable(base, num_layers)
    if num_layers == 0 or base.trainable_variables:
        return
    raise ValueError(
        f"Fine-tuning would train nothing: the last {num_layers} layers of {base.name} have no "
        "weights of their own, or are batch normalization, which stays frozen. "
        + _fewest_that_learn(base, num_layers)
    )


def _fewest_that_learn(base: keras.Model, num_layers: int) -> str:
    for enough in range(num_layers + 1, len(base.layers) + 1):
        set_trainable(base, enough)
        if base.trainable_variables:
            return f"trainable_layers={enough} reaches {base.layers[-enough].name!r}."
    return "No layer of this base can learn: use trainable_layers=0."


def count_parameters(weights: Iterable[Any]) -> int:
    """Return how many numbers these weights hold."""
    return sum(math.prod(weight.shape) for weight in weights)
