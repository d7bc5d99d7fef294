"""Every refusal of the CUDA `warp_ragged`: as `validation.py`, of arrays that lie on a device."""

from typing import Any

import numpy as np

from .codes import FILL_CODES, INTERPOLATION_CODES
from .validation import (
    SOURCE_TYPES,
    check_matrices,
    check_places,
    check_target,
    code_of,
    level_of,
)

STORED_TYPES = {"uint8": "uint8", "float16": "float16", "bfloat16": "uint16", "float32": "float32"}
MOST_ROWS = 65535 * 16  # the second side of a grid, in blocks of 16 rows


def check_device_arguments(
    pixels: Any,
    starts: np.ndarray,
    sizes: np.ndarray,
    inverse_maps: np.ndarray,
    out: Any,
    colour: np.ndarray | None,
    fill_mode: str,
    cval: float,
    interpolation: str,
    layout: str,
    target: str,
) -> tuple[int, np.float32, int]:
    """Refuse what the kernels cannot take; raises and returns as `check_ragged_arguments`."""
    fill_code = code_of(fill_mode, FILL_CODES, "fill_mode")
    interpolation_code = code_of(interpolation, INTERPOLATION_CODES, "interpolation")
    level = level_of(cval)
    _check_device_array(pixels, "pixels")
    _check_device_array(out, "out")
    if pixels.dtype not in SOURCE_TYPES or len(pixels.shape) != 1:
        known = ", ".join(dtype.name for dtype in SOURCE_TYPES)
        raise TypeError(
            f"`pixels` needs 1 axis and dtype {known}; got {pixels.dtype} of shape {pixels.shape}."
        )
    if STORED_TYPES.get(target) != out.dtype.name:
        raise TypeError(
            f"`target` must be one of {', '.join(STORED_TYPES)} and `out` of that type, uint16 for "
            f"bfloat16; got {target!r} and {out.dtype}."
        )
    channels = check_target(out.shape, layout)
    rows = out.shape[2 if layout == "CHW" else 1]
    if rows > MOST_ROWS:
        raise ValueError(f"`out` has {rows} rows; a CUDA kernel takes up to {MOST_ROWS}.")
    check_places(starts, sizes, pixels.size, channels)
    if out.shape[0] != starts.size:
        raise ValueError(f"`out` needs room for {starts.size} images, got shape {out.shape}.")
    check_matrices(inverse_maps, "inverse_maps", (starts.size, 2, 3))
    if colour is not None:
        check_matrices(colour, "colour", (starts.size, channels, channels + 1))
    return fill_code, level, interpolation_code


def _check_device_array(array: Any, name: str) -> None:
    if isinstance(array, np.ndarray) or not hasattr(array, "copy_to_host"):
        raise TypeError(
            f"`{name}` must be a device array, got {type(array).__name__}; "
            '`fusewarp.Augmenter(device="cuda")` brings arrays to the device.'
        )
    if not array.is_c_contiguous():
        raise ValueError(
            f"`{name}` must be C-contiguous; make a copy that is (CuPy: `cupy.ascontiguousarray`, "
            "PyTorch: `tensor.contiguous()`)."
        )
