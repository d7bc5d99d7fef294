"""Every refusal of `warp`: what came, what is needed, and where there is one, the remedy."""

import numpy as np

from .codes import FILL_CODES, INTERPOLATION_CODES

SOURCE_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
TARGET_TYPES = (np.dtype(np.uint8), np.dtype(np.float16), np.dtype(np.float32))
MATRIX_TYPES = (np.dtype(np.float32),)
LARGEST_FLOAT = float(np.finfo(np.float32).max)
MOST_PIXELS = 2**22  # along one axis: whole float32 indices stay exact


def check_arguments(
    images: np.ndarray,
    inverse_maps: np.ndarray,
    out: np.ndarray,
    colour: np.ndarray | None,
    sources: np.ndarray | None,
    fill_mode: str,
    cval: float,
    interpolation: str,
    layout: str,
) -> tuple[int, np.float32, int]:
    """Refuse what the compiled loops cannot take; raises as `warp` says.

    Returns
    -------
    (int, float32, int)
        The code of the fill mode, `cval`, and the code of the interpolation.
    """
    fill_code = code_of(fill_mode, FILL_CODES, "fill_mode")
    interpolation_code = code_of(interpolation, INTERPOLATION_CODES, "interpolation")
    level = level_of(cval)
    _check_array(images, "images", SOURCE_TYPES)
    _check_array(out, "out", TARGET_TYPES)
    batch = sum(images.shape[:1]) if sources is None else _check_sources(sources, images)
    _check_shapes(images, out, batch, layout)
    channels = images.shape[3]
    check_matrices(inverse_maps, "inverse_maps", (batch, 2, 3))
    if colour is not None:
        check_matrices(colour, "colour", (batch, channels, channels + 1))
    inputs = {"images": images, "inverse_maps": inverse_maps, "sources": sources}
    _check_memory({**inputs, "colour": colour}, out)
    return fill_code, level, interpolation_code


def check_ragged_arguments(
    pixels: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    inverse_maps: np.ndarray,
    out: np.ndarray,
    colour: np.ndarray | None,
    fill_mode: str,
    cval: float,
    interpolation: str,
    layout: str,
) -> tuple[int, np.float32, int]:
    """Do as `check_arguments` for `warp_ragged`."""
    fill_code = code_of(fill_mode, FILL_CODES, "fill_mode")
    interpolation_code = code_of(interpolation, INTERPOLATION_CODES, "interpolation")
    level = level_of(cval)
    _check_array(pixels, "pixels", SOURCE_TYPES)
    _check_array(out, "out", TARGET_TYPES)
    if pixels.ndim != 1:
        raise ValueError(f"`pixels` needs 1 axis, got shape {pixels.shape}.")
    channels = check_target(out.shape, layout)
    check_places(starts, sizes, pixels.size, channels)
    if out.shape[0] != starts.size:
        raise ValueError(f"`out` needs room for {starts.size} images, got shape {out.shape}.")
    check_matrices(inverse_maps, "inverse_maps", (starts.size, 2, 3))
    if colour is not None:
        check_matrices(colour, "colour", (starts.size, channels, channels + 1))
    inputs = {"pixels": pixels, "starts": starts, "sizes": sizes}
    _check_memory({**inputs, "inverse_maps": inverse_maps, "colour": colour}, out)
    return fill_code, level, interpolation_code


def check_target(shape: tuple[int, ...], layout: str) -> int:
    """Return how many channels a target of this shape has."""
    _check_layout(layout)
    if len(shape) != 4 or 0 in shape[1:]:
        raise ValueError(f"`out` needs 4 axes of at least 1, got shape {shape}.")
    channels, *size = shape[1:] if layout == "CHW" else (shape[3], *shape[1:3])
    if max(size) > MOST_PIXELS:
        raise ValueError(f"`out` needs sizes from 1 to {MOST_PIXELS}, got shape {shape}.")
    return int(channels)


def check_places(starts: np.ndarray, sizes: np.ndarray, num_elements: int, channels: int) -> None:
    """Refuse images that do not lie within so many elements."""
    _check_array(starts, "starts", (np.dtype(np.int64),))
    _check_array(sizes, "sizes", (np.dtype(np.int64),))
    if starts.ndim != 1 or sizes.shape != (starts.size, 2):
        raise ValueError(
            "`starts` needs the shape (n,) and `sizes` (n, 2), got "
            f"{starts.shape} and {sizes.shape}."
        )
    if starts.size == 0:
        return
    if sizes.min() < 1 or sizes.max() > MOST_PIXELS:
        raise ValueError(
            f"`sizes` must be from 1 to {MOST_PIXELS}, got {sizes.min()} to {sizes.max()}."
        )
    ends = starts + sizes[:, 0] * sizes[:, 1] * channels  # at most 2**46 elements: no overflow
    if starts.min() < 0 or starts.max() > num_elements or ends.max() > num_elements:
        bad = int(np.argmax((starts < 0) | (starts > num_elements) | (ends > num_elements)))
        size = tuple(sizes[bad].tolist())
        raise ValueError(
            f"Image {bad} begins at element {starts[bad]} and has the size {size}: "
            f"it does not lie within `pixels` of {num_elements} elements."
        )


