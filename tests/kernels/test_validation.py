"""Every refusal of `warp`: the type of the error, its words, and that nothing was written."""

import re

import numpy as np
import pytest

from fusewarp.kernels import warp, warp_ragged


def good():
    return {
        "images": np.zeros((2, 4, 5, 3), np.uint8),
        "inverse_maps": np.zeros((2, 2, 3), np.float32),
        "out": np.full((2, 6, 7, 3), 9, np.float32),
        "colour": np.zeros((2, 3, 4), np.float32),
    }


def unaligned(shape, dtype):
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(count + 1, np.uint8)[1:].view(dtype).reshape(shape)


def with_number(shape, number):
    array = np.zeros(shape, np.float32)
    array[-1, 1, 2] = number
    return array


def read_only(array):
    array.flags.writeable = False
    return array


TYPE_ERRORS = [
    ({"images": [[0]]}, "`images` must be a NumPy array, got list"),
    ({"out": None}, "`out` must be a NumPy array, got NoneType"),
    ({"colour": 1.0}, "`colour` must be a NumPy array, got float"),
    ({"images": np.zeros((2, 4, 5, 3), np.int16)}, "uint8, uint16, float32; got int16"),
    ({"images": np.zeros((2, 4, 5, 3), ">f4")}, "`images` needs dtype"),
    ({"out": np.zeros((2, 6, 7, 3))}, "uint8, float16, float32; got float64"),
    ({"out": np.zeros((2, 6, 7, 3), np.uint16)}, "`out` needs dtype"),
    ({"inverse_maps": np.zeros((2, 2, 3))}, "`inverse_maps` needs dtype float32; got float64"),
    ({"colour": np.zeros((2, 3, 4))}, "`colour` needs dtype float32"),
    ({"cval": "grey"}, "`cval` must be a number, got 'grey'"),
    ({"cval": None}, "`cval` must be a number"),
]

VALUE_ERRORS = [
    ({"images": np.zeros((4, 5, 3), np.uint8)}, "Add the batch axis with images[np.newaxis]"),
    ({"images": np.zeros((2, 4, 5), np.uint8)}, "got shape (2, 4, 5)"),
    ({"images": np.zeros((2, 0, 5, 3), np.uint8)}, "height and width from 1"),
    ({"images": np.zeros((2, 4, 0, 3), np.uint8)}, "height and width from 1"),
    ({"images": np.zeros((2, 4, 5, 0), np.uint8)}, "at least 1 channel"),
    ({"images": np.zeros((1, 2**22 + 1, 1, 1), np.uint8)}, "height and width from 1 to 4194304"),
    ({"images": np.zeros((2, 4, 10, 3), np.uint8)[:, :, ::2]}, "must be C-contiguous"),
    ({"images": unaligned((2, 4, 5, 3), np.uint16)}, "no multiple of its item size"),
    ({"inverse_maps": np.zeros((2, 3, 2), np.float32)}, "needs the shape (2, 2, 3), got (2, 3, 2)"),
    ({"inverse_maps": np.zeros((3, 2, 3), np.float32)}, "needs the shape (2, 2, 3)"),
    ({"inverse_maps": with_number((2, 2, 3), np.nan)}, "element [1, 1, 2] is nan"),
    ({"inverse_maps": with_number((2, 2, 3), np.inf)}, "`inverse_maps` must be finite"),
    ({"colour": with_number((2, 3, 4), -np.inf)}, "`colour` must be finite"),
    ({"colour": np.zeros((2, 3, 3), np.float32)}, "needs the shape (2, 3, 4), got (2, 3, 3)"),
    ({"colour": np.zeros((2, 4, 3), np.float32).transpose(0, 2, 1)}, "must be C-contiguous"),
    ({"out": np.zeros((2, 3, 6, 7), np.float32)}, "(2, height, width, 3) for HWC"),
    ({"out": np.zeros((3, 6, 7, 3), np.float32)}, "(2, height, width, 3) for HWC"),
    ({"out": np.zeros((2, 6, 7), np.float32)}, "`out` needs the shape"),
    ({"layout": "CHW"}, "(2, 3, height, width) for CHW, got (2, 6, 7, 3)"),
    ({"out": np.zeros((2, 0, 7, 3), np.float32)}, "`out` needs sizes from 1"),
    ({"out": np.zeros((2, 6, 7, 6), np.float32)[..., ::2]}, "must be C-contiguous"),
    ({"out": unaligned((2, 6, 7, 3), np.float32)}, "no multiple of its item size"),
    ({"out": read_only(np.zeros((2, 6, 7, 3), np.float32))}, "`out` is read-only"),
    ({"layout": "NCHW"}, '`layout` must be "HWC" or "CHW", got \'NCHW\''),
    ({"fill_mode": "edge"}, "constant, nearest, reflect, wrap, mirror; got 'edge'"),
    ({"fill_mode": None}, "`fill_mode` must be one of"),
    ({"interpolation": "cubic"}, "nearest, bilinear; got 'cubic'"),
    ({"cval": np.nan}, "`cval` must be finite"),
    ({"cval": 1e39}, "`cval` must be finite in float32, got 1e+39"),
    ({"cval": 10**400}, "`cval` must be finite"),
]


