"""The iterable dataset: its epochs and its position, and how workers share them."""

import copy
import os
import pickle
import signal
from itertools import chain, islice

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy, SampleError
from fusewarp.torch import as_iterable_dataset

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
NUM_BATCHES = 8  # of 3 pictures: the last has 2
POLICY = Policy(rotation_range=40, horizontal_flip=True)
pytestmark = pytest.mark.filterwarnings(
    r"ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


def make_loader(threads=2, **options) -> Loader:
    augmenter = Augmenter(POLICY, seed=3, layout="CHW", threads=threads)
    return Loader(ArraySource(IMAGES, np.arange(23)), augmenter, 3, **options)


def data_loader(dataset, num_workers=0, context="fork", **options) -> DataLoader:
    context = context if num_workers else None
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context=context,
        timeout=120 if num_workers else 0,
        **options,
    )


def contents(batches) -> list[tuple[list[int], bytes]]:
    return [(labels.tolist(), np.asarray(images).tobytes()) for images, labels in batches]


def plain(num_epochs=3, **options) -> list[list[tuple[list[int], bytes]]]:
    loader = make_loader(**options)
    epochs = [contents((b.images, b.labels) for b in loader) for _ in range(num_epochs)]
    assert epochs[0] != epochs[1]
    return epochs


@pytest.mark.parametrize(
    ("num_workers", "context", "persistent"),
    [
        (0, None, False),
        (1, "fork", False),
        (2, "fork", False),
        (2, "fork", True),
        pytest.param(2, "spawn", False, marks=pytest.mark.slow),
        pytest.param(2, "forkserver", True, marks=pytest.mark.slow),
    ],
)
def test_batches_and_their_order_are_the_loaders(
    num_workers, context, persistent, monkeypatch, tmp_path
):
    monkeypatch.setenv("FUSEWARP_CACHE", "1")  # so that not every worker compiles
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path))
    loader = data_loader(
        as_iterable_dataset(make_loader()), num_workers, context, persistent_workers=persistent
    )
    assert len(loader) == NUM_BATCHES
    assert [contents(loader) for _ in range(3)] == plain()


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("num_workers", [3, 9])
def test_more_workers_than_batches_lose_nothing(num_workers):
    """Three epochs in one iteration: turns go on over the end of an epoch."""
    dataset = as_iterable_dataset(make_loader(epochs=3))
    assert contents(data_loader(dataset, num_workers)) == [*chain(*plain())]


def test_shards_of_ranks_and_workers_are_disjoint():
    ids = []
    for rank in range(2):
        dataset = as_iterable_dataset(make_loader(shard=(rank, 2), drop_remainder=True))
        batches = contents(data_loader(dataset, 2))
        assert len(batches) == 3
        ids += [sample_id for labels, _ in batches for sample_id in labels]
    assert len(set(ids)) == len(ids) == 18


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("step", [0, 1, 7])
def test_resumes_at_a_state(num_workers, step):
    before, expected = make_loader(), plain()
    dataset = as_iterable_dataset(before)
    next_epoch = list(dataset)
    assert len(next_epoch) == NUM_BATCHES
    iterator = iter(data_loader(dataset))
    for _ in range(step):
        next(iterator)
    state = dataset.state_dict()
    assert state == state | {"seed": 3, "epoch": 1, "step": step}
    resumed = as_iterable_dataset(make_loader())
    resumed.load_state_dict(state)
    loader = data_loader(resumed, num_workers)
    assert contents(loader) == expected[1][step:]
    assert contents(loader) == expected[2]


def test_resumes_at_a_state_of_another_batch_size():
    state = {"seed": 3, "epoch": 1, "step": 3, "batch_size": 2, "num_shards": 1}
    dataset = as_iterable_dataset(make_loader())
    dataset.load_state_dict(state)
    assert contents(data_loader(dataset)) == plain()[1][2:]  # six samples are two steps of three


def test_a_loader_that_stands_inside_an_epoch_goes_on_there():
    loader = make_loader()
    loader.load_state_dict({"seed": 3, "epoch": 1, "step": 5})
    assert contents(as_iterable_dataset(loader)) == plain()[1][5:]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_iteration_that_is_given_up_takes_its_epoch(num_workers):
    dataset = as_iterable_dataset(make_loader())
    loader = data_loader(dataset, num_workers)
    assert contents(islice(iter(loader), 2)) == plain()[0][:2]
    assert contents(loader) == plain()[1]
    assert dataset.state_dict() == {"seed": 3, "epoch": 2, "step": 0}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_set_epoch_chooses_the_next_epoch(num_workers, persistent):
    dataset = as_iterable_dataset(make_loader())
    options = {"persistent_workers": True} if persistent and num_workers else {}
    loader = data_loader(dataset, num_workers, **options)
    for epoch in (2, 0, 0):
        dataset.set_epoch(epoch)
        assert contents(loader) == plain()[epoch]


