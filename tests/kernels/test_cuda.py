"""The CUDA kernels' own edges: launches, fours and single pixels, bfloat16, far positions.

`test_warp.py` runs on them too, and `test_cuda_agreement.py` holds them against the CPU's.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from numba import cuda as driver

from oracles import backend
from oracles import warp_reference as reference

cuda = backend.cuda_or_skip()
pytestmark = pytest.mark.usefixtures("on_cuda")

NOISE_BYTE = 0xA5
STORED = {"uint8": "uint8", "float16": "float16", "bfloat16": "uint16", "float32": "float32"}


def on_device(array):
    return driver.to_device(np.asarray(array))


def zeros(*shape, dtype="float32"):
    return on_device(np.zeros(shape, dtype))


def plan(seed, count, shape, out_shape, channels=3, source="uint8"):
    rng = np.random.default_rng(seed)
    images = reference.random_images(rng, (count, *shape, channels), source)
    maps = reference.random_inverse_maps(rng, count, shape, out_shape)
    colour = rng.uniform(-1, 1, (count, channels, channels + 1)).astype(np.float32)
    return images, maps, colour


def warp_into(out, images, maps, **options):
    """Warp into a device array."""
    count, length = len(images), images[0].size
    sizes = np.tile(images.shape[1:3], (count, 1))
    pixels = on_device(images.reshape(-1))
    cuda.warp_ragged(pixels, np.arange(count) * length, sizes, maps, out, **options)


def kinds_of_launches(monkeypatch):
    """Return a list that fills with the kind of each kernel launched."""
    kinds, make = [], cuda.make_warp_kernel
    monkeypatch.setattr(cuda, "make_warp_kernel", lambda kind: kinds.append(kind) or make(kind))
    return kinds


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_targets_of_all_widths_are_made_in_blocks(channels, width):
    images, maps, colour = plan(6, 1, (7, 9), (17, width), channels)
    out = np.full((1, 17, width, channels), np.nan, np.float32)
    backend.warp(images, maps, out, colour=colour, fill_mode="reflect")
    expected = reference.warp(images, maps, (17, width), "reflect", "bilinear", colour=colour)
    np.testing.assert_allclose(out, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("width", [11, 12])
def test_more_images_than_a_launch_takes_are_several(width, monkeypatch):
    images, maps, colour = plan(1, 5, (7, 9), (6, width))
    whole, parted = np.full((2, 5, 6, width, 3), np.nan, np.float32)
    backend.warp(images, maps, whole, colour=colour)
    counted = []
    monkeypatch.setattr(cuda, "MOST_IMAGES", 2)
    kernel_of = cuda.make_warp_kernel

    class Counted:
        def __init__(self, kind):
            self.kernel = kernel_of(kind)

        def __getitem__(self, configuration):
            counted.append(configuration[0][2])
            return self.kernel[configuration]

    monkeypatch.setattr(cuda, "make_warp_kernel", Counted)
    backend.warp(images, maps, parted, colour=colour)
    assert counted == [2, 2, 1]
    np.testing.assert_array_equal(parted, whole)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("target", STORED)
def test_fours_give_the_same_as_single_pixels(target, layout, monkeypatch):
    """A target that does not begin at a multiple of 16 bytes is stored pixel by pixel."""
    images, maps, colour = plan(2, 2, (7, 9), (5, 8))
    shape = (2, 5, 8, 3) if layout == "HWC" else (2, 3, 5, 8)
    stored, length = STORED[target], int(np.prod(shape))
    kinds = kinds_of_launches(monkeypatch)
    results = []
    for start in (0, 1):
        room = on_device(np.full(length + 1, 77, stored))
        out = room[start : start + length].reshape(shape)
        warp_into(out, images, maps, colour=colour, cval=31, fill_mode="constant",
                  layout=layout, target=target)  # fmt: skip
        results.append(out.copy_to_host())
    assert [kind.is_in_fours for kind in kinds] == [True, False]
    levels = [as_levels(result, target) for result in results]
    # Two kernels: a card may contract multiply-adds in one and not in the other.
    step = {"uint8": 1, "float16": 0.25, "bfloat16": 2, "float32": 1e-3}[target]
    np.testing.assert_allclose(*levels, atol=0 if backend.IS_SIMULATED else step, rtol=0)


def as_levels(stored, target):
    if target != "bfloat16":
        return stored.astype(np.float64)
    return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("width", "address", "dtype", "expected"),
    [
        (12, 16, "float32", True),
        (12, 8, "float32", False),
        (12, 8, "float16", True),
        (12, 4, "float16", False),
        (12, 4, "uint8", True),
        (12, 2, "uint8", False),
        (11, 16, "uint8", False),
        (2, 16, "float32", False),
    ],
)
def test_fours_need_whole_fours_and_an_aligned_target(monkeypatch, width, address, dtype, expected):
    monkeypatch.setattr(cuda, "address_of", lambda _: address)
    out = SimpleNamespace(dtype=np.dtype(dtype))
    assert cuda.can_go_in_fours(width, out) is expected


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("width", [11, 12])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_bfloat16_is_the_nearest_to_the_level(fill_mode, channels, width, layout):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    images, maps, colour = plan(3, 2, (7, 9), (4, width), channels)
    shape = (2, 4, width, channels) if layout == "HWC" else (2, channels, 4, width)
    out = on_device(np.full(shape, 77, np.uint16))
    options = {"fill_mode": fill_mode, "cval": 31.0, "colour": colour}
    warp_into(out, images, maps, layout=layout, target="bfloat16", **options)
    actual = out.copy_to_host().view(bfloat16)
    actual = actual if layout == "HWC" else actual.transpose(0, 2, 3, 1)
    levels = reference.warp(images, maps, (4, width), interpolation="bilinear", **options)
    sure = ~reference.near_jump(maps, (7, 9), (4, width), fill_mode, "bilinear")
    least, most = ((levels[sure] + off).astype(bfloat16) for off in (-0.01, 0.01))
    assert ((least <= actual[sure]) & (actual[sure] <= most)).all()


def test_bfloat16_ties_go_to_even_and_infinity_stays():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    levels = np.array([1, 257, 258, 259, 1e-40, 3.3e38, 3.4e38, 0], np.float32)
    out = on_device(np.zeros((1, 1, 8, 1), np.uint16))
    maps = np.eye(2, 3, dtype=np.float32)[np.newaxis]
    warp_into(out, levels.reshape(1, 1, 8, 1), maps, target="bfloat16", interpolation="nearest")
    np.testing.assert_array_equal(
        out.copy_to_host().ravel(), levels.astype(bfloat16).view(np.uint16)
    )


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("target", STORED)
@pytest.mark.parametrize("width", [1, 3, 4, 5, 8])
def test_no_byte_around_the_target_changes(width, target, layout):
    images, maps, _ = plan(4, 2, (5, 6), (4, width))
    shape = (2, 4, width, 3) if layout == "HWC" else (2, 3, 4, width)
    stored = np.dtype(STORED[target])
    size = int(np.prod(shape)) * stored.itemsize
    room = on_device(np.full(size + 128, NOISE_BYTE, np.uint8))
    out = room[64 : 64 + size].view(stored).reshape(shape)
    warp_into(out, images, maps, layout=layout, target=target)
    after = room.copy_to_host()
    assert (after[:64] == NOISE_BYTE).all()
    assert (after[64 + size :] == NOISE_BYTE).all()


@pytest.mark.parametrize("number", [2.0**30 - 64, 64 - 2.0**30, 1e9, 2.0**24 + 2])
@pytest.mark.parametrize("interpolation", reference.INTERPOLATIONS)
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_positions_up_to_the_limit_read_inside_the_image(fill_mode, interpolation, number):
    images = np.full((1, 4, 5, 1), 100, np.uint8)
    maps = np.array([[[-number / 2, 0, number], [0, -number / 8, number]]], np.float32)
    out = np.full((1, 3, 8, 1), np.nan, np.float32)
    backend.warp(images, maps, out, fill_mode=fill_mode, cval=100, interpolation=interpolation)
    np.testing.assert_array_equal(out, 100)


def test_nearest_holds_the_edge_up_to_the_limit():
    images = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    maps = np.array([[[1e9, 0, 0], [0, 0, -1e9]]], np.float32)
    out = np.full((1, 2, 1, 1), np.nan, np.float32)
    backend.warp(images, maps, out)
    np.testing.assert_array_equal(out.ravel(), [0, 8])


def test_the_table_goes_up_by_the_callers_way():
    """So that an engine can send it through memory of its own; and in order of its stream."""
    images, maps, _ = plan(5, 2, (7, 9), (5, 8))
    plain, own = zeros(2, 5, 8, 3), zeros(2, 5, 8, 3)
    sent = []
    warp_into(plain, images, maps)
    warp_into(own, images, maps, upload=lambda block: sent.append(block) or on_device(block))
    assert [block.dtype for block in sent] == [np.uint8]
    np.testing.assert_array_equal(own.copy_to_host(), plain.copy_to_host())