@pytest.mark.parametrize(("bad", "message"), TYPE_ERRORS, ids=[m for _, m in TYPE_ERRORS])
def test_warp_refuses_types(bad, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        warp(**good() | bad)


@pytest.mark.parametrize(("bad", "message"), VALUE_ERRORS, ids=[m for _, m in VALUE_ERRORS])
def test_warp_refuses_values(bad, message):
    arguments = good() | bad
    before = arguments["out"].copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        warp(**arguments)
    np.testing.assert_array_equal(arguments["out"], before)


@pytest.mark.parametrize("name", ["images", "inverse_maps", "colour"])
def test_warp_refuses_to_write_over_its_input(name):
    arguments = good()
    room = np.zeros(4096, np.uint8)
    shared = arguments[name]
    arguments[name] = room[: shared.nbytes].view(shared.dtype).reshape(shared.shape)
    start = shared.nbytes // 4 * 4 - 4
    out = arguments["out"]
    arguments["out"] = room[start : start + out.nbytes].view(out.dtype).reshape(out.shape)
    with pytest.raises(ValueError, match=f"`out` shares memory with `{name}`"):
        warp(**arguments)


def test_warp_takes_what_good_gives():
    arguments = good()
    warp(**arguments)
    np.testing.assert_array_equal(arguments["out"], 0)


def ragged(**changes):
    arguments = {
        "pixels": np.zeros(100, np.uint8),
        "starts": np.array([0, 40]),
        "sizes": np.array([[3, 4], [5, 4]]),
        "inverse_maps": np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1)),
        "out": np.full((2, 6, 7, 3), 9, np.float32),
        **changes,
    }
    return arguments


def test_ragged_images_may_end_where_pixels_do():
    arguments = ragged()
    warp_ragged(**arguments)
    assert not arguments["out"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": np.array([0, 41])}, "Image 1 begins at element 41"),
        ({"starts": np.array([-1, 40])}, "Image 0 begins at element -1"),
        ({"starts": np.array([2**62, 0])}, "does not lie within `pixels` of 100"),
        ({"sizes": np.array([[3, 4], [6, 4]])}, "Image 1"),
        ({"sizes": np.array([[0, 4], [5, 4]])}, "`sizes` must be from 1"),
        ({"sizes": np.array([[3, 2**23], [5, 4]])}, "`sizes` must be from 1"),
        ({"sizes": np.array([[3, 4]])}, "`starts` needs the shape"),
        ({"pixels": np.zeros((10, 10), np.uint8)}, "`pixels` needs 1 axis"),
        ({"out": np.zeros((1, 6, 7, 3), np.float32)}, "`out` needs room for 2"),
        ({"out": np.zeros((2, 6, 0, 3), np.float32)}, "`out` needs 4 axes"),
        ({"inverse_maps": np.full((2, 2, 3), np.nan, np.float32)}, "must be finite"),
        ({"layout": "NHWC"}, "`layout`"),
    ],
)
def test_ragged_images_outside_their_pixels_are_refused(changes, message):
    arguments = ragged(**changes)
    before = arguments["out"].copy()
    with pytest.raises(ValueError, match=message):
        warp_ragged(**arguments)
    np.testing.assert_array_equal(arguments["out"], before)


def test_ragged_places_must_be_int64():
    with pytest.raises(TypeError, match="`starts` needs dtype int64"):
        warp_ragged(**ragged(starts=np.array([0, 40], np.int32)))