def _check_layout(layout: str) -> None:
    if layout not in ("HWC", "CHW"):
        raise ValueError(f'`layout` must be "HWC" or "CHW", got {layout!r}.')


def code_of(word: str, codes: dict[str, int], name: str) -> int:
    """Return the code of a word; raises ValueError for one that has none."""
    code = codes.get(word) if isinstance(word, str) else None
    if code is None:
        raise ValueError(f"`{name}` must be one of {', '.join(codes)}; got {word!r}.")
    return code


def level_of(cval: float) -> np.float32:
    """Return `cval` as float32; raises TypeError or ValueError for what is no finite number."""
    try:
        level = float(cval)
    except (TypeError, ValueError):
        raise TypeError(f"`cval` must be a number, got {cval!r}.") from None
    except OverflowError:
        level = np.inf
    if not abs(level) <= LARGEST_FLOAT:
        raise ValueError(f"`cval` must be finite in float32, got {cval!r}.")
    single: np.float32 = np.float32(level)
    return single


def _check_array(array: np.ndarray, name: str, types: tuple[np.dtype, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"`{name}` must be a NumPy array, got {type(array).__name__}.")
    if array.dtype not in types:
        known = ", ".join(dtype.name for dtype in types)
        raise TypeError(f"`{name}` needs dtype {known}; got {array.dtype}.")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"`{name}` must be C-contiguous, got strides {array.strides} for shape {array.shape}; "
            "np.ascontiguousarray makes a copy that is."
        )
    if not array.flags.aligned:
        raise ValueError(f"`{name}` starts at an address that is no multiple of its item size.")


def _check_sources(sources: np.ndarray, images: np.ndarray) -> int:
    """Return how many images are wanted."""
    _check_array(sources, "sources", (np.dtype(np.int64),))
    if sources.ndim != 1:
        raise ValueError(f"`sources` needs 1 axis, got shape {sources.shape}.")
    if sources.size and not (0 <= sources.min() and sources.max() < len(images)):
        raise ValueError(
            f"`sources` must name images from 0 to {len(images) - 1}, got "
            f"{sources.min()} to {sources.max()}."
        )
    return int(sources.size)


def _check_shapes(images: np.ndarray, out: np.ndarray, batch: int, layout: str) -> None:
    _check_layout(layout)
    if images.ndim != 4:
        hint = " Add the batch axis with images[np.newaxis]." if images.ndim == 3 else ""
        axes = "(batch, height, width, channels)"
        raise ValueError(f"`images` needs 4 axes {axes}, got shape {images.shape}.{hint}")
    _, height, width, channels = images.shape
    if min(height, width, channels) == 0 or max(height, width) > MOST_PIXELS:
        raise ValueError(
            f"`images` needs a height and width from 1 to {MOST_PIXELS} and at least 1 channel, "
            f"got shape {images.shape}."
        )
    channel_axis = 3 if layout == "HWC" else 1
    if out.ndim != 4 or out.shape[0] != batch or out.shape[channel_axis] != channels:
        wanted = f"({batch}, height, width, {channels})"
        wanted = wanted if layout == "HWC" else f"({batch}, {channels}, height, width)"
        raise ValueError(f"`out` needs the shape {wanted} for {layout}, got {out.shape}.")
    if 0 in out.shape[1:] or max(out.shape[1:]) > MOST_PIXELS:
        raise ValueError(f"`out` needs sizes from 1 to {MOST_PIXELS}, got shape {out.shape}.")


def check_matrices(matrices: np.ndarray, name: str, shape: tuple[int, ...]) -> None:
    """Refuse matrices of another shape or type, or with NaN or infinity."""
    _check_array(matrices, name, MATRIX_TYPES)
    if matrices.shape != shape:
        raise ValueError(f"`{name}` needs the shape {shape}, got {matrices.shape}.")
    finite = np.isfinite(matrices)
    if not finite.all():
        where = np.argwhere(~finite)[0]
        value = matrices[tuple(where)]
        raise ValueError(f"`{name}` must be finite; element {where.tolist()} is {value}.")


def _check_memory(inputs: dict[str, np.ndarray | None], out: np.ndarray) -> None:
    if not out.flags.writeable:
        raise ValueError("`out` is read-only; pass an array that can be written to.")
    for name, array in inputs.items():
        if array is not None and np.may_share_memory(array, out):
            raise ValueError(f"`out` shares memory with `{name}`; pass a buffer of its own.")
