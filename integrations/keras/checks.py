"""What a trainer refuses before it starts, and in which words."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ...engine import Policy


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


def check_trainable(value: Any) -> None:
    """Refuse `trainable_layers` that is no number, block or "all"."""
    if isinstance(value, str) and value:
        return
    check_whole("trainable_layers", value, 0)


def check_smoothing(value: Any) -> None:
    """Refuse a label smoothing outside 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"`label_smoothing` must be at least 0 and below 1, got {value!r}.")


def check_loss(loss: Any, label_smoothing: float) -> None:
    """Refuse a loss that would take probabilities for logits, or leave the smoothing out."""
    if loss is None:
        return
    known = keras.losses.get(loss)
    config = known.get_config() if isinstance(known, keras.losses.Loss) else {}
    if config.get("from_logits"):
        raise ValueError(
            "`loss` has from_logits=True, but the model gives probabilities. Leave it out."
        )
    if label_smoothing:
        raise ValueError(
            f"`label_smoothing` is {label_smoothing}, but `loss` is your own and would not use it. "
            "Give it to the loss."
        )


def check_precision(value: Any) -> None:
    """Refuse a type that Keras has no mixed policy for."""
    if value not in (None, "float16", "bfloat16"):
        raise ValueError(f'`mixed_precision` must be "float16", "bfloat16" or None, got {value!r}.')


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
    if not all(hasattr(source, field) for field in ("read", "names", "dtype", "channels")):
        raise TypeError(
            f"`{name}` must be a FolderSource, an ArraySource or another source of "
            f"fusewarp.engine, a tf.data.Dataset or a keras.utils.PyDataset, got "
            f"{type(source).__name__}."
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
