"""`flow`: whole epochs against Keras' own iterator, and what `model.fit` makes of it."""

import re

import keras
import numpy as np
import pytest
from PIL import Image

from fusewarp.keras import ImageDataGenerator, Iterator, NumpyArrayIterator
from oracles.keras_generator import KerasGenerator, as_keras

GEOMETRY = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "height_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.2,
    "horizontal_flip": True,
}
CONFIGURATIONS = [
    {},
    GEOMETRY,
    GEOMETRY | {"rescale": 1 / 255, "fill_mode": "reflect"},
    {"vertical_flip": True, "horizontal_flip": True, "rescale": 1 / 255},
    GEOMETRY | {"channel_shift_range": 30.0, "brightness_range": (0.5, 1.0)},
    {"width_shift_range": 3, "samplewise_center": True, "samplewise_std_normalization": True},
    GEOMETRY | {"interpolation_order": 3},
    {"rotation_range": 90, "preprocessing_function": lambda image: image[:, :, ::-1] - 100.0},
]


def photos(count=10, height=20, width=27, dtype=np.uint8):
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3)).astype(dtype)


def both_flows(options, images, *arguments, fit=False, **flow):
    """Return our iterator and Keras', over the same images with the same seed."""
    ours, theirs = ImageDataGenerator(**options, quirks="keras"), KerasGenerator(**options)
    if fit:
        ours.fit(images)
        theirs.fit(images)
    return ours.flow(images, *arguments, **flow), theirs.flow(images, *arguments, **flow)


def assert_same_batch(ours, theirs, options):
    levels = options.get("rescale", 1)
    error = abs(ours - theirs) / levels
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    # Brightness truncates: a level within rounding of a whole one may come out one lower.
    assert error.max(initial=0) <= (1.0 if "brightness_range" in options else 0.005)
    assert np.mean(error > 0.005) < 1e-3


@pytest.mark.parametrize("options", CONFIGURATIONS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_three_epochs_equal_keras(options, shuffle):
    flows = both_flows(options, photos(), np.arange(10), batch_size=4, shuffle=shuffle, seed=7)
    for _ in range(9):  # 3 epochs of 4 + 4 + 2
        (ours, our_labels), (theirs, labels) = map(keras_next, flows)
        np.testing.assert_array_equal(our_labels, labels)
        assert our_labels.dtype == labels.dtype
        assert_same_batch(ours, theirs, options)


def keras_next(iterator):
    with as_keras():
        return next(iterator)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int64, bool])
def test_every_source_dtype_gives_keras_batches(dtype):
    images = photos(dtype=dtype)
    for ours, theirs in zip(*take_both(GEOMETRY, images, 2), strict=True):
        assert_same_batch(ours, theirs, GEOMETRY)


def take_both(options, images, count, **flow):
    flows = both_flows(options, images, batch_size=4, seed=2, **flow)
    return ([keras_next(flow) for _ in range(count)] for flow in flows)


@pytest.mark.parametrize("dtype", ["float64", "uint8"])
def test_every_batch_dtype_equals_keras(dtype):
    options = GEOMETRY | {"dtype": dtype, "channel_shift_range": 9.0}
    for ours, theirs in zip(*take_both(options, photos(), 3), strict=True):
        assert ours.dtype == theirs.dtype == dtype
        difference = abs(ours.astype(float) - theirs.astype(float))
        assert difference.max() <= (1 if dtype == "uint8" else 0.005)
        assert np.mean(difference > 0.005) < 0.005


def test_float16_batches_work_where_scipy_cannot():
    ours = next(ImageDataGenerator(**GEOMETRY, dtype="float16").flow(photos(), seed=2))
    full = next(ImageDataGenerator(**GEOMETRY).flow(photos(), seed=2))
    assert ours.dtype == np.float16
    np.testing.assert_allclose(ours, full, atol=0.07)  # half a step of float16 at 255


def test_channels_first_equals_keras():
    options = GEOMETRY | {"data_format": "channels_first", "rescale": 1 / 255}
    images = photos().transpose(0, 3, 1, 2)
    for ours, theirs in zip(*take_both(options, images, 3), strict=True):
        assert_same_batch(ours, theirs, options)


