"""The same plan on the CPU and on CUDA: the same levels, within what float32 leaves open.

They may differ where a value jumps with its position, for the CPU's positions are right to 4e-6
pixels and the device's to 2**-32 a column: at ties of `nearest` interpolation, on the first and
last pixel centre with `constant`, and on the seam of `wrap`. `near_jump` marks these pixels. A card
also contracts multiply-adds, which the last bits of a level show, and a rounding at the half.
Positions that are whole on both sides leave nothing open, jumps included.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusewarp import kernels
from oracles import backend
from oracles import warp_reference as reference

backend.cuda_or_skip()
pytestmark = pytest.mark.usefixtures("on_cuda")

LEVELS_APART = {"uint8": 1, "float16": 0.25, "float32": 0.01}
SIDES = st.integers(1, 8)
CHOICES = {
    "fill_mode": st.sampled_from(reference.FILL_MODES),
    "interpolation": st.sampled_from(reference.INTERPOLATIONS),
    "layout": st.sampled_from(["HWC", "CHW"]),
}
# Maps of an image of a size, which whole shifts then move further.
EXACT = {
    "identity": lambda height, width: [[1, 0, 0], [0, 1, 0]],
    "flip left and right": lambda height, width: [[1, 0, 0], [0, -1, width - 1]],
    "flip up and down": lambda height, width: [[-1, 0, height - 1], [0, 1, 0]],
    "turn by 90": lambda height, width: [[0, 1, 0], [-1, 0, width - 1]],
    "turn by 180": lambda height, width: [[-1, 0, height - 1], [0, -1, width - 1]],
    "turn by 270": lambda height, width: [[0, -1, height - 1], [1, 0, 0]],
}


def both(images, sizes, maps, out_shape, target, layout="HWC", **options):
    """Warp ragged images on the CPU and on CUDA; (n, h, w, C) each."""
    channels = images[0].shape[2]
    shape = (*out_shape, channels) if layout == "HWC" else (channels, *out_shape)
    lengths = np.array([image.size for image in images])
    place = (np.concatenate([image.ravel() for image in images]), np.cumsum(lengths) - lengths)
    outs = [np.full((len(images), *shape), 77, target) for _ in range(2)]
    for warp_ragged, out in zip((kernels.warp_ragged, backend.warp_ragged), outs, strict=True):
        warp_ragged(*place, sizes, maps, out, layout=layout, **options)
    return outs if layout == "HWC" else [out.transpose(0, 2, 3, 1) for out in outs]


def draw(data, source):
    """Draw two images of different sizes, a size for both to become, and maps and colours."""
    sizes = np.array(data.draw(st.lists(st.tuples(SIDES, SIDES), min_size=2, max_size=2)))
    out_shape, channels = data.draw(st.tuples(SIDES, SIDES)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    images = [reference.random_images(rng, (*size, channels), source) for size in sizes]
    maps = [reference.random_inverse_maps(rng, 1, size, out_shape)[0] for size in sizes]
    colour = rng.uniform(-0.6, 0.6, (2, channels, channels + 1)).astype(np.float32)
    return images, sizes, out_shape, np.stack(maps), data.draw(st.sampled_from([None, colour]))


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(),
    source=st.sampled_from(["uint8", "float32"]),
    target=st.sampled_from(list(LEVELS_APART)),
    cval=st.floats(-10, 300, width=32),
    **CHOICES,
)
def test_random_plans_agree(data, source, target, cval, fill_mode, interpolation, layout):
    images, sizes, out_shape, maps, colour = draw(data, source)
    options = {"fill_mode": fill_mode, "interpolation": interpolation, "cval": cval}
    outs = both(images, sizes, maps, out_shape, target, layout, colour=colour, **options)
    sure = ~np.concatenate(
        [
            reference.near_jump([inverse_map], size, out_shape, fill_mode, interpolation)
            for inverse_map, size in zip(maps, sizes, strict=True)
        ]
    )
    on_cpu, on_device = (out[sure].astype(np.float64) for out in outs)
    # float16 holds 11 bits: a level beyond 256 is a step of 0.25, beyond 512 twice that, and so on.
    apart = LEVELS_APART[target]
    relative = 2**-10 if target == "float16" else 0
    np.testing.assert_allclose(on_device, on_cpu, atol=apart, rtol=relative)


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    source=st.sampled_from(["uint8", "uint16", "float32"]),
    name=st.sampled_from(list(EXACT)),
    shift=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    target=st.sampled_from(["uint8", "float32"]),
    **CHOICES,
)
def test_whole_positions_give_the_same_bits(
    data, source, name, shift, target, fill_mode, interpolation, layout
):
    images, sizes, out_shape, maps, _ = draw(data, source)
    for inverse_map, size in zip(maps, sizes, strict=True):
        inverse_map[:] = EXACT[name](*size)
        inverse_map[:, 2] += shift
    options = {"fill_mode": fill_mode, "interpolation": interpolation, "cval": 31}
    outs = both(images, sizes, maps, out_shape, target, layout, **options)
    np.testing.assert_array_equal(*outs)
