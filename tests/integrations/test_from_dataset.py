import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.tensorflow import as_dataset, from_dataset

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
LABELS = np.arange(23) % 3
POLICY = Policy(rotation_range=40, horizontal_flip=True, rescale=1 / 255)
AUGMENTER = Augmenter(POLICY, size=(9, 8), threads=2)


def batches(values=(IMAGES, LABELS), batch_size=5, **options) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(values).batch(batch_size, **options)


def pictures(dataset) -> np.ndarray:
    return np.concatenate([images.numpy() for images, *_ in dataset])


def test_each_iteration_is_an_epoch_of_ids_from_0():
    dataset = from_dataset(batches(), AUGMENTER, first_epoch=4)
    for epoch in (4, 5, 6):
        expected = AUGMENTER.apply(IMAGES, np.arange(23), epoch)
        np.testing.assert_array_equal(pictures(dataset), expected)


def test_labels_stay_with_their_pictures():
    shuffled = batches().unbatch().shuffle(23, seed=1, reshuffle_each_iteration=False).batch(4)
    raw = list(shuffled)
    for (images, labels), (raw_images, raw_labels) in zip(
        from_dataset(shuffled, Augmenter(Policy(), threads=1)), raw, strict=True
    ):
        np.testing.assert_array_equal(images, raw_images)
        np.testing.assert_array_equal(labels, raw_labels)


def test_equals_a_loader_of_the_same_pictures():
    loader = Loader(ArraySource(IMAGES, LABELS), AUGMENTER, 5, shuffle=False)
    np.testing.assert_array_equal(
        pictures(from_dataset(batches(), AUGMENTER)), pictures(as_dataset(loader))
    )


@pytest.mark.parametrize(
    ("values", "rest"),
    [
        (IMAGES, ()),
        ((IMAGES, LABELS), ((5,),)),
        ((IMAGES, LABELS, np.ones(23)), ((5,), (5,))),
        ((IMAGES, {"a": LABELS, "b": IMAGES}), ({"a": (5,), "b": (5, 12, 10, 3)},)),
    ],
)
def test_structure_spec_and_cardinality_are_kept(values, rest):
    dataset = from_dataset(batches(values, drop_remainder=True), AUGMENTER)
    spec = dataset.element_spec
    images, *others = spec if isinstance(spec, tuple) else (spec,)
    assert images == tf.TensorSpec((5, 9, 8, 3), tf.float32)
    assert tf.nest.map_structure(lambda other: tuple(other.shape), tuple(others)) == rest
    assert dataset.cardinality() == 4
    assert len(list(dataset)) == 4


def test_dictionaries_keep_their_other_keys():
    dataset = from_dataset(batches({"images": IMAGES, "name": LABELS}), AUGMENTER)
    assert dataset.element_spec["images"] == tf.TensorSpec((None, 9, 8, 3), tf.float32)
    names = np.concatenate([element["name"] for element in dataset])
    np.testing.assert_array_equal(names, LABELS)


def test_layout_and_dtype_are_the_augmenters():
    augmenter = Augmenter(Policy(), layout="CHW", dtype="uint8", threads=1)
    dataset = from_dataset(batches(), augmenter)
    assert dataset.element_spec[0] == tf.TensorSpec((None, 3, 12, 10), tf.uint8)
    np.testing.assert_array_equal(pictures(dataset), IMAGES.transpose(0, 3, 1, 2))


def test_endless_and_unknown_cardinalities_are_kept():
    endless = from_dataset(batches().repeat(), AUGMENTER)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    filtered = from_dataset(batches().filter(lambda images, labels: True), AUGMENTER)
    assert filtered.cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert len(list(filtered)) == 5


def test_an_endless_iteration_never_repeats_a_picture():
    images = pictures(from_dataset(batches(batch_size=23).repeat(), AUGMENTER).take(2))
    expected = AUGMENTER.apply(np.concatenate([IMAGES, IMAGES]), np.arange(46))
    np.testing.assert_array_equal(images, expected)


