"""The front door of the kernels: checks every argument, then calls one compiled loop."""

import numpy as np

from .codes import FILL_CODES, INTERPOLATION_CODES
from .generic import warp_generic

SOURCE_TYPES = (np.uint8, np.uint16, np.float32)
TARGET_TYPES = (np.uint8, np.float16, np.float32)
MOST_PIXELS = 2**22  # along one axis: float32 indices stay exact
NO_COLOUR = np.zeros((1, 0, 0), np.float32)
NO_COLOUR.flags.writeable = False


def warp(
    images: np.ndarray,
    inverse_maps: np.ndarray,
    out: np.ndarray,
    *,
    colour: np.ndarray | None = None,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation: str = "bilinear",
    layout: str = "HWC",
) -> None:
    """Resample a batch of images by affine maps, apply colour, cast and store, in one pass.

    Runs in the calling thread with the GIL released, and allocates nothing of image size.

    Parameters
    ----------
    images : (n, H, W, C) uint8, uint16 or float32
        C-contiguous; H and W from 1 to 2**22.
    inverse_maps : (n, 2, 3) float32
        C-contiguous, finite: output (row, col, 1) to source (row, col), pixel centres at integers.
    out : (n, h, w, C), or (n, C, h, w) with `layout="CHW"`; uint8, float16 or float32
        C-contiguous and apart from the inputs; overwritten. uint8 is rounded half up and clipped
        to 0..255; float targets are not clipped.
    colour : (n, C, C + 1) float32, optional
        C-contiguous, finite: source channels (c0 .. cC-1, 1) to output channels, applied after
        interpolation. None leaves the levels as they are.
    fill_mode : {"nearest", "constant", "reflect", "wrap", "mirror"}
        What lies outside the image, exactly as in `scipy.ndimage` (table: kernels/README.md).
    cval : float
        Source level outside the image with `fill_mode="constant"`; goes through `colour` too.
    interpolation : {"bilinear", "nearest"}
        SciPy's order 1 and order 0 (halves round up).
    layout : {"HWC", "CHW"}
        Order of the axes of `out`.

    Raises
    ------
    TypeError
        For an argument that is not an array, or of a dtype not named above.
    ValueError
        For a wrong shape, a size of 0, memory that is not contiguous, aligned, writeable (`out`) or
        apart, NaN or infinity in `inverse_maps`, `colour` or `cval`, or an unknown word.
        Nothing has been written then. A batch of 0 is no error.
    """
    fill_code = _code(fill_mode, FILL_CODES, "fill_mode")
    interpolation_code = _code(interpolation, INTERPOLATION_CODES, "interpolation")
    level = _level(cval)
    _check_array(images, "images", SOURCE_TYPES)
    _check_array(out, "out", TARGET_TYPES)
    _check_shapes(images, out, layout)
    batch, channels = images.shape[0], images.shape[3]
    _check_matrices(inverse_maps, "inverse_maps", (batch, 2, 3))
    if colour is not None:
        _check_matrices(colour, "colour", (batch, channels, channels + 1))
    _check_memory(images, inverse_maps, colour, out)
    if batch:
        colour = NO_COLOUR if colour is None else _read_only(colour)
        target = out.view(np.uint16) if out.dtype == np.float16 else out
        target = target.transpose(0, 2, 3, 1) if layout == "CHW" else target
        _run(images, inverse_maps, colour, fill_code, level, interpolation_code, target)


def _run(images, inverse_maps, colour, fill_code, level, interpolation_code, target):
    """Call the compiled loop; huge coordinates may overflow to infinity on the way, by design."""
    images, inverse_maps = _read_only(images), _read_only(inverse_maps)
    with np.errstate(all="ignore"):  # matters with NUMBA_DISABLE_JIT=1 only
        warp_generic(images, inverse_maps, colour, fill_code, level, interpolation_code, target)


def _read_only(array: np.ndarray) -> np.ndarray:
    """Give a view nobody can write to: Numba then compiles once for both kinds of array."""
    view = array.view()
    view.flags.writeable = False
    return view


def _code(word: str, codes: dict[str, int], name: str) -> int:
    code = codes.get(word) if isinstance(word, str) else None
    if code is None:
        raise ValueError(f"`{name}` must be one of {', '.join(codes)}; got {word!r}.")
    return code


def _level(cval: float) -> np.float32:
    try:
        level = np.float32(cval)
    except (TypeError, ValueError):
        raise TypeError(f"`cval` must be a number, got {cval!r}.") from None
    if not np.isfinite(level):
        raise ValueError(f"`cval` must be finite in float32, got {cval!r}.")
    return level


def _check_array(array: np.ndarray, name: str, types: tuple[type, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"`{name}` must be a NumPy array, got {type(array).__name__}.")
    if array.dtype not in types:
        known = ", ".join(np.dtype(known).name for known in types)
        raise TypeError(f"`{name}` needs dtype {known}; got {array.dtype}.")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"`{name}` must be C-contiguous, got strides {array.strides} for shape {array.shape}; "
            "np.ascontiguousarray makes a copy that is."
        )
    if not array.flags.aligned:
        raise ValueError(f"`{name}` starts at an address that is no multiple of its item size.")


def _check_shapes(images: np.ndarray, out: np.ndarray, layout: str) -> None:
    if layout not in ("HWC", "CHW"):
        raise ValueError(f'`layout` must be "HWC" or "CHW", got {layout!r}.')
    if images.ndim != 4:
        hint = " Add the batch axis with images[np.newaxis]." if images.ndim == 3 else ""
        raise ValueError(
            f"`images` needs 4 axes (batch, height, width, channels), got shape {images.shape}.{hint}"
        )
    batch, height, width, channels = images.shape
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


def _check_matrices(matrices: np.ndarray, name: str, shape: tuple[int, ...]) -> None:
    _check_array(matrices, name, (np.float32,))
    if matrices.shape != shape:
        raise ValueError(f"`{name}` needs the shape {shape}, got {matrices.shape}.")
    finite = np.isfinite(matrices)
    if not finite.all():
        where = np.argwhere(~finite)[0]
        value = matrices[tuple(where)]
        raise ValueError(f"`{name}` must be finite; element {where.tolist()} is {value}.")


def _check_memory(
    images: np.ndarray, inverse_maps: np.ndarray, colour: np.ndarray | None, out: np.ndarray
) -> None:
    if not out.flags.writeable:
        raise ValueError("`out` is read-only; pass an array that can be written to.")
    for array, name in ((images, "images"), (inverse_maps, "inverse_maps"), (colour, "colour")):
        if array is not None and np.may_share_memory(array, out):
            raise ValueError(f"`out` shares memory with `{name}`; pass a buffer of its own.")
