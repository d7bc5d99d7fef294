"""`flow_from_directory`: listing, decoding and whole epochs against Keras' own iterator."""

import re

import keras
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from skimage import data

from fusewarp.keras import DirectoryIterator, ImageDataGenerator
from oracles.keras_generator import KerasGenerator, as_keras

OPTIONS = {"rotation_range": 25, "width_shift_range": 0.2, "zoom_range": 0.2, "rescale": 1 / 255}
OPTIONS |= {"horizontal_flip": True, "validation_split": 0.4}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Crops of real photos in three classes: sizes, formats, depths differ; one nested folder."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in [
        ("cat", data.chelsea()),
        ("face", data.astronaut()),
        ("cup", data.coffee()),
    ]:
        (folder / name).mkdir()
        for number in range(4):
            crop = photo[number * 9 : number * 9 + 60 + 7 * number, 40 : 130 - 5 * number]
            suffix = ["jpg", "png", "JPEG", "bmp"][number]
            Image.fromarray(crop).save(folder / name / f"{9 - number}.{suffix}")
    (folder / "cat" / "kittens").mkdir()
    Image.fromarray(data.chelsea()[:50, :40]).save(folder / "cat" / "kittens" / "a.jpg")
    Image.fromarray(data.chelsea()[:50, :40, 0]).save(folder / "cup" / "gray.png")
    rgba = np.dstack([data.coffee()[:40, :50], data.coffee()[40:80, :50, 0]])
    Image.fromarray(rgba).save(folder / "cup" / "alpha.png")
    (folder / "cup" / "notes.txt").write_text("no image")
    (folder / "loose.jpg").write_bytes((folder / "cat" / "9.jpg").read_bytes())
    return folder


def both_flows(folder, options=OPTIONS, **flow):
    """Return our iterator and Keras' over the same folder."""
    flow = {"target_size": (33, 46), "batch_size": 5, "seed": 7} | flow
    ours = ImageDataGenerator(**options, quirks="keras", augment_validation=True)
    ours = ours.flow_from_directory(folder, **flow)
    return ours, KerasGenerator(**options).flow_from_directory(folder, **flow)


def next_as_keras(iterator):
    with as_keras():
        return next(iterator)


def assert_same(ours, theirs, atol=0.005 / 255):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("class_mode", ["categorical", "binary", "sparse", "input", None])
def test_three_epochs_equal_keras(photos, shuffle, class_mode):
    ours, theirs = both_flows(photos, shuffle=shuffle, class_mode=class_mode)
    assert len(ours) == len(theirs) == 3
    for _ in range(9):
        mine, other = next_as_keras(ours), next_as_keras(theirs)
        if class_mode is None:
            mine, other = (mine,), (other,)
        for our_part, their_part in zip(mine, other, strict=True):
            assert_same(our_part, their_part)


@pytest.mark.parametrize("subset", ["training", "validation"])
def test_subsets_equal_keras_also_by_index(photos, subset):
    ours, theirs = both_flows(photos, subset=subset)
    assert ours.filenames == theirs.filenames
    assert 0 < ours.samples < 15
    for index in range(len(ours)):
        with as_keras():
            expected = theirs[index]
        images, labels = ours[index]
        assert_same(images, expected[0])
        np.testing.assert_array_equal(labels, expected[1])


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "lanczos"])
def test_decoding_and_resizing_equal_keras(photos, color_mode, keep_aspect_ratio, interpolation):
    ours, theirs = both_flows(
        photos,
        {},
        color_mode=color_mode,
        keep_aspect_ratio=keep_aspect_ratio,
        interpolation=interpolation,
        batch_size=15,
    )
    np.testing.assert_array_equal(next(ours)[0], next(theirs)[0])


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_deep_grays_keep_their_levels(tmp_path, mode):
    (tmp_path / "deep").mkdir()
    levels = np.arange(0, 60000, 100).reshape(20, 30)
    levels = levels.astype(np.uint16 if mode == "I;16" else np.int32)
    Image.fromarray(levels).save(
        tmp_path / "deep" / "a.png" if mode == "I;16" else tmp_path / "deep" / "a.tif"
    )
    options = {"rotation_range": 20, "quirks": "keras"}
    flow = {"color_mode": "grayscale", "target_size": (20, 30), "class_mode": None, "seed": 3}
    ours = next(ImageDataGenerator(**options).flow_from_directory(tmp_path, **flow))
    theirs = KerasGenerator(rotation_range=20).flow_from_directory(tmp_path, **flow)
    expected = next_as_keras(theirs)
    assert expected.max() > 50000
    np.testing.assert_allclose(ours, expected, atol=0.05)  # 1e-6 of the range, as 0.0003 of 255


