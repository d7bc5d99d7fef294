"""Pictures made smaller by 2 and more: no aliasing, and nothing else changes."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy
from fusewarp.engine.affine import source_maps
from fusewarp.kernels import warp

PHOTOS = {"astronaut": data.astronaut(), "coffee": data.coffee(), "chelsea": data.chelsea()}
TURNING = Policy(rotation_range=180, shear_range=10, zoom_range=(0.9, 1.4), horizontal_flip=True)


def zone_plate(side: int) -> np.ndarray:
    """Rings that become ever finer, to one of two pixels at the edge: every frequency there is."""
    row, col = np.mgrid[:side, :side] - (side - 1) / 2
    rings = 127.5 + 127.5 * np.cos(np.pi * (row**2 + col**2) / side)
    return np.repeat(np.round(rings)[:, :, np.newaxis].astype(np.uint8), 3, axis=2)


PHOTOS["zone plate"] = zone_plate(512)


def psnr(actual, expected, margin=3) -> float:
    inner = (slice(margin, -margin), slice(margin, -margin))
    error = np.asarray(actual, float)[inner] - np.asarray(expected, float)[inner]
    mean = np.square(error).mean()
    return float(10 * np.log10(255**2 / mean)) if mean else np.inf


def without_prefilter(augmenter: Augmenter, image: np.ndarray, sample_id: int = 0) -> np.ndarray:
    size = augmenter.size
    plan = augmenter.plan(np.array([sample_id]), 0, size=size, channels=3, source_dtype=np.uint8)
    out = np.empty((1, *size, 3), augmenter.dtype)
    maps = plan.inverse_maps(slice(None), image.shape[:2])
    warp(np.ascontiguousarray(image)[np.newaxis], maps, out, fill_mode=augmenter.policy.fill_mode)
    return out[0]


@pytest.mark.parametrize(
    ("name", "least"), {"zone plate": 50, "astronaut": 50, "coffee": 50}.items()
)
def test_a_whole_reduction_equals_pillows_reduce(name, least):
    photo = PHOTOS[name][: 4 * 96, : 4 * 120]
    size = (photo.shape[0] // 4, photo.shape[1] // 4)
    augmenter = Augmenter(Policy(), size=size, dtype="uint8")
    expected = Image.fromarray(photo).reduce(4)
    assert psnr(augmenter.apply(photo[np.newaxis], [0])[0], expected) > least
    assert psnr(without_prefilter(augmenter, photo), expected) < least - 15


@pytest.mark.parametrize("scale", [2.5, 3.0, 5.2])
@pytest.mark.parametrize(
    ("name", "least"), {"zone plate": 21, "astronaut": 36, "coffee": 38}.items()
)
def test_any_reduction_is_close_to_pillows_antialiased_resize(name, least, scale):
    photo = PHOTOS[name]
    size = (int(photo.shape[0] / scale), int(photo.shape[1] / scale))
    augmenter = Augmenter(Policy(), size=size, dtype="uint8")
    expected = Image.fromarray(photo).resize(size[::-1], Image.Resampling.BILINEAR)
    assert psnr(augmenter.apply(photo[np.newaxis], [0])[0], expected) > least
    assert psnr(without_prefilter(augmenter, photo), expected) < least - 4


def supersampled(augmenter: Augmenter, image: np.ndarray, sample_id: int, times=8) -> np.ndarray:
    """Warp to an output `times` as large in each direction, and average."""
    height, width = augmenter.size
    plan = augmenter.plan(
        np.array([sample_id]), 0, size=(height, width), channels=3, source_dtype=np.uint8
    )
    maps = source_maps(plan.frame, (height, width), [image.shape[:2]]).astype(float)
    finer = maps.copy()
    finer[:, :, :2] /= times
    finer[:, :, 2] += maps[:, :, :2].sum(axis=2) * (1 - times) / (2 * times)
    out = np.empty((1, height * times, width * times, 3), np.float32)
    warp(image[np.newaxis], finer.astype(np.float32), out)
    return out.reshape(height, times, width, times, 3).mean((1, 3))


@pytest.mark.parametrize(
    ("name", "least"), {"zone plate": 18, "astronaut": 29, "coffee": 31}.items()
)
def test_turned_and_zoomed_pictures_do_not_alias(name, least):
    photo = PHOTOS[name]
    augmenter = Augmenter(TURNING, size=(120, 120), dtype="uint8")
    ours, plain = [], []
    for sample_id in range(12):
        expected = supersampled(augmenter, photo, sample_id)
        ours.append(psnr(augmenter.apply(photo[np.newaxis], [sample_id])[0], expected))
        plain.append(psnr(without_prefilter(augmenter, photo, sample_id), expected))
    print(name, min(ours), np.median(ours), min(plain), np.median(plain), max(plain))
    assert min(ours) > least
    assert max(plain) < min(ours)


@pytest.mark.parametrize("side", [120, 200, 239])
def test_a_step_below_two_pixels_is_left_alone(side):
    photo = PHOTOS["coffee"][:side, :side]
    augmenter = Augmenter(Policy(rotation_range=180), size=(120, 120))
    for sample_id in range(5):
        np.testing.assert_array_equal(
            augmenter.apply(photo[np.newaxis], [sample_id])[0],
            without_prefilter(augmenter, photo, sample_id),
        )


def test_each_axis_is_reduced_by_its_own_step():
    """Fine stripes along the axis that is not made smaller stay; those across it become gray."""
    stripes = np.zeros((64, 256, 3), np.uint8)
    stripes[::2] = 200
    augmenter = Augmenter(Policy(), size=(64, 64), dtype="uint8")
    assert np.array_equal(augmenter.apply(stripes[np.newaxis], [0])[0], stripes[:, ::4])
    stripes = np.zeros((64, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (augmenter.apply(stripes[np.newaxis], [0]) == 100).all()


def test_nearest_never_mixes_levels():
    labels = np.random.default_rng(0).choice(np.array([3, 90, 200], np.uint8), (1, 300, 300, 1))
    policy = Policy(rotation_range=30, interpolation="nearest")
    out = Augmenter(policy, size=50, dtype="uint8").apply(labels, [4])
    assert set(np.unique(out)) == {3, 90, 200}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_do_not_depend_on_the_company(dtype, channels):
    """Large and small pictures in any order, alone, as an array and by a loader."""
    rng = np.random.default_rng(channels)
    top = {"uint8": 256, "uint16": 65536, "float32": 256}[dtype]
    images = rng.integers(0, top, (9, 90, 100, channels)).astype(dtype)
    policy = Policy(rotation_range=90, zoom_range=(0.3, 1.5), brightness_range=(0.5, 1))
    augmenter = Augmenter(policy, size=(40, 38), threads=2)
    plan = augmenter.plan(np.arange(9), 0, size=(40, 38), channels=channels, source_dtype=dtype)
    factors, _, _ = plan.fit(slice(None), ArraySource(images).locate(np.arange(9)))
    assert {1, 2} <= set(factors.ravel().tolist())
    alone = [augmenter.apply(images[i : i + 1], [i])[0] for i in range(9)]
    together = augmenter.apply(images, np.arange(9))
    np.testing.assert_array_equal(together, alone)
    order = [8, 0, 3, 5, 1]
    listed = augmenter.apply([images[i] for i in order], order)
    np.testing.assert_array_equal(listed, together[order])
    for batch in Loader(ArraySource(images), augmenter, 4):
        np.testing.assert_array_equal(batch.images, together[batch.sample_ids])


@pytest.fixture
def photo_files(tmp_path):
    """A folder of JPEGs and PNGs of one picture, in sizes that eighths do not divide."""
    for name, photo in PHOTOS.items():
        picture = Image.fromarray(photo[:299, :451])
        picture.save(tmp_path / f"{name}.jpg", quality=97, subsampling=0)
        picture.save(tmp_path / f"{name}.png")
    return FolderSource(tmp_path, labelled=False)


def test_files_give_what_their_decoded_pixels_give(photo_files):
    """PNGs to the last bit; JPEGs are reduced by their decoder, whose filter differs a little."""
    augmenter = Augmenter(TURNING, size=(60, 70), dtype="uint8")
    for batch in Loader(photo_files, augmenter, 2):
        for sample_id, image in zip(batch.sample_ids, batch.images, strict=True):
            whole = photo_files.read(int(sample_id))
            expected = augmenter.apply(whole[np.newaxis], [sample_id])[0]
            if photo_files.names[sample_id].endswith("png"):
                np.testing.assert_array_equal(image, expected)
            else:
                print(photo_files.names[sample_id], psnr(image, expected))
                assert psnr(image, expected) > 30


def test_a_reduced_jpeg_is_not_moved(tmp_path):
    """A ramp: a displacement by a tenth of a source pixel would be a tenth of its slope."""
    row, col = np.mgrid[:371, :491]
    ramp = (20 + row * 0.3 + col * 0.2).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.jpg", quality=100)
    augmenter = Augmenter(Policy(rotation_range=50), size=(60, 80))
    source = FolderSource(tmp_path, color_mode="grayscale", labelled=False)
    (batch,) = Loader(source, augmenter)
    plan = augmenter.plan(np.array([0]), 0, size=(60, 80), channels=1, source_dtype=np.uint8)
    expected = np.empty((1, 60, 80, 1), np.float32)
    warp(source.read(0)[np.newaxis], plan.inverse_maps(slice(None), (371, 491)), expected)
    inner = (slice(None), slice(15, -15), slice(15, -15))
    assert abs((batch.images - expected)[inner]).mean() < 0.3
    assert abs((batch.images - expected)[inner].mean()) < 0.05


class WatchedFolder(FolderSource):
    """Notes the size asked for of each sample."""

    def read_into(self, sample_id, min_size, room):
        self.asked[sample_id] = min_size
        return super().read_into(sample_id, min_size, room)


def test_each_picture_is_decoded_for_its_own_zoom(photo_files):
    source = WatchedFolder(photo_files.folder, labelled=False)
    source.asked = {}
    augmenter = Augmenter(Policy(zoom_range=(0.5, 2)), size=(60, 70))
    loader = Loader(source, augmenter)
    for epoch in range(2):
        list(loader)
        for sample_id, (height, width) in source.asked.items():
            drawn = augmenter.explain(sample_id, epoch)
            assert height == pytest.approx(60 / drawn["zoom_row"])
            assert width == pytest.approx(70 / drawn["zoom_col"])


def test_decoded_size_follows_the_size_asked_for(photo_files):
    def sizes(*min_size):
        decoded = [
            photo_files.read_into(i, min_size, lambda n: np.empty(n, np.uint8)) for i in range(2)
        ]
        return [image.shape[:2] for image, _ in decoded], [extent for _, extent in decoded]

    assert photo_files.names[:2] == ["astronaut.jpg", "astronaut.png"]
    assert sizes(150, 200) == ([(299, 451)] * 2, [(299, 451)] * 2)
    shapes, extents = sizes(149.5, 200)
    assert shapes == [(150, 226), (299, 451)]
    assert extents == [(149.5, 225.5), (299, 451)]
    assert sizes(1, 1)[0][0] == (38, 57)
    assert sizes(0, 0)[0][0] == (299, 451)
