import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy
from fusewarp.tensorflow import as_dataset

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
LABELS = np.arange(23) % 3
POLICY = Policy(rotation_range=40, horizontal_flip=True, rescale=1 / 255)


def make_loader(labels=LABELS, weights=None, dtype="float32", layout="HWC", **options) -> Loader:
    augmenter = Augmenter(POLICY, size=(9, 8), dtype=dtype, layout=layout, threads=2)
    options = {"batch_size": 5, **options}
    return Loader(ArraySource(IMAGES, labels, weights), augmenter, **options)


def address_of(tensor: tf.Tensor) -> int:
    return np.frombuffer(memoryview(tensor), np.uint8).ctypes.data


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_takes_our_buffer_without_a_copy(dtype, monkeypatch):
    """The labels ride along in the same element; only the pictures are worth a check."""
    loader = make_loader(dtype=dtype)
    ours = []
    original = Loader._wait_for

    def note(self, work, iteration):
        batch = original(self, work, iteration)
        ours.append(batch.images.ctypes.data)
        return batch

    monkeypatch.setattr(Loader, "_wait_for", note)
    held = list(as_dataset(loader))
    assert [address_of(images) for images, _ in held] == ours
    assert len(ours) == 5


def test_batches_equal_the_loaders():
    dataset = as_dataset(make_loader())
    for (images, labels), batch in zip(dataset, make_loader(), strict=True):
        np.testing.assert_array_equal(images.numpy(), batch.images)
        np.testing.assert_array_equal(labels.numpy(), batch.labels)


def test_spec_and_cardinality_are_static():
    dataset = as_dataset(make_loader(drop_remainder=True, layout="CHW", dtype="float16"))
    images, labels = dataset.element_spec
    assert images == tf.TensorSpec((5, 3, 9, 8), tf.float16)
    assert labels == tf.TensorSpec((5,), tf.int64)
    assert dataset.cardinality() == 4
    ragged = as_dataset(make_loader(epochs=3))
    assert ragged.element_spec[0] == tf.TensorSpec((None, 9, 8, 3), tf.float32)
    assert ragged.cardinality() == 15
    assert as_dataset(make_loader(epochs=None)).cardinality() == tf.data.INFINITE_CARDINALITY


def test_elements_follow_the_sources_fields():
    assert as_dataset(make_loader(labels=None)).element_spec.shape == (None, 9, 8, 3)
    weighted = as_dataset(make_loader(weights=np.ones(23, np.float32)), sample_ids=True)
    assert [spec.dtype.name for spec in weighted.element_spec] == [
        "float32", "int64", "float32", "int64",
    ]  # fmt: skip
    _, labels, _, ids = next(iter(weighted))
    np.testing.assert_array_equal(labels, LABELS[ids.numpy()])


def test_one_hot_labels_keep_their_shape():
    assert as_dataset(make_loader(labels=np.eye(3)[LABELS])).element_spec[1].shape == (None, 3)


@pytest.mark.filterwarnings("ignore:3 sample:UserWarning")
def test_skipping_a_whole_batch_ends_well(photo_folder):
    source = FolderSource(photo_folder)
    for path in source.paths[:3]:
        path.write_bytes(b"")
    loader = Loader(source, Augmenter(POLICY, size=8), 3, shuffle=False, on_error="skip")
    dataset = as_dataset(loader, sample_ids=True)
    assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert epoch_ids(dataset) == list(range(3, 11))


def test_weights_without_labels_are_refused():
    with pytest.raises(ValueError, match="weights but no labels"):
        as_dataset(make_loader(labels=None, weights=np.ones(23)))


def epoch_ids(dataset) -> list[int]:
    return [int(i) for element in dataset for i in element[-1].numpy()]


def test_each_iteration_is_the_next_epoch_and_a_look_costs_nothing():
    loader = make_loader()
    dataset = as_dataset(loader, sample_ids=True)
    for _ in dataset.take(2):
        pass
    plain = make_loader()
    for _ in range(3):
        assert epoch_ids(dataset) == [int(i) for batch in plain for i in batch.sample_ids]


def test_a_finite_loader_inside_an_epoch_is_refused():
    loader = make_loader()
    loader.load_state_dict({"seed": 0, "epoch": 0, "step": 2})
    with pytest.raises(ValueError, match="epochs=None"):
        as_dataset(loader)


def test_an_endless_dataset_resumes_exactly():
    whole = make_loader(epochs=2)
    expected = [batch.sample_ids.tolist() for batch in whole][3:8]
    loader = make_loader(epochs=None)
    loader.load_state_dict({"seed": 0, "epoch": 0, "step": 3})
    dataset = as_dataset(loader, sample_ids=True)
    assert [ids.numpy().tolist() for _, _, ids in dataset.take(5)] == expected


def test_tensorflow_does_not_run_ahead_of_the_loaders_position():
    loader = make_loader(epochs=None)
    iterator = iter(as_dataset(loader))
    for step in range(1, 4):
        next(iterator)
        assert loader.state_dict()["step"] == step


FIT = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np, tensorflow as tf, keras
if {inter_op}:
    tf.config.threading.set_inter_op_parallelism_threads({inter_op})
    tf.config.threading.set_intra_op_parallelism_threads(1)
from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.tensorflow import as_dataset
images = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
loader = Loader(ArraySource(images, np.arange(23) % 3), Augmenter(Policy(rotation_range=9)),
                batch_size=5, epochs={epochs})
model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
steps = []
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
class Count(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        steps.append(batch)
model.fit(as_dataset(loader), epochs=2, steps_per_epoch={steps}, verbose=0, callbacks=[Count()])
assert steps == [0, 1, 2, 3, 4] * 2, steps
assert loader.state_dict() == {{"seed": 0, "epoch": 2, "step": 0}}, loader.state_dict()
"""


@pytest.mark.slow
@pytest.mark.parametrize("inter_op", [0, 1])
@pytest.mark.parametrize(("epochs", "steps"), [(None, 5), (1, None)])
def test_fit_runs_two_exact_epochs(inter_op, epochs, steps):
    code = FIT.format(inter_op=inter_op, epochs=epochs, steps=steps)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "ran out of data" not in result.stderr