def test_channels_first_equals_keras(photos):
    ours, theirs = both_flows(photos, OPTIONS | {"data_format": "channels_first"})
    assert ours.image_shape == theirs.image_shape == (3, 33, 46)
    assert_same(next(ours)[0], next_as_keras(theirs)[0])


def test_brightness_and_preprocessing_equal_keras(photos):
    options = {"brightness_range": (0.5, 1.0), "rotation_range": 10, "channel_shift_range": 20}
    ours, theirs = both_flows(photos, options)
    error = abs(next(ours)[0] - next_as_keras(theirs)[0])
    assert error.max() <= 1  # a level within rounding of a whole one may be truncated
    assert np.mean(error > 0) < 1e-3
    options = {"preprocessing_function": lambda image: image[::-1] / 127.5 - 1}
    ours, theirs = both_flows(photos, options)
    np.testing.assert_array_equal(next(ours)[0], next(theirs)[0])


def test_integer_batches_truncate_as_keras_does(photos):
    ours, theirs = both_flows(photos, {"rotation_range": 25, "dtype": "uint8"})
    mine, other = next(ours)[0], next_as_keras(theirs)[0]
    assert mine.dtype == np.uint8
    difference = abs(mine.astype(int) - other.astype(int))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.005


def test_attributes_are_those_of_keras(photos, capsys):
    ours, theirs = both_flows(photos)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines == ["Found 15 images belonging to 3 classes."] * 2
    for name in set(vars(theirs)) - {"image_data_generator", "lock", "index_generator"}:
        np.testing.assert_equal(getattr(ours, name), getattr(theirs, name), name)
    assert ours.filepaths == theirs.filepaths
    assert ours.labels is ours.classes
    assert ours.classes.dtype == np.int32
    assert ours.sample_weight is None
    assert list(ours.class_indices) == ["cat", "cup", "face"]
    assert ours.filenames[0] == "cat/6.bmp"
    assert "cat/kittens/a.jpg" in ours.filenames
    assert ours.allowed_class_modes == theirs.allowed_class_modes


def test_classes_are_taken_in_the_given_order(photos):
    ours, theirs = both_flows(photos, classes=["face", "cat"])
    assert ours.class_indices == theirs.class_indices == {"face": 0, "cat": 1}
    assert ours.filenames == theirs.filenames


def test_a_folder_without_classes_is_read_by_a_dot(photos):
    ours, theirs = both_flows(photos / "face", classes=["."], class_mode=None, shuffle=False)
    assert ours.filenames == theirs.filenames
    assert_same(next(ours), next_as_keras(theirs))


def test_a_nested_class_name_works_where_keras_fails(photos):
    iterator = both_flows_ours(photos, classes=["cat/kittens"])
    assert iterator.filenames == ["cat/kittens/a.jpg"]


def both_flows_ours(folder, **flow):
    return ImageDataGenerator(validation_split=0.4).flow_from_directory(folder, **flow)


def test_links_are_followed_when_asked(photos, tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "more").symlink_to(photos / "cat")
    (tmp_path / "linked").symlink_to(photos / "face")
    for follow_links, count in ((False, 4), (True, 9)):
        ours, theirs = both_flows(tmp_path, follow_links=follow_links)
        assert ours.filenames == theirs.filenames
        assert ours.samples == count


def test_no_generator_gives_the_resized_files(photos):
    flow = {"target_size": (20, 30), "shuffle": False, "class_mode": None}
    plain = next(DirectoryIterator(photos, None, **flow))
    np.testing.assert_array_equal(plain, next(both_flows_ours(photos, **flow)))


def test_the_fused_resize_is_passed_on(photos):
    assert not both_flows_ours(photos).use_fused_resize
    assert both_flows_ours(photos, use_fused_resize=True).use_fused_resize


