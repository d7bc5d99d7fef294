"""What listed files become: the fused resize, statistics of a folder, validation left alone."""

import re
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp.integrations.keras.geometry import Transforms
from fusewarp.integrations.keras.warping import kernel_maps, useful_size
from fusewarp.keras import ImageDataGenerator
from oracles import warp_reference

GEOMETRY = {"rotation_range": 25, "width_shift_range": 0.2, "zoom_range": 0.2}
GEOMETRY |= {"horizontal_flip": True, "shear_range": 8}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Crops of photos, in two classes, of different sizes, all less than twice 60 x 80."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in (("cat", data.chelsea()), ("cup", data.coffee())):
        (folder / name).mkdir()
        for number in range(5):
            crop = photo[9 * number :, 30:][: 70 + 7 * number, : 150 - 9 * number]
            Image.fromarray(crop).save(folder / name / f"{number}.png")
    return folder


def flow(folder, options=GEOMETRY, **kwargs):
    kwargs = {"target_size": (60, 80), "class_mode": None, "seed": 5, "shuffle": False} | kwargs
    return ImageDataGenerator(**options).flow_from_directory(folder, **kwargs)


def files(iterator):
    return [np.asarray(Image.open(path)) for path in iterator.filepaths]


def test_the_fused_resize_alone_is_bilinear_with_half_pixel_centres(photos):
    iterator = flow(photos, {}, use_fused_resize=True)
    for ours, image in zip(next(iterator), files(iterator), strict=True):
        expected = cv2.resize(image.astype(np.float32), (80, 60), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(ours, expected, atol=0.02)


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
def test_resize_and_transform_are_one_interpolation(photos, fill_mode):
    iterator = flow(photos, GEOMETRY | {"fill_mode": fill_mode}, use_fused_resize=True)
    generator = iterator.image_data_generator
    batch = next(iterator)
    np.random.seed(5)
    drawn = [generator.get_random_transform((60, 80, 3)) for _ in range(10)]
    maps = kernel_maps(generator, Transforms.of(drawn), 60, 80).astype(float)
    for ours, image, inverse_map in zip(batch, files(iterator), maps, strict=True):
        scale = np.divide(image.shape[:2], (60, 80))
        inverse_map = inverse_map * scale[:, None]
        inverse_map[:, 2] += scale / 2 - 0.5
        expected = warp_reference.warp(
            image[None], inverse_map[None], (60, 80), fill_mode, "bilinear"
        )[0]
        error = abs(ours - expected)
        assert np.quantile(error, 0.999) < 0.05  # float32 positions; a fold may fall either way
        assert error.mean() < 0.01


@pytest.mark.parametrize(
    "extra",
    [
        {"brightness_range": (0.7, 1.3)},
        {"channel_shift_range": 20.0},
        {"samplewise_center": True, "samplewise_std_normalization": True},
        {"preprocessing_function": lambda image: image[:, :, ::-1] - 100},
        {"data_format": "channels_first", "rescale": 1 / 255},
        {"dtype": "float16"},
        {"interpolation_order": 0},
    ],
)
def test_the_fused_resize_does_all_that_follows_too(photos, extra):
    """Files that need no resize give the same batch with and without it."""
    size = {"target_size": (70, 120)}
    folder = photos.parent / f"same{len(list(photos.parent.iterdir()))}" / "cat"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(data.chelsea()[9 * number :][:70, :120]).save(folder / f"{number}.png")
    plain = next(flow(folder.parent, GEOMETRY | extra, **size))
    fused = next(flow(folder.parent, GEOMETRY | extra, **size, use_fused_resize=True))
    np.testing.assert_allclose(fused, plain, atol=1e-3)


def test_the_fused_resize_reads_large_files_without_aliasing(tmp_path):
    (tmp_path / "cup").mkdir()
    photo = Image.fromarray(data.coffee())  # 400 x 600: four times the target
    photo.save(tmp_path / "cup" / "a.png")
    expected = np.asarray(photo.resize((150, 100), Image.Resampling.BOX), float)

    def error(**kwargs):
        batch = next(flow(tmp_path, {}, target_size=(100, 150), **kwargs))
        return np.sqrt(np.mean((batch[0] - expected) ** 2))

    assert error(use_fused_resize=True) < 0.5
    assert error(interpolation="nearest") > 5


def test_the_fused_resize_keeps_the_aspect_ratio(tmp_path):
    (tmp_path / "cup").mkdir()
    Image.fromarray(data.coffee()).save(tmp_path / "cup" / "a.png")
    flags = {"target_size": (300, 300), "use_fused_resize": True, "keep_aspect_ratio": True}
    square = data.coffee()[:, 100:500].astype(np.float32)
    expected = cv2.resize(square, (300, 300), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(next(flow(tmp_path, {}, **flags))[0], expected, atol=0.02)


class Own(ImageDataGenerator):
    def standardize(self, x):
        return x


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (ImageDataGenerator(interpolation_order=3), "the generator has 3 and 'nearest'"),
        (ImageDataGenerator(fill_mode="grid-wrap"), "the generator has 1 and 'grid-wrap'"),
        (Own(), "overrides neither `apply_transform` nor `standardize`, got Own"),
    ],
)
def test_a_fused_resize_that_cannot_be_is_refused(photos, generator, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generator.flow_from_directory(photos, use_fused_resize=True)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_fit_streams_a_folder(photos, data_format, monkeypatch):
    options = {"featurewise_center": True, "featurewise_std_normalization": True}
    options |= {"rescale": 1 / 255, "data_format": data_format}
    ours = ImageDataGenerator(**options)
    iterator = ours.flow_from_directory(photos, target_size=(24, 31), interpolation="bilinear")
    plain = ImageDataGenerator(data_format=data_format).flow_from_directory(
        photos, target_size=(24, 31), interpolation="bilinear", shuffle=False
    )
    images = next(plain)[0].astype(float) / 255
    axes = (0, 1, 2) if data_format == "channels_last" else (0, 2, 3)
    monkeypatch.setattr("fusewarp.integrations.keras.statistics._CHUNK_BYTES", 24 * 31 * 3 * 8 * 3)
    state = np.random.get_state()[1].copy()
    ours.fit(iterator)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert iterator.total_batches_seen == 0
    assert ours.mean.shape == ((1, 1, 3) if data_format == "channels_last" else (3, 1, 1))
    np.testing.assert_allclose(ours.mean.ravel(), images.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(ours.std.ravel(), images.std(axes), rtol=1e-6)


def test_fit_augments_a_folder_as_it_does_an_array(photos):
    options = GEOMETRY | {"featurewise_center": True}
    from_files, from_array = ImageDataGenerator(**options), ImageDataGenerator(**options)
    iterator = from_files.flow_from_directory(photos, target_size=(24, 31))
    images = next(flow(photos, {}, target_size=(24, 31)))
    from_files.fit(iterator, augment=True, rounds=2, seed=4)
    from_array.fit(images, augment=True, rounds=2, seed=4)
    np.testing.assert_allclose(from_files.mean, from_array.mean, rtol=1e-6)


def test_fit_takes_an_array_iterator_too():
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 7, 3), np.uint8)
    generator = ImageDataGenerator(featurewise_center=True)
    generator.fit(generator.flow(images, batch_size=2))
    np.testing.assert_allclose(generator.mean.ravel(), images.mean((0, 1, 2)), rtol=1e-6)


