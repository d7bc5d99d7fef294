import gc
import subprocess
import sys
import time

import keras
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


def test_a_file_that_cannot_be_read_is_named(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[4].write_bytes(b"")
    loader = Loader(source, Augmenter(POLICY, size=8), 3, shuffle=False)
    iterator = iter(as_dataset(loader))
    next(iterator)
    with pytest.raises(tf.errors.OpError, match=source.paths[4].name):
        next(iterator)


def test_two_iterations_at_once_are_refused():
    dataset = as_dataset(make_loader())
    older = iter(dataset)
    next(older)
    newer = iter(dataset)
    next(newer)
    with pytest.raises(tf.errors.OpError, match="given up"):
        next(older)


def test_weights_without_labels_are_refused():
    with pytest.raises(ValueError, match="weights but no labels"):
        as_dataset(make_loader(labels=None, weights=np.ones(23)))


def epoch_ids(dataset) -> list[int]:
    return [int(i) for element in dataset for i in element[-1].numpy()]


def test_dictionaries_have_what_the_source_has():
    weighted = make_loader(labels=None, weights=np.ones(23, np.float32), drop_remainder=True)
    dataset = as_dataset(weighted, sample_ids=True, as_dict=True)
    assert {name: spec.shape.as_list() for name, spec in dataset.element_spec.items()} == {
        "images": [5, 9, 8, 3],
        "weights": [5],
        "sample_ids": [5],
    }
    assert sorted(int(i) for element in dataset for i in element["sample_ids"])[:3] == [0, 1, 2]


def test_tensorflow_neither_shards_nor_reorders():
    options = as_dataset(make_loader()).options()
    off = tf.data.experimental.AutoShardPolicy.OFF
    assert options.experimental_distribute.auto_shard_policy == off
    assert options.deterministic


def test_text_labels_are_strings():
    names = np.array(["cat", "dog", "fox"])
    labels = [element for _, labels in as_dataset(make_loader(labels=names[LABELS])) for element in
              labels.numpy()]  # fmt: skip
    assert sorted(label.decode() for label in labels) == sorted(names[LABELS])


def test_labels_without_tensors_are_refused():
    with pytest.raises(TypeError, match="labels are datetime64"):
        as_dataset(make_loader(labels=np.full(23, np.datetime64("2020-01-01"))))


def test_map_cache_and_prefetch_keep_every_sample():
    dataset = as_dataset(make_loader(), sample_ids=True)
    dataset = dataset.map(lambda images, labels, ids: (images / 2, labels, ids), -1).cache()
    first, second = epoch_ids(dataset.prefetch(2)), epoch_ids(dataset.prefetch(2))
    assert first == second  # from the cache
    assert sorted(first) == list(range(23))


class SlowSource(ArraySource):
    """Counts the pictures whose reading has begun."""

    def __init__(self) -> None:
        super().__init__(np.zeros((400, 4, 4, 3), np.uint8), np.zeros(400, np.int64))
        self.num_begun = 0

    def read(self, sample_id, min_size=(0, 0)):
        self.num_begun += 1
        time.sleep(0.002)
        return super().read(sample_id, min_size)


def taken(dataset) -> None:
    for _ in dataset.take(2):
        pass


def broken_off(dataset) -> None:
    for _ in dataset:
        break


def deleted(dataset) -> None:
    iterator = iter(dataset)
    next(iterator)
    del iterator


def broken_off_behind_others(dataset) -> None:
    broken_off(dataset.map(lambda images, labels: (images, labels), 2).prefetch(2))


def fit_in_part(dataset) -> None:
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(dataset, steps_per_epoch=2, shuffle=False, verbose=0)


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize(
    "give_up", [taken, broken_off, deleted, broken_off_behind_others, fit_in_part]
)
def test_a_dropped_iteration_stops_the_work(give_up, epochs, monkeypatch):
    open_iterations = []
    batches = Loader._batches

    def noted(self, iteration):
        open_iterations.append(iteration)
        try:
            yield from batches(self, iteration)
        finally:
            open_iterations.remove(iteration)

    monkeypatch.setattr(Loader, "_batches", noted)
    source = SlowSource()
    loader = Loader(source, Augmenter(Policy(), threads=2), 8, epochs=epochs, prefetch=20)
    give_up(as_dataset(loader))
    gc.collect()
    deadline = time.monotonic() + 20
    while open_iterations and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_iterations == []
    time.sleep(0.05)  # slices under way end
    begun = source.num_begun
    time.sleep(0.1)
    assert source.num_begun == begun < 400


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
options = dict(shuffle=False, verbose=0, callbacks=[Count()])
model.fit(as_dataset(loader), epochs=2, steps_per_epoch={steps}, **options)
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


MIRRORED = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np, tensorflow as tf, keras
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.tensorflow import as_dataset
images = np.random.default_rng(1).integers(0, 256, (23, 6, 5, 3), np.uint8)
source = ArraySource(images, np.arange(23))

@tf.function
def ids_of(element):
    return strategy.run(lambda images, labels, ids: ids, args=element)

for batch_size, epochs in [(5, 1), (11, 1), (8, 2)]:  # 23 = 2 * 11 + 1: one replica gets none
    loader = Loader(source, Augmenter(Policy(rotation_range=9)), batch_size, epochs=epochs)
    dataset = as_dataset(loader, sample_ids=True)
    steps = [[], []]
    for element in strategy.experimental_distribute_dataset(dataset):
        for replica, ids in enumerate(strategy.experimental_local_results(ids_of(element))):
            steps[replica].append(ids.numpy().tolist())
    assert len(steps[0]) == len(steps[1]) == len(loader) * epochs, steps
    seen = sorted(i for replica in steps for ids in replica for i in ids)
    assert seen == sorted([*range(23)] * epochs), seen

seen = []
def note(numbers):
    seen.extend(numbers.tolist())
    return np.float32(0)

class Noting(keras.layers.Layer):
    def call(self, x, training=False):
        if not training:
            return x
        return x + tf.ensure_shape(tf.numpy_function(note, [x[:, 0, 0, 0]], tf.float32), ())

numbered = np.arange(23, dtype=np.uint8)[:, None, None, None] + np.zeros((6, 5, 3), np.uint8)
augmenter = Augmenter(Policy(), size=(6, 5))
loader = Loader(ArraySource(numbered, np.zeros(23)), augmenter, batch_size=6)
with strategy.scope():
    layers = [Noting(), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((6, 5, 3)), *layers])
    model.compile(keras.optimizers.SGD(1e-6), "mse", jit_compile=False)
model.fit(as_dataset(loader), epochs=3, shuffle=False, verbose=0)
assert sorted(seen) == sorted([*range(23)] * 3), seen
"""


@pytest.mark.slow
def test_two_replicas_take_equal_steps_and_no_sample_twice():
    result = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
