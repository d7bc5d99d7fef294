"""Grain's dataset of a loader's batches, in this process."""

import hashlib
import json
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("grain")

import grain

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy, SampleError
from fusewarp.grain import as_map_dataset, share_threads
from fusewarp.integrations.grain import workers
from fusewarp.integrations.grain.batches import LoaderOrder

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
NUM_BATCHES = 8  # of 3 pictures: the last has 2
POLICY = Policy(rotation_range=40, horizontal_flip=True)
IN_TURN = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)


def make_loader(threads=2, loader=Loader, **options) -> Loader:
    augmenter = Augmenter(POLICY, seed=3, threads=threads)
    return loader(ArraySource(IMAGES, np.arange(23)), augmenter, 3, **options)


def contents(elements) -> list[tuple[list[int], list[str]]]:
    """Return the ids of each batch, and a hash of each of its pictures."""
    return [
        (labels.tolist(), [hashlib.sha1(image.tobytes()).hexdigest() for image in images])
        for images, labels in elements
    ]


def plain(num_epochs=3, **options) -> list[tuple[list[int], list[str]]]:
    loader = make_loader(**options)
    epochs = [contents((b.images, b.labels) for b in loader) for _ in range(num_epochs)]
    assert epochs[0] != epochs[1]
    return [*chain(*epochs)]


class Recording(Loader):
    """Keeps the batches that it makes."""

    def make(self, sample_ids, epoch):
        batch = super().make(sample_ids, epoch)
        self.made = [*getattr(self, "made", []), batch]
        return batch


def test_elements_and_their_order_are_the_loaders():
    dataset = as_map_dataset(make_loader(epochs=3))
    assert len(dataset) == 3 * NUM_BATCHES
    assert contents(dataset) == plain()
    many = grain.ReadOptions(num_threads=6, prefetch_buffer_size=12)
    assert contents(dataset.to_iter_dataset(many)) == plain()


def test_any_batch_at_any_time():
    loader, expected = make_loader(epochs=3), plain()
    dataset = as_map_dataset(loader)
    indices = np.random.default_rng(2).permutation(3 * NUM_BATCHES)
    assert contents(dataset[i] for i in indices) == [expected[i] for i in indices]
    assert contents(dataset[5:20:4]) == expected[5:20:4]
    assert loader.state_dict() == {"seed": 3, "epoch": 0, "step": 0}
    with pytest.raises(IndexError, match="from 0, got -1"):
        dataset[-1]


def test_what_lies_behind_the_length_are_later_epochs():
    dataset, expected = as_map_dataset(make_loader()), plain()
    assert contents([dataset[2 * NUM_BATCHES + 1]]) == expected[2 * NUM_BATCHES + 1 :][:1]
    assert contents(dataset.repeat(3)) == expected
    assert contents(dataset.repeat(2, reseed_each_epoch=False)) == 2 * expected[:NUM_BATCHES]


def test_an_endless_loader_is_as_long_as_what_grain_repeats_forever():
    dataset = as_map_dataset(make_loader(epochs=None))
    assert len(dataset) == len(grain.MapDataset.range(1).repeat()) == sys.maxsize
    assert contents(islice(dataset, 20)) == plain()[:20]
    with pytest.raises(ValueError, match="already infinite"):
        dataset.repeat(2)


def test_epochs_beyond_what_python_can_count_are_a_length_too():
    assert len(as_map_dataset(make_loader(epochs=2**62))) == sys.maxsize