SPLIT = GEOMETRY | {"validation_split": 0.4, "rescale": 1 / 255}


def validation_batch(photos, **options):
    generator = ImageDataGenerator(**SPLIT, **options)
    flags = {"target_size": (60, 80), "shuffle": False, "seed": 5, "class_mode": None}
    return next(generator.flow_from_directory(photos, **flags, subset="validation"))


def test_validation_is_augmented_as_in_keras_with_one_warning(photos):
    generator = ImageDataGenerator(**SPLIT)
    with pytest.warns(UserWarning, match="augment_validation=False") as caught:
        generator.flow_from_directory(photos, subset="validation")
    generator.flow(np.zeros((10, 5, 6, 3)), subset="validation")  # a warning is an error here
    with pytest.warns(UserWarning, match="augment_validation=False") as caught_by_flow:
        ImageDataGenerator(**SPLIT).flow(np.zeros((10, 5, 6, 3)), subset="validation")
    assert [len(caught), len(caught_by_flow)] == [1, 1]
    assert caught[0].filename == caught_by_flow[0].filename == __file__


def test_validation_is_left_alone_when_told_so(photos):
    plain = ImageDataGenerator(validation_split=0.4, rescale=1 / 255)
    flags = {"target_size": (60, 80), "shuffle": False, "seed": 5, "class_mode": None}
    expected = next(plain.flow_from_directory(photos, **flags, subset="validation"))
    np.testing.assert_array_equal(validation_batch(photos, augment_validation=False), expected)
    assert abs(validation_batch(photos, augment_validation=True) - expected).max() > 0.1


