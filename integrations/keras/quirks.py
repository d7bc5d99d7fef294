"""Keras 3 as it is documented, or with its two defects: the switch and where it is read."""

from __future__ import annotations

import os
from typing import Any

QUIRKS_VARIABLE = "FUSEWARP_QUIRKS"
QUIRKS = ("none", "keras")


def checked_quirks(quirks: str | None) -> str:
    """Return `"none"` or `"keras"`; None reads the environment variable FUSEWARP_QUIRKS.

    Raises
    ------
    ValueError
        If the argument or the variable is another word.
    """
    if quirks is not None:
        return str(one_of("quirks", quirks, QUIRKS))
    return str(one_of(QUIRKS_VARIABLE, os.environ.get(QUIRKS_VARIABLE) or "none", QUIRKS))


def one_of(name: str, value: Any, allowed: Any) -> Any:
    """Return `value`, or refuse it with the `allowed` ones (ValueError)."""
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"`{name}` must be one of {choices}. Received: {value!r}")
    return value