@pytest.mark.parametrize(
    "options",
    [
        {"featurewise_center": True, "featurewise_std_normalization": True},
        {"featurewise_center": True, "featurewise_std_normalization": True, "rescale": 0.1},
        {"featurewise_center": True, "zca_whitening": True, "rescale": 1 / 255},
    ],
)
def test_featurewise_batches_equal_keras(options):
    images = photos(60, 5, 4)
    options = options | {"rotation_range": 20}
    with as_keras():
        ours, theirs = both_flows(options, images, fit=True, batch_size=16, seed=1)
        for _ in range(4):
            np.testing.assert_allclose(next(ours), next(theirs), atol=3e-4, rtol=3e-4)


def test_a_mean_picture_set_by_hand_is_subtracted_whole():
    generator = ImageDataGenerator(featurewise_center=True, rotation_range=10)
    images = photos()
    plain = next(ImageDataGenerator(rotation_range=10).flow(images, seed=4))
    generator.mean = np.linspace(0, 9, images[0].size, dtype=np.float32).reshape(images[0].shape)
    np.testing.assert_allclose(next(generator.flow(images, seed=4)), plain - generator.mean, 1e-4)


@pytest.mark.parametrize("subset", [None, "validation"])  # "training": Keras mixes up the weights
def test_extras_and_weights_go_along_as_in_keras(subset):
    options = GEOMETRY | {"validation_split": 0.4}
    ours = ImageDataGenerator(**options, quirks="keras", augment_validation=True)
    x = (photos(), [np.arange(10), np.arange(20).reshape(10, 2)])
    rest = {"y": np.tile([0, 1], 5), "sample_weight": np.linspace(0, 1, 10)}
    flows = [
        generator.flow(x, **rest, batch_size=4, seed=3, subset=subset)
        for generator in (ours, KerasGenerator(**options))
    ]
    for _ in range(9):
        (mine, *my_rest), (theirs, *their_rest) = map(keras_next, flows)
        assert_same_batch(mine[0], theirs[0], options)
        for one, other in zip([*mine[1:], *my_rest], [*theirs[1:], *their_rest], strict=True):
            np.testing.assert_array_equal(one, other)


def test_indexing_equals_keras_and_the_first_epoch_of_next():
    by_index, theirs = both_flows(GEOMETRY, photos(), np.arange(10), batch_size=4, seed=7)
    by_next, _ = both_flows(GEOMETRY, photos(), np.arange(10), batch_size=4, seed=7)
    for index in [0, 1, 2]:
        images, labels = by_index[index]
        with as_keras():
            assert_same_batch(images, theirs[index][0], GEOMETRY)
        np.testing.assert_array_equal(images, next(by_next)[0])
    for iterator in (by_index, theirs):
        np.random.seed(5)  # the end of an epoch draws from the state as it is
        iterator.on_epoch_end()
    with as_keras():
        np.testing.assert_array_equal(by_index[1][1], theirs[1][1])
    np.testing.assert_array_equal(by_index.index_array, theirs.index_array)
    assert by_index.total_batches_seen == theirs.total_batches_seen == 4
    assert not np.array_equal(labels, by_index[2][1])


def test_without_seed_the_global_generator_is_used_as_it_is():
    np.random.seed(11)
    ours, theirs = both_flows(GEOMETRY, photos(), np.arange(10), batch_size=4)
    first = next(ours)
    np.random.seed(11)
    with as_keras():
        expected = next(theirs)
    np.testing.assert_array_equal(first[1], expected[1])
    assert_same_batch(first[0], expected[0], GEOMETRY)


def test_batches_do_not_depend_on_the_threads():
    options = GEOMETRY | {"channel_shift_range": 9.0}
    for extra in ({}, {"brightness_range": (0.5, 1.5)}):
        batches = [
            next(ImageDataGenerator(**options, **extra, threads=threads).flow(photos(), seed=1))
            for threads in (1, 2, 5)
        ]
        np.testing.assert_array_equal(batches[0], batches[1])
        np.testing.assert_array_equal(batches[0], batches[2])


@pytest.mark.parametrize("options", [{}, {"rotation_range": 30}])
def test_a_preprocessing_function_may_return_a_view(options):
    options = options | {"preprocessing_function": lambda image: image[:, ::-1], "rescale": 0.5}
    for ours, theirs in zip(*take_both(options, photos(), 2), strict=True):
        assert_same_batch(ours, theirs, options)


def add_noise(image):
    return image + np.random.uniform(-9, 9, image.shape)


