"""A comparison is worth something only if its rows do the same work."""

import numpy as np
import pytest

from fusewarp.benchmarks.peers import PEERS, missing_packages, ours
from fusewarp.benchmarks.peers.opencv import warp_levels
from fusewarp.benchmarks.work import (
    ROTATION,
    SHEAR,
    SHIFT,
    SIDE,
    ZOOM,
    crops,
    drawn_maps,
    turning_maps,
    xy_maps,
)
from oracles.peer_calls import PeerCalls

LEVEL = 1 / 255
COUNT = 24
CENTRE = (SIDE - 1) / 2
MIDDLE = slice(SIDE // 2 - 40, SIDE // 2 + 40)


def peers(method):
    """List the installed peers that have a method; those with imports of seconds are slow."""
    return [
        pytest.param(peer.name, marks=[] if peer.process == "native" else pytest.mark.slow)
        for peer in PEERS
        if getattr(peer, method) and not missing_packages(peer)
    ]


@pytest.fixture(scope="module")
def call():
    calls = PeerCalls()
    yield calls
    calls.close()


def ramps():
    """Pictures whose red is the column and green the row: they tell where pixels came from."""
    row, col = np.mgrid[:SIDE, :SIDE].astype(np.uint8)
    return np.ascontiguousarray(np.stack([np.stack([col, row, 0 * row], 2)] * COUNT))


def fit_map(image):
    """Fit the inverse map (2, 3) of a warped ramp to its middle, which is filled by no draw."""
    row, col = (places.ravel() for places in np.mgrid[MIDDLE, MIDDLE])
    levels = image[MIDDLE, MIDDLE, :2].reshape(-1, 2).astype(np.float64) * 255
    here, source = np.column_stack([row, col, np.ones(len(row))]), levels[:, ::-1]
    fitted = np.linalg.lstsq(here, source, rcond=None)[0]
    assert np.abs(here @ fitted - source).max() < 2.0, "not affine"
    return fitted.T


def parameters(inverse_map):
    """Return turn in degrees, zoom, change of shape, displacement in pixels, mirrored or not."""
    linear = inverse_map[:, :2]
    mirrored = np.linalg.det(linear) < 0
    if mirrored:
        linear = linear @ np.diag([1.0, -1.0])
    left, sizes, right = np.linalg.svd(linear)
    turn = left @ right
    degrees = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    moved = np.abs(inverse_map @ [CENTRE, CENTRE, 1.0] - CENTRE).max()
    return degrees, np.sqrt(sizes.prod()), sizes[0] / sizes[1], moved, mirrored


@pytest.mark.parametrize("name", peers("warp"))
def test_a_peer_that_takes_our_maps_gives_our_pixels(name, call):
    images, maps = crops(8, SIDE), drawn_maps(8)
    expected = ours.warp_to_floats(images, maps)

    actual = call(name, "warp", images, maps)

    assert actual.shape == expected.shape
    assert actual.dtype == np.float32
    assert np.abs(actual - expected).mean() < 1.2 * LEVEL  # some cut to whole levels


@pytest.mark.parametrize("name", peers("augment"))
def test_a_peer_draws_from_the_same_ranges(name, call):
    made = call(name, "augment", ramps())

    assert made.shape == (COUNT, SIDE, SIDE, 3)
    assert made.dtype == np.float32
    fitted = np.array([parameters(fit_map(image)) for image in made])
    turns, zooms, shapes, moves, mirrored = fitted.T
    assert np.abs(turns).max() < ROTATION + SHEAR
    assert turns.std() > ROTATION / 4
    assert ZOOM[0] * 0.96 < zooms.min() < zooms.max() < ZOOM[1] / ZOOM[0] * 0.9
    assert np.ptp(zooms) > (ZOOM[1] - ZOOM[0]) / 5
    assert 1.03 < shapes.max() < 2.0  # shear and two zooms
    assert SHIFT * SIDE / 2 < moves.max() < SHIFT * SIDE * 1.8  # zoomed and turned
    assert 0 < mirrored.sum() < COUNT


def test_the_fit_finds_the_map():
    images, maps = ramps(), drawn_maps(COUNT)

    for image, inverse_map in zip(ours.warp_to_floats(images, maps), maps, strict=True):
        np.testing.assert_allclose(fit_map(image), inverse_map, atol=0.05)


def test_xy_maps_are_opencvs():
    images = crops(1, SIDE)
    turned = warp_levels(images, xy_maps(turning_maps(1, SIDE, 90)), np.empty_like(images))

    np.testing.assert_array_equal(turned[0], np.rot90(images[0]))


def test_the_pictures_differ_and_cannot_be_changed():
    images = crops(64, SIDE)

    assert len({image.tobytes() for image in images}) == 64
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