@pytest.mark.parametrize(
    ("labels", "weights", "fields"),
    [
        (None, None, ["images"]),
        (np.arange(23), None, ["images", "labels"]),
        (np.array(["cat", "horse"] * 11 + ["dog"]), None, ["images", "labels"]),
        (np.eye(23), np.linspace(0, 1, 23), ["images", "labels", "weights"]),
    ],
)
def test_elements_have_what_the_source_has(labels, weights, fields):
    loader = Loader(ArraySource(IMAGES, labels, weights), Augmenter(POLICY), 3)
    batch = next(iter(loader))
    expected = [getattr(batch, name) for name in fields]
    element = as_map_dataset(loader)[0]
    for ours, theirs in zip([element] if fields == ["images"] else element, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    named = as_map_dataset(loader, as_dict=True, sample_ids=True)[0]
    assert list(named) == [*fields, "sample_ids"]
    np.testing.assert_array_equal(named["sample_ids"], batch.sample_ids)
    np.testing.assert_array_equal(as_map_dataset(loader, sample_ids=True)[0][-1], batch.sample_ids)


def test_weights_without_labels_need_names():
    loader = Loader(ArraySource(IMAGES, weights=np.ones(23)), Augmenter(POLICY), 3)
    with pytest.raises(ValueError, match="weights but no labels"):
        as_map_dataset(loader)
    assert list(as_map_dataset(loader, as_dict=True)[0]) == ["images", "weights"]


def test_elements_are_the_memory_of_the_batch():
    loader = make_loader(loader=Recording)
    kept = list(as_map_dataset(loader))  # all at once: no memory may be used a second time
    assert contents(kept) == plain()[:NUM_BATCHES]
    buffers = {batch.images.ctypes.data: batch.images for batch in loader.made}
    assert all(np.shares_memory(images, buffers[images.ctypes.data]) for images, _ in kept)
    assert all(images.ctypes.data % 64 == 0 for images, _ in kept)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_no_more_is_made_ahead_than_the_loader_would(prefetch):
    loader = make_loader(loader=Recording, prefetch=prefetch)
    iterator = iter(as_map_dataset(loader))
    next(iterator)
    deadline = time.monotonic() + 20
    while len(loader.made) < 1 + prefetch and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(loader.made) == 1 + prefetch
    iterator.close()


@pytest.mark.parametrize("taken", [0, 1, NUM_BATCHES, 13, 3 * NUM_BATCHES])
def test_a_state_goes_on_exactly_in_a_new_iterator(taken):
    iterator = iter(as_map_dataset(make_loader(epochs=3)))
    assert contents(islice(iterator, taken)) == plain()[:taken]
    state = json.loads(json.dumps(iterator.get_state()))
    iterator.close()
    resumed = iter(as_map_dataset(make_loader(epochs=3)))
    resumed.set_state(state)
    assert contents(resumed) == plain()[taken:]


def test_a_state_of_a_loader_is_an_index():
    loader = make_loader(epochs=3)
    position = iter(loader)
    for _ in range(NUM_BATCHES + 2):
        next(position)
    state = loader.state_dict()
    resumed = iter(as_map_dataset(make_loader(epochs=3)))
    resumed.set_state({"next_index": state["epoch"] * len(loader) + state["step"]})
    assert contents(resumed) == plain()[NUM_BATCHES + 2 :]


def test_grains_data_loader_gives_the_batches_too():
    dataset = as_map_dataset(make_loader(epochs=3))
    sampler = grain.samplers.SequentialSampler(len(dataset))
    batches = grain.DataLoader(data_source=dataset, sampler=sampler, read_options=IN_TURN)
    assert contents(batches) == plain()


def test_shards_are_those_of_the_loader_or_of_grain():
    ids = []
    for rank in range(2):
        options = {"shard": (rank, 2), "drop_remainder": True}
        dataset = as_map_dataset(make_loader(epochs=3, **options))
        assert len(dataset) == 9
        assert contents(dataset) == plain(**options)
        ids += [sample_id for labels, _ in contents(dataset[:3]) for sample_id in labels]
    assert len(set(ids)) == len(ids) == 18
    whole = as_map_dataset(make_loader(epochs=3))
    assert contents(whole[1::2]) == plain()[1::2]


def test_a_file_that_cannot_be_read_is_named(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[4].write_bytes(b"")
    dataset = as_map_dataset(Loader(source, Augmenter(POLICY, size=8), 3, shuffle=False))
    with pytest.raises(SampleError, match=source.paths[4].name):
        list(dataset)


def photos(folder, broken, **options) -> Loader:
    source = FolderSource(folder)  # 11 files
    for number in broken:
        source.paths[number].write_bytes(b"")
    return Loader(source, Augmenter(POLICY, size=8), 3, on_error="skip", **options)


@pytest.mark.parametrize("broken", [[4], [3, 4, 5, 9]])
def test_what_is_skipped_is_left_out_and_told(photo_folder, broken):
    """The second time a whole batch is."""
    loader, own = (photos(photo_folder, broken, shuffle=False) for _ in range(2))
    with pytest.warns(UserWarning, match="left out"):
        expected = contents((b.images, b.labels) for b in own)
    with pytest.warns(UserWarning, match=f"left out, .*{own.skipped[0].name} the first"):
        assert contents(as_map_dataset(loader)) == expected
    assert sorted(loader.skipped) == sorted(own.skipped)
    assert len(own.skipped) == len(broken)


@pytest.mark.filterwarnings("ignore:Samples could not be read")
@pytest.mark.parametrize("epochs", [1, None])
def test_an_epoch_without_a_sample_is_an_error(photo_folder, epochs):
    dataset = as_map_dataset(photos(photo_folder, range(11), epochs=epochs))
    assert dataset[0] is None
    with pytest.raises(SampleError, match="Not one sample of 4 batches, an epoch"):
        next(iter(dataset))


@pytest.mark.parametrize("part", [slice(None), slice(1, None, 2)])
def test_an_order_of_grains_has_the_pixels_of_its_epochs(part):
    order = grain.MapDataset.range(23).shuffle(seed=5)[part]
    order = order.batch(4, drop_remainder=True)
    loader = make_loader(epochs=2)
    dataset = as_map_dataset(loader, order=order, sample_ids=True)
    assert len(dataset) == 2 * len(order)
    elements = list(dataset)
    for index, (images, labels, ids) in enumerate(elements):
        expected = loader.make(ids, index // len(order))
        np.testing.assert_array_equal(images, expected.images)
        np.testing.assert_array_equal(labels, expected.labels)
        np.testing.assert_array_equal(ids, order[index])
    first, second = elements[: len(order)], elements[len(order) :]
    assert ids_of(first) != ids_of(second)  # Grain's shuffle knows the epoch
    assert all(len(set(ids)) == len(ids) for ids in (ids_of(first), ids_of(second)))


def ids_of(elements):
    return [sample_id for *_, ids in elements for sample_id in ids]


def test_an_order_that_leaves_batches_out():
    order = grain.MapDataset.range(23).batch(4).filter(lambda ids: 8 not in ids)
    ids = [ids.tolist() for *_, ids in as_map_dataset(make_loader(), order=order, sample_ids=True)]
    assert ids == [list(range(at, min(at + 4, 23))) for at in (0, 4, 12, 16, 20)]


@pytest.mark.parametrize(
    "order",
    [
        grain.MapDataset.range(23).shuffle(seed=5).repeat(2).batch(4),
        grain.MapDataset.range(23).batch(4).repeat(2),
        grain.MapDataset.range(23).batch(4).repeat(),
        grain.MapDataset.range(0).batch(4),
    ],
)
def test_an_order_that_is_not_one_epoch_is_refused(order):
    with pytest.raises(ValueError, match="repeat what as_map_dataset returns"):
        as_map_dataset(make_loader(), order=order)


def test_an_order_without_random_access_is_refused():
    batches = grain.MapDataset.range(23).batch(4).to_iter_dataset()
    with pytest.raises(TypeError, match="got PrefetchIterDataset"):
        as_map_dataset(make_loader(), order=batches)


def test_an_order_of_single_samples_is_refused():
    dataset = as_map_dataset(make_loader(), order=grain.MapDataset.range(23))
    with pytest.raises(ValueError, match="must be a list of integers"):
        dataset[0]


def test_threads_compute_the_order_of_an_epoch_once():
    loader, asked = make_loader(), []
    compute = loader._order

    def slow_order(epoch):
        asked.append(epoch)
        time.sleep(0.05)
        return compute(epoch)

    loader._order = slow_order
    order, together = LoaderOrder(loader), threading.Barrier(4)

    def ask(step):
        together.wait(timeout=20)
        return order[NUM_BATCHES + step].tolist()

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(ask, range(4))] == [labels for labels, _ in plain()[NUM_BATCHES:][:4]]
    assert asked == [1]


@pytest.mark.parametrize(("worker_count", "threads"), [(1, 5), (2, 2), (8, 1)])
def test_workers_share_the_threads_out(monkeypatch, worker_count, threads):
    monkeypatch.setattr(workers, "_worker_count", 1)
    loader = make_loader(threads=5)
    dataset = as_map_dataset(loader)
    share_threads(0, worker_count)
    there = pickle.loads(pickle.dumps(dataset))
    assert there._loader.augmenter.threads == threads
    assert loader.augmenter.threads == 5
    assert contents(there) == contents(dataset)


def test_what_is_no_loader_is_refused():
    with pytest.raises(TypeError, match="`loader` must be a Loader, got str"):
        as_map_dataset("photos")


def test_two_datasets_of_one_loader_take_its_part_once(monkeypatch):
    monkeypatch.setattr(workers, "_worker_count", 2)
    loader = make_loader(threads=8)
    both = pickle.loads(pickle.dumps([as_map_dataset(loader), as_map_dataset(loader)]))
    assert [dataset._loader.augmenter.threads for dataset in both] == [4, 4]


def test_batches_of_a_device_stay_in_their_process():
    loader = make_loader()
    loader.augmenter.device = SimpleNamespace(kind="cuda", index=1)
    dataset = as_map_dataset(loader).to_iter_dataset(IN_TURN)
    with pytest.raises(RuntimeError, match=r"cuda:1, whose batches stay.*Leave `mp_prefetch` out"):
        next(iter(dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=2))))