def test_one_thread_gives_a_random_preprocessing_function_keras_numbers():
    options = GEOMETRY | {"preprocessing_function": add_noise}
    ours = ImageDataGenerator(**options, quirks="keras", threads=1).flow(photos(), seed=1)
    theirs = KerasGenerator(**options).flow(photos(), seed=1)
    assert_same_batch(next(ours), keras_next(theirs), GEOMETRY)


def test_the_images_are_neither_copied_nor_changed():
    images = photos()
    before = images.copy()
    iterator = ImageDataGenerator(rescale=1 / 255, samplewise_center=True).flow(images)
    next(iterator)
    assert np.shares_memory(iterator.x, images)
    np.testing.assert_array_equal(images, before)
    floats = photos(dtype=np.float32)
    next(ImageDataGenerator(rescale=0.5, samplewise_center=True).flow(floats))
    np.testing.assert_array_equal(floats, before)


def test_each_batch_is_memory_of_its_own():
    iterator = ImageDataGenerator().flow(photos(), shuffle=False, batch_size=10)
    first = next(iterator)
    kept = first.copy()
    second = next(iterator)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    assert first.ctypes.data % 64 == 0


def test_memory_is_reused_only_when_nobody_holds_the_batch():
    iterator = ImageDataGenerator().flow(photos(), shuffle=False, batch_size=10)
    corner = next(iterator)[3, 5:, ::2]  # a view of a view is a hold too
    kept, address = corner.copy(), corner.ctypes.data
    later = [next(iterator) for _ in range(3)]
    np.testing.assert_array_equal(corner, kept)
    assert not any(np.shares_memory(corner, batch) for batch in later)
    del later, corner
    assert any(start <= address < start + 10 * 20 * 27 * 3 * 4 for start in starts(iterator, 8))


def starts(iterator, count):
    """Return the addresses of the next batches, held all at once."""
    return [batch.ctypes.data for batch in [next(iterator) for _ in range(count)]]


def test_infinite_levels_stay_in_their_pixel_when_nothing_is_warped():
    images = photos(2, dtype=np.float32)
    images[0, 3, 4, 1] = np.inf
    batch = next(ImageDataGenerator(rescale=2.0).flow(images, shuffle=False))
    assert np.isfinite(batch).sum() == batch.size - 1


def test_infinite_levels_stay_in_their_pixel_with_a_mean_of_each_channel():
    images = photos(2, dtype=np.float32)
    images[0, 3, 4, 1] = np.inf
    generator = ImageDataGenerator(featurewise_center=True)
    generator.mean = np.float32([[[1, 2, 3]]])
    batch = next(generator.flow(images, shuffle=False))
    assert np.isfinite(batch).sum() == batch.size - 1
    np.testing.assert_array_equal(batch[1], images[1] - np.float32([1, 2, 3]))


class SomeMoved(ImageDataGenerator):
    def get_random_transform(self, img_shape, seed=None):
        self.drawn = getattr(self, "drawn", 0) + 1
        return {"theta": 20 * (self.drawn % 2)}


def test_nan_stays_in_images_that_are_not_moved_by_the_fused_pass_either():
    images = photos(16, dtype=np.float32)  # several in each thread's slice
    images[:, 3, 4, 1] = np.nan
    batch = next(SomeMoved(rescale=0.5).flow(images, shuffle=False))
    np.testing.assert_array_equal(batch[1::2], images[1::2] * np.float32(0.5))
    assert np.isnan(batch[0]).sum() > 1


def test_infinite_levels_stay_in_images_that_are_not_moved_beside_some_that_are():
    images = photos(16, dtype=np.float32)
    images[1, 3, 4, 1] = np.inf
    generator = SomeMoved(preprocessing_function=lambda image: image)
    batch = next(generator.flow(images, shuffle=False))
    np.testing.assert_array_equal(batch[1::2], images[1::2])
    assert abs(batch[0] - images[0]).max() > 1


def test_a_channel_that_never_changes_becomes_zero():
    images = photos(dtype=np.float32)
    images[..., 1] = 137.3
    generator = ImageDataGenerator(
        featurewise_center=True, featurewise_std_normalization=True, rotation_range=20
    )
    generator.fit(images)
    batch = next(generator.flow(images))
    np.testing.assert_array_equal(batch[..., 1], 0)
    assert 0.5 < batch[..., 0].std() < 2