def test_saved_files_have_keras_names(photos, tmp_path):
    for name, generator in (("keras", KerasGenerator), ("ours", ImageDataGenerator)):
        (tmp_path / name).mkdir()
        flow = {"save_to_dir": tmp_path / name, "save_format": "jpeg", "seed": 3, "batch_size": 4}
        next(generator().flow_from_directory(photos, target_size=(20, 30), **flow))
    names = sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "keras").iterdir())
    assert len(names) == 4


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"color_mode": "bgr"}, 'Invalid color mode: bgr; expected "rgb", "rgba", or "grayscale"'),
        ({"subset": "test"}, "Invalid subset name: test"),
        ({"class_mode": "raw"}, "Invalid class_mode: raw; expected one of"),
    ],
)
def test_errors_of_keras_are_errors_here(photos, flow, message):
    with pytest.raises(ValueError):  # noqa: PT011 -- its words are Keras' own
        KerasGenerator().flow_from_directory(photos, **flow)
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageDataGenerator().flow_from_directory(photos, **flow)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"interpolation": "cubic"}, "Invalid interpolation method 'cubic'; expected one of near"),
        ({"target_size": (0, 20)}, "`target_size` must be (height, width)"),
        ({"target_size": (20,)}, "`target_size` must be (height, width)"),
    ],
)
def test_what_keras_notices_late_is_refused_at_construction(photos, flow, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageDataGenerator().flow_from_directory(photos, **flow)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ImageDataGenerator().flow_from_directory(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="Found 0 images belonging to 0 classes"):
        ImageDataGenerator().flow_from_directory(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="one sub-folder for each class, with files in one of"):
        ImageDataGenerator().flow_from_directory(tmp_path)


def test_a_class_without_folder_is_warned_about(photos):
    with pytest.warns(UserWarning, match="There is no folder .* for the class 'dog'"):
        iterator = ImageDataGenerator().flow_from_directory(photos, classes=["cat", "dog"])
    assert iterator.class_indices == {"cat": 0, "dog": 1}


def broken_files(photo):
    whole = photo.read_bytes()
    return {"empty": b"", "text": b"this is no picture", "truncated": whole[: len(whole) // 2]}


@pytest.mark.parametrize("kind", ["empty", "text", "truncated"])
def test_a_broken_file_is_named(photos, tmp_path, kind):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "fine.jpg").write_bytes((photos / "cat" / "9.jpg").read_bytes())
    broken = tmp_path / "cat" / f"{kind}.jpg"
    broken.write_bytes(broken_files(photos / "cat" / "9.jpg")[kind])
    error = OSError if kind == "truncated" else UnidentifiedImageError
    with pytest.raises(error, match=re.escape(str(broken))):
        next(ImageDataGenerator().flow_from_directory(tmp_path))
    with pytest.raises(error):
        next(KerasGenerator().flow_from_directory(tmp_path))


def test_a_file_that_vanishes_is_named(photos, tmp_path):
    (tmp_path / "cat").mkdir()
    photo = tmp_path / "cat" / "gone.jpg"
    photo.write_bytes((photos / "cat" / "9.jpg").read_bytes())
    iterator = ImageDataGenerator().flow_from_directory(tmp_path)
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape("gone.jpg")):
        next(iterator)


def test_batches_do_not_depend_on_the_threads(photos):
    batches = [
        next(
            ImageDataGenerator(**OPTIONS, threads=threads).flow_from_directory(
                photos, target_size=(33, 46), seed=1
            )
        )[0]
        for threads in (1, 2, 5)
    ]
    np.testing.assert_array_equal(batches[0], batches[1])
    np.testing.assert_array_equal(batches[0], batches[2])


@pytest.mark.slow
def test_transfer_learning_script_runs_with_only_the_import_changed(photos):
    train_datagen = ImageDataGenerator(
        rescale=1.0 / 255, shear_range=0.2, zoom_range=0.2, horizontal_flip=True,
        validation_split=0.25, augment_validation=True,
    )  # fmt: skip
    folder = {"directory": photos, "target_size": (32, 32), "batch_size": 4}
    train = train_datagen.flow_from_directory(**folder, subset="training")
    validation = train_datagen.flow_from_directory(**folder, subset="validation", shuffle=False)
    base = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    base.trainable = False
    model = keras.Sequential([base, keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    steps = train.samples // train.batch_size
    history = model.fit(
        train, epochs=2, steps_per_epoch=steps, validation_data=validation,
        class_weight={0: 1.0, 1: 2.0, 2: 1.0}, verbose=0,
    )  # fmt: skip
    assert len(history.history["val_accuracy"]) == 2
    assert model.predict(validation, verbose=0).shape == (validation.samples, 3)


def test_model_fit_takes_the_folder(photos):
    generator = ImageDataGenerator(**OPTIONS, augment_validation=False)
    folder = {"directory": photos, "target_size": (16, 18), "batch_size": 4}
    train = generator.flow_from_directory(**folder, subset="training")
    validation = generator.flow_from_directory(**folder, subset="validation", shuffle=False)
    model = keras.Sequential(
        [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
    )
    model.compile("sgd", "categorical_crossentropy")
    history = model.fit(
        train, epochs=2, validation_data=validation, class_weight={0: 1, 1: 2, 2: 1}, verbose=0
    )
    assert len(history.history["val_loss"]) == 2
    assert model.predict(validation, verbose=0).shape == (validation.samples, 3)
