"""What a trainer refuses before it starts, and in which words."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ...engine import ArraySource, FolderSource, Policy

Source = ArraySource | FolderSource


def pair_of(name: str, value: Any, factor: float) -> tuple[Any, Any]:
    """Return (head, fine-tuning) of a pair, or of one number and its `factor` for the second."""
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError(f"`{name}` must be one number or (head, fine_tuning), got {value!r}.")
        return value[0], value[1]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` must be one number or (head, fine_tuning), got {value!r}.")
    return value, value * factor


def check_whole(name: str, value: Any, low: int) -> None:
    """Refuse anything but a whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
    if value < low:
        raise ValueError(f"`{name}` must be at least {low}, got {value}.")


def check_epochs(epochs: tuple[Any, Any]) -> None:
    """Refuse epochs that are not whole numbers, or no epoch for the head."""
    for value in epochs:
        check_whole("epochs", value, 0)
    if epochs[0] == 0:
        raise ValueError(
            f"`epochs` must be at least 1 for the head, got {epochs}: fine-tuning under an "
            "untrained head would spoil the base."
        )


def check_learning_rates(rates: tuple[Any, Any]) -> None:
    """Refuse learning rates that are not above 0 and finite."""
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.floating):
            raise TypeError(f"`learning_rate` must be a number, got {rate!r}.")
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"`learning_rate` must be above 0 and finite, got {rate}.")


def checked_size(size: Any) -> tuple[int, int] | None:
    """Return (height, width) of one number or a pair; None stays None."""
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"`image_size` must be a number or (height, width), got {size!r}.")
    for side in sides:
        check_whole("image_size", side, 1)
    return int(sides[0]), int(sides[1])


def check_policy(policy: Any) -> None:
    """Refuse what is not a policy, and one that does the base's part."""
    if not isinstance(policy, Policy):
        raise TypeError(f"`policy` must be a Policy, got {policy!r}.")
    for name in ("rescale", "mean", "std"):
        value = getattr(policy, name)
        if value is not None:
            raise ValueError(
                f"`policy` has {name}={value}, but the trainer sets what the base wants to see; "
                f"both together would rescale twice. Leave {name} out."
            )


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse callbacks that would save a model which expects other pixels than raw levels."""
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(f"`callbacks` must be Keras callbacks, got {callback!r}.")
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            if not callback.save_weights_only:
                raise ValueError(
                    "A ModelCheckpoint would save the model without its pixel step. Use "
                    "save_weights_only=True, and save `trainer.model` after `fit`."
                )


def check_pictures(name: str, source: Any) -> None:
    """Refuse a source whose pictures are not uint8 RGB."""
    if not isinstance(source, ArraySource | FolderSource):
        raise TypeError(
            f"`{name}` must be a FolderSource or an ArraySource, got {type(source).__name__}."
        )
    if source.dtype != np.uint8:
        raise TypeError(
            f"`{name}` has {source.dtype} pictures; the trainer takes uint8 levels of 0-255, "
            "because it cannot tell whether floats are 0-1 or 0-255. Convert them before."
        )
    if source.channels != 3:
        raise ValueError(
            f"`{name}` has {source.channels} channels; the bases take RGB. For files use "
            'color_mode="rgb", for arrays np.repeat(images, 3, axis=3).'
        )


def check_source(name: str, source: Any) -> None:
    """Refuse a source to learn from, or to be measured on, that has no integer labels."""
    check_pictures(name, source)
    labels = source.labels
    if labels is None:
        raise ValueError(f"`{name}` has no labels. Give ArraySource `labels`, one per picture.")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` needs one integer label per picture, got {labels.dtype} labels of shape "
            f"{labels.shape}. Of one-hot labels take labels.argmax(axis=1)."
        )
    if labels.min() < 0:
        raise ValueError(f"The labels of `{name}` must start at 0, got {labels.min()}.")


def class_names_of(source: Source) -> list[str]:
    """Return the names of a source's classes; of arrays the numbers 0 .. the largest label."""
    labels = source.labels
    names = list(getattr(source, "class_names", []))
    if not names and labels is not None:
        names = [str(label) for label in range(int(labels.max()) + 1)]
    if len(names) < 2:
        raise ValueError(f"`train_source` has {len(names)} class(es), {names}; two are needed.")
    return names


def check_same_classes(class_names: list[str], source: Source) -> None:
    """Refuse a source with other classes, or other numbers for them, than the training data."""
    names = list(getattr(source, "class_names", []))
    if names and names != class_names:
        raise ValueError(
            f"The classes are {class_names} in training, but {names} here. Give FolderSource "
            f"classes={class_names}."
        )
    largest = 0 if source.labels is None else int(source.labels.max())
    if largest >= len(class_names):
        raise ValueError(
            f"There is a label {largest}, but training had {len(class_names)} classes, numbered "
            "from 0."
        )
