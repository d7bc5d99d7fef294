import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fusewarp import Augmenter, Policy
from fusewarp.engine.affine import frame_maps, source_maps
from fusewarp.engine.sampling import sample_parameters

POLICY = Policy(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=2.0,
    shear_range=15,
    zoom_range=0.3,
    horizontal_flip=True,
    vertical_flip=True,
    brightness_range=(0.5, 1.5),
    rescale=1 / 255,
    fill_mode="reflect",
)
IMAGES = np.random.default_rng(1).integers(0, 256, (13, 17, 22, 3), np.uint8)
IDS = np.arange(13) * 1_000_003


def reference(image: np.ndarray, sample_id: int, size) -> np.ndarray:
    """The whole road in float64 with SciPy's warp."""
    drawn = sample_parameters(POLICY, 5, 2, [sample_id])
    inverse_map = source_maps(frame_maps(drawn, POLICY, size), size, [image.shape[:2]])[0]
    channels = [
        ndimage.affine_transform(
            image[..., c].astype(float), inverse_map[:, :2].astype(float), inverse_map[:, 2],
            output_shape=size, order=1, mode="reflect",
        )
        for c in range(3)
    ]  # fmt: skip
    return np.stack(channels, axis=-1) * drawn.brightness / 255


@pytest.mark.parametrize("size", [None, (11, 30)])
def test_equals_scipy(size):
    out = Augmenter(POLICY, size=size, seed=5).apply(IMAGES, IDS, epoch=2)
    for image, sample_id, row in zip(IMAGES, IDS, out, strict=True):
        expected = reference(image, sample_id, size or image.shape[:2])
        np.testing.assert_allclose(row, expected, atol=0.005 / 255, rtol=0)


@settings(deadline=None, max_examples=25)
@given(
    st.permutations(range(13)),
    st.integers(1, 13),
    st.sampled_from([1, 2, 5]),
)
def test_pixels_depend_on_id_and_epoch_alone(order, batch_size, threads):
    expected = Augmenter(POLICY, seed=5, threads=1).apply(IMAGES, IDS, epoch=7)
    augmenter = Augmenter(POLICY, seed=5, threads=threads)
    for start in range(0, 13, batch_size):
        rows = order[start : start + batch_size]
        out = augmenter.apply(IMAGES[rows], IDS[rows], epoch=7)
        np.testing.assert_array_equal(out, expected[rows])


def test_epoch_and_seed_change_the_pixels():
    first = Augmenter(POLICY, seed=5).apply(IMAGES, IDS, epoch=0)
    assert not np.array_equal(first, Augmenter(POLICY, seed=5).apply(IMAGES, IDS, epoch=1))
    assert not np.array_equal(first, Augmenter(POLICY, seed=6).apply(IMAGES, IDS, epoch=0))


def test_pictures_of_different_sizes_in_one_batch():
    pictures = [IMAGES[0], IMAGES[1, :9], np.ascontiguousarray(IMAGES[2, :, 3:12])]
    augmenter = Augmenter(POLICY, size=(8, 9), seed=5)
    together = augmenter.apply(pictures, [4, 5, 6])
    for row, picture in enumerate(pictures):
        alone = augmenter.apply(picture[np.newaxis], [4 + row])
        np.testing.assert_array_equal(together[row], alone[0])


def test_layouts_hold_the_same_pixels():
    rows = Augmenter(POLICY, seed=5).apply(IMAGES, IDS)
    planes = Augmenter(POLICY, seed=5, layout="CHW").apply(IMAGES, IDS)
    assert planes.shape == (13, 3, 17, 22)
    np.testing.assert_allclose(planes.transpose(0, 2, 3, 1), rows, atol=1e-5)


def test_dtypes_hold_the_same_pixels():
    policy = POLICY.replace(rescale=None)
    exact = Augmenter(policy, seed=5).apply(IMAGES, IDS)
    half = Augmenter(policy, seed=5, dtype="float16").apply(IMAGES, IDS)
    np.testing.assert_allclose(half, exact, rtol=2**-10)
    levels = Augmenter(policy, seed=5, dtype="uint8").apply(IMAGES, IDS)
    np.testing.assert_allclose(levels, np.clip(exact, 0, 255), atol=0.51)


def test_without_augmentation_resizes_only():
    plain = POLICY.without_augmentation()
    np.testing.assert_array_equal(
        Augmenter(plain.replace(rescale=None), dtype="uint8").apply(IMAGES, IDS), IMAGES
    )


