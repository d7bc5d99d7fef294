"""Which weights of a conv base a stage may change."""

import difflib
import math
from collections.abc import Iterable
from typing import Any

import keras


def set_trainable(base: keras.Model, num_layers: int, *, batch_norm: bool = False) -> None:
    """Let the last `num_layers` layers of a base learn, and freeze everything else in it.

    Batch normalization stays frozen wherever it is, unless `batch_norm`: its statistics were
    learned on millions of pictures, and a small data set would spoil them. With `batch_norm` its
    scale and offset learn; the statistics stay in any case, as the base runs in inference mode.
    Takes effect at the next `compile`.
    """
    every_layer = list(base._flatten_layers(recursive=True))
    # One by one: on TensorFlow `base.trainable = True` does nothing where it is True already,
    # and then leaves layers frozen that were frozen by themselves.
    for layer in every_layer:
        layer.trainable = True
    for layer in base.layers[: len(base.layers) - num_layers]:
        layer.trainable = False
    for layer in every_layer:
        if isinstance(layer, keras.layers.BatchNormalization) and not batch_norm:
            layer.trainable = False


def count_layers(base: keras.Model, trainable_layers: int | str) -> int:
    """Return how many layers at the end of a base `trainable_layers` means.

    Parameters
    ----------
    base : keras.Model
    trainable_layers : int or str
        A number; "all"; or the name of a layer or of a block (the beginning of its layers' names,
        as in "block5"): from its first layer on.

    Raises
    ------
    ValueError
        If the base has fewer layers, or none of that name.
    """
    names = [layer.name for layer in base.layers]
    if trainable_layers == "all":
        return len(names)
    if isinstance(trainable_layers, str):
        return len(names) - _first_of(names, trainable_layers, base.name)
    if trainable_layers > len(names):
        raise ValueError(
            f"`trainable_layers` is {trainable_layers}, but {base.name} has {len(names)} layers."
        )
    return trainable_layers


def _first_of(names: list[str], wanted: str, base_name: str) -> int:
    if wanted in names:
        return names.index(wanted)
    starts = [place for place, name in enumerate(names) if _begins(name, wanted)]
    if not starts:
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[-3:]
        raise ValueError(
            f"`trainable_layers` is {wanted!r}, but no layer of {base_name} has a name that begins "
            f"so. Some that it has: {', '.join(near)}."
        )
    return starts[0]


def _begins(name: str, block: str) -> bool:
    """Tell whether a layer is of a block: "block1" begins "block1_conv1", but not "block10"."""
    following = name[len(block) : len(block) + 1]
    return name.startswith(block) and not (block[-1:].isdigit() and following.isdigit())


def check_trainable_layers(base: keras.Model, num_layers: int, *, batch_norm: bool = False) -> None:
    """Refuse a number of layers that would train nothing, and say what would.

    Raises
    ------
    ValueError
        If the last layers hold no weights that may learn.
    """
    set_trainable(base, num_layers, batch_norm=batch_norm)
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