def test_training_is_augmented_all_the_same(photos):
    batches = [
        next(
            ImageDataGenerator(**SPLIT, augment_validation=flag).flow_from_directory(
                photos, subset="training", seed=5, target_size=(60, 80)
            )
        )[0]
        for flag in (None, False)
    ]
    np.testing.assert_array_equal(*batches)


def test_nothing_to_warn_of_without_augmentation(photos):
    generator = ImageDataGenerator(
        validation_split=0.4, rescale=1 / 255, preprocessing_function=lambda image: image
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator.flow_from_directory(photos, subset="validation")


def test_statistics_fitted_later_reach_the_validation_images(photos):
    options = {"featurewise_center": True, "augment_validation": False}
    generator = ImageDataGenerator(**GEOMETRY, validation_split=0.4, **options)
    images = np.full((10, 5, 6, 3), 7.0)
    iterator = generator.flow(images, subset="validation")
    generator.fit(images)
    np.testing.assert_allclose(next(iterator), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("zoom_range", "expected"),
    [
        (0.0, (100, 150)),
        (0.5, (200, 300)),
        ((2, 3), (100, 150)),
        ((0.8, 1), (125, 188)),
        (1, (0, 0)),
    ],
)
def test_the_useful_size_allows_for_the_largest_enlargement(zoom_range, expected):
    assert useful_size(ImageDataGenerator(zoom_range=zoom_range), (100, 150)) == expected


@pytest.mark.parametrize("options", [{"dtype": "float64"}, {"dtype": "uint8"}, {}])
def test_a_users_function_may_read_other_files(tmp_path, options):
    for name, shade in (("outer", 50), ("inner", 200)):
        (tmp_path / name / "a").mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (20, 20), (shade,) * 3).save(tmp_path / name / "a" / f"{number}.png")
    flags = {"target_size": (20, 20), "class_mode": None}
    inner = ImageDataGenerator().flow_from_directory(tmp_path / "inner", **flags)

    class Reading(ImageDataGenerator):
        def standardize(self, x):
            next(inner)
            return x

    generators = [Reading(**options)]
    generators.append(
        ImageDataGenerator(preprocessing_function=lambda x: (next(inner), x)[1], **options)
    )
    for generator in generators:
        outer = generator.flow_from_directory(tmp_path / "outer", **flags)
        for _ in range(3):
            np.testing.assert_array_equal(next(outer), 50)


class AlwaysFlipped(ImageDataGenerator):
    def get_random_transform(self, img_shape, seed=None):
        return {"flip_horizontal": 1}


def test_validation_is_left_alone_by_a_subclass_that_draws_too():
    images = np.random.default_rng(0).integers(0, 256, (10, 5, 6, 3), np.uint8)
    generator = AlwaysFlipped(validation_split=0.4, augment_validation=False)
    batch = next(generator.flow(images, subset="validation", shuffle=False))
    np.testing.assert_array_equal(batch, images[:4])
