"""Policies on the command line: the default of `train` and `preview`, and policies in files."""

import json
from pathlib import Path
from typing import Any

from .engine import Policy

TRAIN_POLICY = Policy(  # the trainer's own default, which cannot be imported without Keras
    rotation_range=20,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=5,
    zoom_range=0.2,
    horizontal_flip=True,
)


def load_policy(path: Path) -> Policy:
    """Read a policy that `save_policy` wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError, TypeError
        If it is no JSON object of policy fields.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON file: {error}. Write one with --save-policy."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(values).__name__}.")
    return Policy.from_dict(values)


def save_policy(policy: Policy, path: Path) -> None:
    """Write a policy as JSON."""
    path.write_text(json.dumps(policy.to_dict(), indent=2) + "\n", encoding="utf-8")


def policy_from_options(base: Path | None, options: dict[str, Any]) -> Policy:
    """Give the policy the user asked for.

    Parameters
    ----------
    base : Path or None
        A saved policy to start from.
    options : dict
        Policy fields by name; None where the option was not given. Ranges may be text.

    Returns
    -------
    Policy
        With neither a base nor an option, the default of `fusewarp train`.
    """
    changes = {name: value for name, value in options.items() if value is not None}
    changes = {name: as_range(name, value) for name, value in changes.items()}
    if base is not None:
        return load_policy(base).replace(**changes)
    return Policy(**changes) if changes else TRAIN_POLICY


def as_range(name: str, value: Any) -> Any:
    """Turn the text ``0.2`` or ``0.8,1.2`` of a range into a number or a pair."""
    if not isinstance(value, str) or not name.endswith("_range"):
        return value
    try:
        numbers = tuple(float(number) for number in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        option = "--" + name.replace("_", "-")
        raise ValueError(
            f"{option} must be a number or LOW,HIGH (for example 0.8,1.2), got {value}."
        )
    return numbers if len(numbers) == 2 else numbers[0]
