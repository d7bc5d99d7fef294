"""What a script imports instead of `tensorflow.keras.preprocessing.image`.

``from fusewarp.keras import ImageDataGenerator`` is the whole change; docs/keras.md lists what
differs.
"""

from typing import TYPE_CHECKING, Any

from .integrations import keras as _integration
from .integrations.keras import (
    DataFrameIterator,
    DirectoryIterator,
    ImageDataGenerator,
    Iterator,
    NumpyArrayIterator,
)

if TYPE_CHECKING:
    from .integrations.keras.trainer import TransferTrainer

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "TransferTrainer",
]


def __getattr__(name: str) -> Any:
    if name == "TransferTrainer":
        return _integration.TransferTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