def test_writes_into_out_and_returns_it():
    out = np.full((13, 17, 22, 3), np.nan, np.float32)
    augmenter = Augmenter(POLICY, seed=5)
    assert augmenter.apply(IMAGES, IDS, out=out) is out
    np.testing.assert_array_equal(out, augmenter.apply(IMAGES, IDS))


def test_fresh_batches_are_aligned():
    assert Augmenter(POLICY).apply(IMAGES, IDS).ctypes.data % 64 == 0


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_any_number_of_channels(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 9, channels), np.uint8)
    out = Augmenter(Policy(horizontal_flip=True), dtype="uint8").apply(images, [0, 1, 2])
    for row in range(3):
        assert (out[row] == images[row]).all() or (out[row] == images[row, :, ::-1]).all()


def test_explain_tells_what_apply_drew():
    augmenter = Augmenter(Policy(width_shift_range=3.0), seed=9)
    image = np.zeros((1, 5, 40, 1), np.float32)
    image[0, :, :] = np.arange(40)[:, np.newaxis]
    shift = augmenter.explain(77, epoch=3)["shift_col"]
    out = augmenter.apply(image, [77], epoch=3)
    assert out[0, 2, 20, 0] == pytest.approx(20 - shift, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "`size`"),
        ({"size": (10, -1)}, ValueError, "`size`"),
        ({"size": (2, 2, 3)}, ValueError, "`size`"),
        ({"size": 2.0}, ValueError, "`size`"),
        ({"dtype": "float64"}, TypeError, "`dtype` must be one of uint8, float16, float32"),
        ({"layout": "NCHW"}, ValueError, "`layout`"),
        ({"seed": -1}, ValueError, "`seed`"),
        ({"seed": 1.5}, TypeError, "`seed`"),
        ({"threads": 0}, ValueError, "`threads`"),
    ],
)
def test_refuses_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Augmenter(POLICY, **arguments)


def test_refuses_what_is_no_policy():
    with pytest.raises(TypeError, match=r"fusewarp.Policy, got dict"):
        Augmenter({"rotation_range": 3})


@pytest.mark.parametrize(
    ("images", "ids", "error", "message"),
    [
        (IMAGES[0], [0], ValueError, "one picture: `image"),
        (IMAGES[:0], [], ValueError, "empty"),
        (IMAGES[:2].astype(float), [0, 1], TypeError, "float64 at 0. Convert"),
        (IMAGES[:2], [0], ValueError, "2 integers"),
        (IMAGES[:2], [0, -1], ValueError, "negative, got -1"),
        (IMAGES[:2], [0.0, 1.0], ValueError, "float64"),
        ([IMAGES[0], IMAGES[1, :5]], [0, 1], ValueError, "give the Augmenter a `size`"),
        ([IMAGES[0], IMAGES[1, :, :, :1]], [0, 1], ValueError, "share dtype and channels"),
        ([IMAGES[0], "cat.jpg"], [0, 1], ValueError, r"`images\[1\]`.*got str"),
    ],
)
def test_apply_refuses(images, ids, error, message):
    with pytest.raises(error, match=message):
        Augmenter(POLICY).apply(images, ids)


def test_apply_refuses_an_out_that_does_not_fit():
    with pytest.raises(ValueError, match=r"`out` must be float32 of shape \(2, 17, 22, 3\)"):
        Augmenter(POLICY).apply(IMAGES[:2], [0, 1], out=np.zeros((2, 17, 22, 3)))


def test_apply_refuses_an_out_that_overlaps_the_pictures_of_other_rows():
    batch = np.zeros((3, 4, 5, 3), np.uint8)
    augmenter = Augmenter(POLICY, dtype="uint8")
    for images in (batch[:2], list(batch[:2])):
        with pytest.raises(ValueError, match="shares memory"):
            augmenter.apply(images, [0, 1], out=batch[1:])
    with pytest.raises(ValueError, match="C-contiguous"):
        augmenter.apply(np.zeros_like(batch[:2]), [0, 1], out=batch[::2])


@pytest.mark.parametrize("arguments", [(-1,), (1, -1), (1, 2**32)])
def test_explain_refuses_what_is_no_sample_or_epoch(arguments):
    with pytest.raises(ValueError, match="must be from 0"):
        Augmenter(POLICY).explain(*arguments)
