"""Keras: the drop-in for its `ImageDataGenerator`, and the transfer-learning trainer."""

import importlib
from typing import TYPE_CHECKING, Any

from .dataframe import DataFrameIterator
from .directory import DirectoryIterator
from .functions import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    flip_axis,
    list_pictures,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
    transform_matrix_offset_center,
    validate_filename,
)
from .generator import ImageDataGenerator
from .image_utils import array_to_img, img_to_array, load_img, save_img
from .iterators import Iterator, NumpyArrayIterator
from .resizing import smart_resize

if TYPE_CHECKING:
    from .bases import PixelStep
    from .heads import Head
    from .interrupt import Interrupted
    from .run_folder import write_run_folder
    from .stages import Diverged
    from .trainer import TransferTrainer

ON_FIRST_USE = {  # loaders need no trainer, and no Keras
    "Diverged": "stages",
    "Head": "heads",
    "Interrupted": "interrupt",
    "PixelStep": "bases",
    "TransferTrainer": "trainer",
    "write_run_folder": "run_folder",
}

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "Diverged",
    "Head",
    "ImageDataGenerator",
    "Interrupted",
    "Iterator",
    "NumpyArrayIterator",
    "PixelStep",
    "TransferTrainer",
    "apply_affine_transform",
    "apply_brightness_shift",
    "apply_channel_shift",
    "array_to_img",
    "flip_axis",
    "img_to_array",
    "list_pictures",
    "load_img",
    "random_brightness",
    "random_channel_shift",
    "random_rotation",
    "random_shear",
    "random_shift",
    "random_zoom",
    "save_img",
    "smart_resize",
    "transform_matrix_offset_center",
    "validate_filename",
    "write_run_folder",
]


def __getattr__(name: str) -> Any:
    if name in ON_FIRST_USE:
        return getattr(importlib.import_module(f".{ON_FIRST_USE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