def test_a_preprocessing_function_must_keep_the_shape():
    generator = ImageDataGenerator(preprocessing_function=lambda image: image[:1, :1])
    with pytest.raises(ValueError, match=re.escape("(20, 27, 3); it returned one of (1, 1, 3)")):
        next(generator.flow(photos()))


def test_subset_splits_everything_weights_too():
    images, labels, weights = photos(), np.tile([0, 1], 5), np.arange(10) / 10
    extra = np.arange(10) * 7
    generator = ImageDataGenerator(validation_split=0.4)
    for subset, expected in [("validation", slice(4)), ("training", slice(4, None))]:
        flow = generator.flow(
            (images, extra), labels, sample_weight=weights, subset=subset, shuffle=False
        )
        (x, more), y, w = next(flow)
        np.testing.assert_array_equal(x, images[expected])
        np.testing.assert_array_equal(more, extra[expected])
        np.testing.assert_array_equal(y, labels[expected])
        np.testing.assert_array_equal(w, weights[expected])


def test_batch_structure_follows_what_was_given():
    generator, images = ImageDataGenerator(), photos()
    assert isinstance(next(generator.flow(images)), np.ndarray)
    assert len(next(generator.flow(images, np.arange(10), sample_weight=np.ones(10)))) == 3
    with_extras = next(generator.flow((images, [np.arange(10), np.ones((10, 2))]), shuffle=False))
    assert isinstance(with_extras, list)
    np.testing.assert_array_equal(with_extras[1], np.arange(10))


def test_attributes_are_those_of_keras():
    ours, theirs = both_flows({}, photos(), np.arange(10), batch_size=4, seed=5)
    plain = {"n", "batch_size", "seed", "shuffle", "batch_index", "total_batches_seen", "dtype"}
    plain |= {"data_format", "save_to_dir", "save_prefix", "save_format", "x_misc", "index_array"}
    assert {name: getattr(ours, name) for name in plain} == {
        name: getattr(theirs, name) for name in plain
    }
    assert all(hasattr(ours, name) for name in vars(theirs))
    assert ours.white_list_formats == theirs.white_list_formats
    assert len(ours) == len(theirs) == 3
    assert iter(ours) is ours


def test_reset_starts_an_epoch_over_and_next_is_a_method():
    iterator = ImageDataGenerator().flow(photos(), np.arange(10), batch_size=4, shuffle=False)
    np.testing.assert_array_equal(iterator.next()[1], [0, 1, 2, 3])
    iterator.reset()
    np.testing.assert_array_equal(iterator.next()[1], [0, 1, 2, 3])
    np.testing.assert_array_equal(iterator.next()[1], [4, 5, 6, 7])


def test_indices_out_of_range():
    iterator = ImageDataGenerator().flow(photos(), batch_size=4)
    with pytest.raises(ValueError, match="retrieve element 3, but the Sequence has length 3"):
        iterator[3]
    assert iterator[-1].shape == (0, 20, 27, 3)  # as Keras: not wrapped


@pytest.mark.parametrize("batch_size", [0, 32])
def test_an_empty_iterator_yields_empty_indices(batch_size):
    indices = next(Iterator(0, batch_size, False, 0).index_generator)
    assert indices.shape == (0,)


def test_save_to_dir_writes_the_batch_as_keras_does(tmp_path):
    for name, generator in (("keras", KerasGenerator), ("ours", ImageDataGenerator)):
        (tmp_path / name).mkdir()
        flow = {"save_to_dir": tmp_path / name, "save_prefix": "p", "batch_size": 4, "seed": 3}
        flow = generator(horizontal_flip=True, rescale=1 / 255).flow(photos(), **flow)
        batches = [next(flow), next(flow)]
    names = sorted(path.name for path in (tmp_path / "keras").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert len(names) == batches[0].shape[0] * 2 == 8
    for name in names:
        theirs = np.asarray(Image.open(tmp_path / "keras" / name), int)
        ours = np.asarray(Image.open(tmp_path / "ours" / name), int)
        assert abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"x": photos(), "y": np.arange(9)}, "`x` (images tensor) and `y` (labels) should have"),
        (
            {"x": photos(), "y": np.arange(10), "sample_weight": np.ones(9)},
            "`x` (images tensor) and `sample_weight` should have the same length",
        ),
        ({"x": (photos(), np.ones(9))}, "All of the arrays in `x` should have the same length"),
        ({"x": photos()[0]}, "should have rank 4"),
        ({"x": photos(), "subset": "train"}, "Invalid subset name: train"),
        (
            {"x": photos(), "y": np.arange(10), "subset": "training"},
            "Training and validation subsets have different number of classes after the split",
        ),
    ],
)
def test_errors_of_keras_are_errors_here(flow, message):
    with pytest.raises(ValueError):  # noqa: PT011 -- its words are Keras' own
        KerasGenerator(validation_split=0.3).flow(**flow)
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageDataGenerator(validation_split=0.3).flow(**flow)


