"""What a script imports instead of `tensorflow.keras.preprocessing.image`.

``from fusewarp.keras import ImageDataGenerator`` is the whole change, and the functions of that
module are here too; docs/keras.md lists what differs.
"""

from typing import TYPE_CHECKING, Any

from .integrations import keras as _integration
from .integrations.keras import (
    DataFrameIterator,
    DirectoryIterator,
    ImageDataGenerator,
    Iterator,
    NumpyArrayIterator,
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    array_to_img,
    flip_axis,
    img_to_array,
    list_pictures,
    load_img,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
    save_img,
    smart_resize,
    transform_matrix_offset_center,
    validate_filename,
)

if TYPE_CHECKING:
    from .integrations.keras import (
        Diverged,
        Head,
        Interrupted,
        PixelStep,
        TransferTrainer,
        write_run_folder,
    )

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
    if name in _integration.ON_FIRST_USE:
        return getattr(_integration, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
