"""What the CUDA `warp_ragged` refuses: one sentence each, before anything is written."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from numba import cuda as driver

from fusewarp.kernels.cuda_validation import MOST_ROWS
from oracles import backend

cuda = backend.cuda_or_skip()
pytestmark = pytest.mark.usefixtures("on_cuda")

IMAGES, ROWS, COLS, CHANNELS = 2, 5, 6, 3


def on_device(array):
    return driver.to_device(np.asarray(array))


def zeros(*shape, dtype="float32"):
    return on_device(np.zeros(shape, dtype))


def pretend(shape, dtype):
    """Make what is asked of a device array before a launch, without its memory."""
    size = int(np.prod(shape, dtype=object))
    fixed = {"copy_to_host": None, "is_c_contiguous": lambda: True}
    return SimpleNamespace(shape=shape, size=size, dtype=np.dtype(dtype), **fixed)


def arguments(**changes):
    """Return arguments that are right, but for the changes."""
    length = ROWS * COLS * CHANNELS
    right = {
        "pixels": zeros(IMAGES * length, dtype="uint8"),
        "starts": np.arange(IMAGES) * length,
        "sizes": np.tile([ROWS, COLS], (IMAGES, 1)),
        "inverse_maps": np.tile(np.eye(2, 3, dtype=np.float32), (IMAGES, 1, 1)),
        "out": zeros(IMAGES, 4, 8, CHANNELS),
    }
    return {**right, **changes}


def maps_with(number):
    maps = arguments()["inverse_maps"]
    maps[1, 0, 2] = number
    return maps


def spread(*shape):
    """Return a device array with a gap after each element of the last axis."""
    return zeros(*shape[:-1], 2 * shape[-1])[..., ::2]


# What is wrong, made when a device is there; the error; what it says.
REFUSALS = {
    "pixels on the host": (
        lambda: {"pixels": np.zeros(180, np.uint8)}, TypeError, "`pixels` must be a device array"
    ),
    "out on the host": (
        lambda: {"out": np.zeros((2, 4, 8, 3), np.float32)}, TypeError,
        "`out` must be a device array",
    ),
    "pixels of int16": (
        lambda: {"pixels": zeros(180, dtype="int16")}, TypeError,
        "`pixels` needs 1 axis and dtype uint8, uint16, float32; got int16",
    ),
    "pixels of two axes": (
        lambda: {"pixels": zeros(2, 90, dtype="uint8")}, TypeError, "`pixels` needs 1 axis"
    ),
    "out of float64": (
        lambda: {"out": zeros(2, 4, 8, 3, dtype="float64")}, TypeError, "`target` must be one of"
    ),
    "bfloat16 in float32": (lambda: {"target": "bfloat16"}, TypeError, "uint16 for bfloat16"),
    "uint16 without a target": (
        lambda: {"out": zeros(2, 4, 8, 3, dtype="uint16")}, TypeError, "`target` must be one of"
    ),
    "pixels with gaps": (
        lambda: {"pixels": zeros(360, dtype="uint8")[::2]}, ValueError,
        "`pixels` must be C-contiguous",
    ),
    "out with gaps": (
        lambda: {"out": spread(2, 4, 8, 3)}, ValueError, "`out` must be C-contiguous"
    ),
    "out of three axes": (lambda: {"out": zeros(4, 8, 3)}, ValueError, "`out` needs 4 axes"),
    "out of no rows": (lambda: {"out": zeros(2, 0, 8, 3)}, ValueError, "`out` needs 4 axes"),
    "out of three images": (
        lambda: {"out": zeros(3, 4, 8, 3)}, ValueError, "`out` needs room for 2 images"
    ),
    "out of more channels": (
        lambda: {"out": zeros(2, 4, 8, 4)}, ValueError, "does not lie within `pixels`"
    ),
    "an image outside": (
        lambda: {"starts": np.array([0, 91])}, ValueError, "Image 1 begins at element 91"
    ),
    "sizes of int32": (
        lambda: {"sizes": np.full((2, 2), 3, np.int32)}, TypeError, "`sizes` needs dtype int64"
    ),
    "starts on the device": (
        lambda: {"starts": on_device(np.array([0, 90]))}, TypeError,
        "`starts` must be a NumPy array",
    ),
    "maps for one": (
        lambda: {"inverse_maps": maps_with(0)[:1]}, ValueError, "`inverse_maps` needs the shape"
    ),
    "maps with NaN": (
        lambda: {"inverse_maps": maps_with(np.nan)}, ValueError, "`inverse_maps` must be finite"
    ),
    "a far position": (
        lambda: {"inverse_maps": maps_with(2.0**30)}, ValueError,
        "`inverse_maps[1]` reads 1.07e+09 pixels away",
    ),
    "a farther position": (
        lambda: {"inverse_maps": maps_with(-3e38)}, ValueError, "`inverse_maps[1]` reads 3e+38"
    ),
    "colour of float64": (
        lambda: {"colour": np.zeros((2, 3, 4))}, TypeError, "`colour` needs dtype float32"
    ),
    "an unknown fill mode": (
        lambda: {"fill_mode": "edge"}, ValueError, "`fill_mode` must be one of"
    ),
    "an unknown interpolation": (
        lambda: {"interpolation": "cubic"}, ValueError, "`interpolation` must be one of"
    ),
    "an unknown layout": (
        lambda: {"layout": "NHWC"}, ValueError, '`layout` must be "HWC" or "CHW"'
    ),
    "an unknown target": (lambda: {"target": "int8"}, TypeError, "got 'int8' and float32"),
    "cval of infinity": (lambda: {"cval": np.inf}, ValueError, "`cval` must be finite"),
    "too many rows": (
        lambda: {"out": pretend((2, MOST_ROWS + 1, 1, 3), "uint8")}, ValueError,
        f"`out` has {MOST_ROWS + 1} rows",
    ),
    "too many rows, planar": (
        lambda: {"out": pretend((2, 3, MOST_ROWS + 1, 1), "uint8"), "layout": "CHW"}, ValueError,
        f"`out` has {MOST_ROWS + 1} rows",
    ),
    "an image of 2**31 elements": (
        lambda: {
            "pixels": pretend((4 * 2**31,), "uint8"),
            "sizes": np.array([[5, 6], [2**16, 2**15]]),
        },
        ValueError,
        "Image 1 has 6442450944 elements",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit_is_refused(case):
    change, error, message = REFUSALS[case]
    given = arguments(**change())
    with pytest.raises(error, match=re.escape(message)):
        cuda.warp_ragged(**given)
    if case not in ("out on the host", "too many rows", "too many rows, planar"):
        assert not given["out"].copy_to_host().any()


def test_arguments_without_a_change_are_taken():
    given = arguments(pixels=on_device(np.full(180, 7, np.uint8)))
    cuda.warp_ragged(**given)
    np.testing.assert_array_equal(given["out"].copy_to_host(), 7)


def test_a_batch_of_none_launches_nothing(monkeypatch):
    monkeypatch.setattr(cuda, "launch", None)  # a call would raise
    cuda.warp_ragged(
        zeros(0, dtype="uint8"), np.empty(0, np.int64), np.empty((0, 2), np.int64),
        np.empty((0, 2, 3), np.float32), pretend((0, 4, 8, 3), "float32"),
    )  # fmt: skip


def test_out_must_not_share_memory_with_pixels():
    shared = zeros(2, 4, 8, CHANNELS)
    wrong = {"pixels": shared.reshape(shared.size), "starts": np.zeros(2, np.int64), "out": shared}
    with pytest.raises(ValueError, match="shares memory"):
        cuda.warp_ragged(**arguments(**wrong))


def test_out_may_lie_between_images():
    memory = zeros(1100, dtype="uint8")
    between = memory[200:968].view(np.float32).reshape((IMAGES, 4, 8, CHANNELS))
    places = {"pixels": memory, "starts": np.array([0, 968]), "out": between}
    cuda.warp_ragged(**arguments(**places))
    for starts in ([0, 967], [111, 968]):
        with pytest.raises(ValueError, match="shares memory"):
            cuda.warp_ragged(**arguments(**{**places, "starts": np.array(starts)}))
