"""The oracle itself is held against SciPy."""

import numpy as np
import pytest
import scipy.ndimage

from oracles import warp_reference as reference

SHAPES = [(7, 9), (12, 5), (2, 3), (1, 1), (1, 6), (5, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("interpolation", reference.INTERPOLATIONS)
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_reference_equals_scipy(fill_mode, interpolation, shape):
    rng = np.random.default_rng(3)
    out_shape = (17, 22)
    images = reference.random_images(rng, (8, *shape, 1), np.float32)
    maps = reference.random_inverse_maps(rng, 8, shape, out_shape)
    ours = reference.warp(images, maps, out_shape, fill_mode, interpolation, cval=7.5)
    theirs = [
        scipy.ndimage.affine_transform(
            image[..., 0].astype(np.float64),
            inverse_map[:, :2].astype(np.float64),
            inverse_map[:, 2].astype(np.float64),
            out_shape,
            order=reference.INTERPOLATIONS.index(interpolation),
            mode=fill_mode,
            cval=7.5,
        )
        for image, inverse_map in zip(images, maps, strict=True)
    ]
    sure = ~reference.near_jump(maps, shape, out_shape, fill_mode, interpolation)
    assert sure.mean() > 0.99
    np.testing.assert_allclose(ours[sure, 0], np.stack(theirs)[sure], atol=1e-8, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("interpolation", reference.INTERPOLATIONS)
@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
def test_reference_equals_scipy_on_whole_shifts(fill_mode, interpolation, size):
    """Whole shifts lie exactly on every jump: both must fall on the same side."""
    image = np.arange(size, dtype=np.float64)[:, np.newaxis]
    for shift in range(-13, 14):
        shifted = scipy.ndimage.affine_transform(
            image,
            np.eye(2),
            (shift, 0),
            order=reference.INTERPOLATIONS.index(interpolation),
            mode=fill_mode,
            cval=-1.0,
        )
        inverse_map = np.array([[[1, 0, shift], [0, 1, 0]]])
        ours = reference.warp(
            image[np.newaxis, ..., np.newaxis],
            inverse_map,
            (size, 1),
            fill_mode,
            interpolation,
            cval=-1.0,
        )
        np.testing.assert_array_equal(ours[0, ..., 0], shifted, err_msg=f"shift {shift}")