def test_pictures_of_different_sizes_from_batch_to_batch():
    sizes = [(20, 30), (31, 17)]
    raw = [np.full((2, *size, 3), level, np.uint8) for level, size in enumerate(sizes)]
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8)
    ragged = tf.data.Dataset.from_generator(lambda: iter(raw), output_signature=spec)
    dataset = from_dataset(ragged, Augmenter(Policy(), size=8, threads=1))
    assert dataset.element_spec.shape.as_list() == [None, 8, 8, 3]
    for level, images in enumerate(dataset):
        np.testing.assert_array_equal(images, np.full((2, 8, 8, 3), level))


def test_the_new_batch_is_not_copied(monkeypatch):
    ours = []
    apply = Augmenter.apply

    def noted(*arguments):
        out = apply(*arguments)
        ours.append(out.ctypes.data)
        return out

    monkeypatch.setattr(Augmenter, "apply", noted)
    held = [images for images, _ in from_dataset(batches(), AUGMENTER)]
    addresses = [np.frombuffer(memoryview(images), np.uint8).ctypes.data for images in held]
    assert addresses == ours


def unranked(images) -> tf.data.Dataset:
    def lose_shape(images):
        return tf.numpy_function(lambda images: images, [images], tf.uint8)

    return batches(images).map(lose_shape)


SOME_SIZE = tf.TensorSpec((None, None, None, 3), tf.uint8)
SOME_CHANNELS = tf.TensorSpec((None, 9, 9, None), tf.uint8)


def promised(spec) -> tf.data.Dataset:
    return tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec)


@pytest.mark.parametrize(
    ("dataset", "augmenter", "error", "message"),
    [
        (batches(IMAGES / 255), AUGMENTER, TypeError, r"float64.*`rescale`"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), AUGMENTER, ValueError, r"ds\.batch\(32\)"),
        (batches(LABELS.astype(np.uint8)), AUGMENTER, ValueError, r"\(n, height, width, chann"),
        (unranked(IMAGES), AUGMENTER, ValueError, "rank.*ensure_shape"),
        (promised(SOME_SIZE), Augmenter(POLICY), ValueError, "give the Augmenter a `size`"),
        (promised(SOME_CHANNELS), AUGMENTER, ValueError, "number of channels"),
        (batches({"x": IMAGES}), AUGMENTER, ValueError, r'"images", got \[\'x\'\]'),
        (batches().ragged_batch(2), AUGMENTER, ValueError, "dense tensors"),
        (IMAGES, AUGMENTER, TypeError, "ndarray"),
        (batches(), POLICY, TypeError, "must be an Augmenter, got Policy"),
        (batches(), Augmenter(Policy(mean=(1, 2))), ValueError, "`mean` has 2 values"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_call(dataset, augmenter, error, message):
    with pytest.raises(error, match=message):
        from_dataset(dataset, augmenter)


FIT = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np, tensorflow as tf, keras
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
from fusewarp import Augmenter, Policy
from fusewarp.tensorflow import from_dataset
epochs = []
class Noting(Augmenter):
    def apply(self, images, sample_ids, epoch=0, out=None):
        epochs.append(epoch)
        return super().apply(images, sample_ids, epoch, out)

images = np.zeros((23, 12, 10, 3), np.uint8)
raw = tf.data.Dataset.from_tensor_slices((images, np.zeros(23)))
raw = raw.map(lambda x, y: (x + 1, y), num_parallel_calls=4).batch(5).prefetch(1)
augmenter = Noting(Policy(rotation_range=9), threads=2)
model = keras.Sequential([keras.Input((12, 10, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
dataset = from_dataset(raw, augmenter)
model.fit(dataset, epochs=2, shuffle=False, verbose=0)
assert len(set(epochs)) >= 2 and epochs.count(epochs[-1]) == 5, epochs
"""


@pytest.mark.slow
def test_fit_works_with_one_inter_op_thread():
    result = subprocess.run(
        [sys.executable, "-c", FIT], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
