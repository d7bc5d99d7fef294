"""A trainer's arguments as a file: YAML or JSON, and back."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml

from ...engine import Policy
from .bases import PixelStep
from .heads import Head

OWN = "own"  # stands for an object that no file can hold
OBJECTS = ("base", "head")
_SERIALIZERS = {
    "optimizer": (keras.optimizers.serialize, keras.optimizers.deserialize),
    "loss": (keras.losses.serialize, keras.losses.deserialize),
}


def plain_values(trainer: Any) -> dict[str, Any]:
    """Return a trainer's arguments as numbers, strings, lists and dicts."""
    return {f.name: _plain(f.name, getattr(trainer, f.name)) for f in fields(trainer) if f.init}


def values_from(
    values: dict[str, Any], trainer_class: type, objects: dict[str, Any]
) -> dict[str, Any]:
    """Return arguments for a trainer from what `plain_values` made of them.

    Raises
    ------
    ValueError
        If a name is not one of its arguments, or an object of the user's own is missing.
    """
    known = [f.name for f in fields(trainer_class) if f.init]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"The configuration has {unknown}; a trainer has {known}.")
    arguments = {name: _object(name, value) for name, value in values.items()}
    arguments.update(objects)
    for name in OBJECTS:
        if isinstance(arguments.get(name), dict) and OWN in arguments[name]:
            raise ValueError(
                f"The configuration was made with a {name} of its own, {arguments[name][OWN]!r}, "
                f"which no file can hold: give it, from_config(values, {name}=...)."
            )
    return arguments


def as_text(values: dict[str, Any]) -> str:
    """Return a configuration as one line of JSON, the same for the same values."""
    return json.dumps(_ordered(values))


def _ordered(value: Any) -> Any:
    """Return dicts as lists in the order of their keys, which may be numbers and text."""
    if isinstance(value, dict):
        return sorted([repr(key), _ordered(item)] for key, item in value.items())
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def write_config(path: Path, values: dict[str, Any]) -> None:
    """Write a configuration as YAML.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration from YAML or JSON.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is neither, or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold names and values, got {type(values).__name__}.")
    return values


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, keras.Model):
        return {OWN: value.name}
    if isinstance(value, Policy):
        return value.to_dict()
    if isinstance(value, PixelStep | Head):
        return _plain(name, asdict(value))
    if isinstance(value, dict):
        return {_plain(name, key): _plain(name, item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, keras.Metric):
        return keras.metrics.serialize(value)
    if name in _SERIALIZERS and value is not None and not isinstance(value, str):
        return _SERIALIZERS[name][0](value)
    return str(value) if isinstance(value, Path) else value


def _object(name: str, value: Any) -> Any:
    if name == "policy" and value is not None:
        return Policy.from_dict(value)
    if name == "head" and isinstance(value, dict) and OWN not in value:
        return Head(**{key: _pair(item) for key, item in value.items()})
    if name == "pixels" and isinstance(value, dict):
        return PixelStep(**{key: _pair(item) for key, item in value.items()})
    if name in ("epochs", "learning_rate", "image_size"):
        return _pair(value)
    if name == "metrics" and value is not None:
        return [
            item if isinstance(item, str) else keras.metrics.deserialize(item) for item in value
        ]
    if name in _SERIALIZERS and isinstance(value, dict):
        return _SERIALIZERS[name][1](value)
    return value


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
