"""A base and a head connected: what is trained, and what is kept."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from .bases import ConvBase
from .heads import Head, check_own_head
from .tasks import Task


@dataclass(frozen=True)
class Networks:
    """Models that share their layers, and so their weights.

    Attributes
    ----------
    classifier : keras.Model
        From what the base sees to predictions: it is trained.
    extractor, top : keras.Model
        Its two parts: to what the head takes, and from there. Only `top` learns while features
        are kept.
    saved : keras.Model
        From raw RGB levels to predictions, with the base's pixel step inside: it is kept.
    """

    classifier: keras.Model
    extractor: keras.Model
    top: keras.Model
    saved: keras.Model


def connect(
    base: ConvBase, head: Head | keras.Model, task: Task, seed: int, precision: str | None
) -> Networks:
    """Put a head on a base.

    Parameters
    ----------
    base : ConvBase
    head : Head or keras.Model
    task : Task
    seed : int
        Of the head's weights and dropout.
    precision : {"float16", "bfloat16"} or None
        That the base was built in.

    Raises
    ------
    ValueError
        If a head of the user's own does not fit.
    """
    with mixed_precision(precision):
        pool, top = _layers_of(base, head, task, seed)
        pixels = keras.Input((*base.image_size, 3), name="pixels")
        features = _through(pool, _features(base, pixels))
        extractor = keras.Model(pixels, features, name="extractor")
        taken = keras.Input(features.shape[1:], name="features")
        top_model = keras.Model(taken, _through(top, taken), name="head")
        classifier = keras.Model(pixels, _through(top, features), name="classifier")
    levels = keras.Input((*base.image_size, 3), name="rgb_levels")
    features = _through(pool, _features(base, base.pixels.apply(levels)))
    saved = keras.Model(levels, _through(top, features), name="fusewarp_classifier")
    return Networks(classifier, extractor, top_model, saved)


@contextlib.contextmanager
def mixed_precision(name: str | None) -> Iterator[None]:
    """Build layers under a mixed policy of Keras."""
    before = keras.config.dtype_policy()
    if name is not None:
        keras.config.set_dtype_policy(f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _layers_of(
    base: ConvBase, head: Head | keras.Model, task: Task, seed: int
) -> tuple[list[keras.Layer], list[keras.Layer]]:
    """Return the layers that pool, and those that learn."""
    if isinstance(head, Head):
        return [head.pool()], head.top(task, seed)
    check_own_head(head, base.model.output_shape, task)
    return [], [head]


def _features(base: ConvBase, pixels: Any) -> Any:
    """Connect pixels (after the base's pixel step) to features."""
    # training=False: batch normalization uses its statistics, in both stages
    return base.model(base.pixels.order_channels(pixels), training=False)


def _through(layers: Sequence[keras.Layer], tensor: Any) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor
