"""Keras: the drop-in for its `ImageDataGenerator`, and the transfer-learning trainer."""

from typing import TYPE_CHECKING, Any

from .dataframe import DataFrameIterator
from .directory import DirectoryIterator
from .generator import ImageDataGenerator
from .iterators import Iterator, NumpyArrayIterator

if TYPE_CHECKING:
    from .trainer import TransferTrainer

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "TransferTrainer",
]


def __getattr__(name: str) -> Any:
    if name == "TransferTrainer":  # on first use: loaders need no trainer
        from .trainer import TransferTrainer

        return TransferTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