def test_ignore_class_split_allows_other_labels():
    flow = ImageDataGenerator(validation_split=0.3).flow(
        photos(), np.arange(10), subset="validation", ignore_class_split=True
    )
    assert flow.n == 3


def test_unfit_for_images():
    with pytest.warns(UserWarning, match="2 channels"):
        ImageDataGenerator().flow(np.zeros((3, 5, 6, 2)))
    with pytest.raises(ValueError, match="could not convert string"):
        ImageDataGenerator().flow(np.full((1, 2, 2, 1), "a"))
    with pytest.raises(ValueError, match=re.escape("np.stack(x)")):
        ImageDataGenerator().flow([photos()[0]])
    with pytest.warns(UserWarning, match="`sample_weight` is ignored"):
        ImageDataGenerator().flow(photos(), sample_weight=np.ones(10))


def test_an_error_of_the_users_function_reaches_the_caller():
    def fail(image):
        raise RuntimeError("no such colour")

    flow = ImageDataGenerator(preprocessing_function=fail).flow(photos())
    with pytest.raises(RuntimeError, match="no such colour"):
        next(flow)


def test_missing_statistics_warn_once_a_batch():
    flow = ImageDataGenerator(featurewise_center=True).flow(photos())
    with pytest.warns(UserWarning, match="hasn't been fit") as caught:
        next(flow)
    assert len(caught) == 1


class Darker(ImageDataGenerator):
    def standardize(self, x):
        return super().standardize(x) - 50

    def apply_transform(self, x, transform_parameters):
        return super().apply_transform(x, transform_parameters)[::-1]


def test_overridden_steps_are_used():
    images = photos()
    expected = next(ImageDataGenerator(rotation_range=30).flow(images, seed=1))[:, ::-1] - 50
    np.testing.assert_allclose(
        next(Darker(rotation_range=30).flow(images, seed=1)), expected, atol=1e-3
    )


def test_keras_own_generator_works_with_our_iterator():
    ours = NumpyArrayIterator(photos(), None, KerasGenerator(**GEOMETRY), shuffle=True, seed=9)
    theirs = KerasGenerator(**GEOMETRY).flow(photos(), seed=9)
    with as_keras():
        np.testing.assert_array_equal(next(ours), next(theirs))


def small_model():
    return keras.Sequential(
        [
            keras.layers.Input((20, 27, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("workers", [1, 4])
def test_model_fit_and_evaluate_take_the_iterator(workers):
    generator = ImageDataGenerator(
        **GEOMETRY, rescale=1 / 255, validation_split=0.4, augment_validation=False
    )
    labels = np.tile([0, 1], 5)
    train = generator.flow(photos(), labels, batch_size=4, subset="training")
    train.workers = workers
    validation = generator.flow(photos(), labels, batch_size=4, subset="validation")
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = model.fit(train, epochs=2, validation_data=validation, verbose=0)
    assert np.isfinite(history.history["loss"] + history.history["val_loss"]).all()
    assert len(history.history["val_loss"]) == 2
    assert np.isfinite(model.evaluate(validation, verbose=0))


def test_model_predict_keeps_the_order():
    model, images = small_model(), photos(dtype=np.float32)
    flow = ImageDataGenerator(rescale=1 / 255).flow(images, batch_size=4, shuffle=False)
    np.testing.assert_allclose(
        model.predict(flow, verbose=0), model.predict(images / 255, verbose=0), atol=1e-5
    )


def test_image_and_mask_generators_zip_with_one_seed():
    images = photos()
    generators = [ImageDataGenerator(**GEOMETRY) for _ in range(2)]
    pair = zip(*(g.flow(images, seed=4, batch_size=4) for g in generators), strict=True)
    for _, (image, mask) in zip(range(5), pair, strict=False):
        np.testing.assert_array_equal(image, mask)
