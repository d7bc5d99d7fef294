"""Records of a user's own making: a function says what is in them."""

import math
import numbers
import pickle
import zlib
from collections.abc import Callable
from typing import Any

from .tar_labels import Value

RecordFunction = Callable[[bytes], tuple[bytes, Any]]


class FunctionRule:
    """What a function says of records.

    Parameters
    ----------
    function : callable
        Takes the bytes of a record and returns those of its picture and its label, or None. Must be
        one that pickle can name: of a module, not a lambda.

    Raises
    ------
    TypeError
        If it cannot be called, or pickled.
    """

    def __init__(self, function: RecordFunction) -> None:
        if not callable(function):
            raise TypeError(f"`record` must be a function of bytes, got {function!r}.")
        try:
            pickled = pickle.dumps(function, protocol=4)
        except Exception as error:  # pickle raises whatever it meets
            raise TypeError(
                f"`record` cannot be pickled ({error}); define it at the top of a module, so that "
                "other processes find it."
            ) from error
        self._function = function
        self.text = f"{getattr(function, '__name__', 'function')} {zlib.crc32(pickled):08x}"
        self.tag = "record"

    def describe(self, data: bytes) -> tuple[None, Value | None]:
        """See `ExampleRule.describe`; there is no name."""
        image, label = self._parts(data)
        _check_image(image)
        return None, _label(label)

    def image_of(self, data: bytes) -> bytes:
        """Return the bytes of the picture; raises ValueError as `describe` does."""
        image = self._parts(data)[0]
        _check_image(image)
        return bytes(image)

    def _parts(self, data: bytes) -> tuple[Any, Any]:
        try:
            found = self._function(data)
        except Exception as error:
            raise ValueError(
                f"cannot be read by `record` ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(
                f"gives {_shown(found)}: `record` must return (bytes of the picture, label or None)"
            )
        return found


def _check_image(image: Any) -> None:
    if not isinstance(image, bytes | bytearray | memoryview) or not len(image):
        raise ValueError(f"gives {_shown(image)} as its picture, not bytes")


def _label(label: Any) -> Value | None:
    if label is None or (isinstance(label, str) and label):
        found: str | None = label
        return found
    if isinstance(label, numbers.Integral):
        if abs(int(label)) < 2**63:
            return int(label)
    elif isinstance(label, numbers.Real) and math.isfinite(label):
        return float(label)
    raise ValueError(f"gives {_shown(label)} as its label, not a text or a number of 64 bits")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