def test_workers_and_this_process_take_turns():
    dataset = as_iterable_dataset(make_loader())
    got = [contents(data_loader(dataset, num_workers)) for num_workers in (2, 0, 2)]
    assert got == plain()


def test_an_endless_loader_goes_on():
    dataset = as_iterable_dataset(make_loader(epochs=None))
    with pytest.raises(TypeError, match="endless"):
        len(dataset)
    first, second = (contents(islice(iter(data_loader(dataset)), 10)) for _ in range(2))
    assert first + second == [*chain(*plain())][:20]


def test_an_endless_loader_with_workers_asks_where_to_go_on():
    dataset = as_iterable_dataset(make_loader(epochs=None))
    loader = data_loader(dataset, 2)
    assert contents(islice(iter(loader), 10)) == [*chain(*plain())][:10]
    with pytest.raises(RuntimeError, match="set_epoch"):
        next(iter(loader))
    with pytest.raises(RuntimeError, match="set_epoch"):
        dataset.state_dict()
    with pytest.raises(RuntimeError, match="set_epoch"):
        next(iter(dataset))
    dataset.load_state_dict({"seed": 3, "epoch": 1, "step": 2})
    assert contents(islice(iter(loader), 10)) == [*chain(*plain())][10:20]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_keeps_the_position_and_counts_for_itself(copied):
    dataset = as_iterable_dataset(make_loader())
    next(iter(dataset))
    state = dataset.state_dict()
    again = copied(dataset)
    assert again.state_dict() == state
    assert contents(data_loader(again, 2)) == plain()[1]
    assert contents(data_loader(again, 2)) == plain()[2]
    assert dataset.state_dict() == state


def test_workers_share_the_threads_out(monkeypatch):
    from fusewarp.integrations.torch.loading import StridedLoader

    loader = make_loader(threads=5)
    threads = [StridedLoader(loader, 0, count).augmenter.threads for count in (1, 2, 8)]
    assert threads == [5, 2, 1]
    assert loader.augmenter.threads == 5


class AsksForState:
    """Runs in a worker, which must refuse."""

    def __call__(self, worker_id):
        torch.utils.data.get_worker_info().dataset.state_dict()


def test_a_worker_has_no_state():
    dataset = as_iterable_dataset(make_loader())
    with pytest.raises(RuntimeError, match="A worker knows its own batches only"):
        next(iter(data_loader(dataset, 1, worker_init_fn=AsksForState())))


def test_a_file_that_cannot_be_read_is_named(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[4].write_bytes(b"")
    dataset = as_iterable_dataset(Loader(source, Augmenter(POLICY, size=8), 3, shuffle=False))
    with pytest.raises(SampleError, match=source.paths[4].name):
        list(data_loader(dataset, 2))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_an_error_and_the_next_iteration_works(victim):
    dataset = as_iterable_dataset(make_loader(epochs=1000))
    loader = data_loader(dataset, 2)
    iterator = iter(loader)
    next(iterator)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler raises anywhere later
    os.kill(iterator._workers[victim].pid, signal.SIGKILL)
    with pytest.raises((RuntimeError, OSError, EOFError)):  # of PyTorch's, by where it was caught
        list(iterator)
    dataset.set_epoch(0)
    assert contents(islice(iter(loader), NUM_BATCHES)) == plain()[0]


def test_an_iteration_that_cannot_be_told_from_the_last_is_an_error():
    """With the same seed of PyTorch's, workers would begin where the last iteration began."""
    dataset = as_iterable_dataset(make_loader())
    batches = data_loader(dataset, 2)
    torch.manual_seed(5)
    first = contents(batches)
    torch.manual_seed(5)
    with pytest.raises(RuntimeError, match="set_epoch"):
        contents(batches)
    for epoch, expected in enumerate(plain()[:2]):
        torch.manual_seed(5)
        dataset.set_epoch(epoch)
        assert contents(batches) == expected
    assert first == plain()[0]
