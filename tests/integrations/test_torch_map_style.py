"""The map-style dataset: samples on demand, by PyTorch's samplers and workers."""

import os
import signal

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy
from fusewarp.torch import as_map_dataset

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
POLICY = Policy(rotation_range=40, horizontal_flip=True, zoom_range=0.3)
SOURCE = ArraySource(IMAGES, np.arange(23))
pytestmark = pytest.mark.filterwarnings(
    r"ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


def make_augmenter(threads=2, **options) -> Augmenter:
    return Augmenter(POLICY, seed=3, layout="CHW", threads=threads, **options)


def samples_of(batches) -> list[tuple[int, bytes]]:
    """Return (id, pixels) of each sample, sorted."""
    return sorted(
        (int(sample_id), np.asarray(image).tobytes())
        for images, ids in batches
        for image, sample_id in zip(images, ids, strict=True)
    )


def plain(epoch, source=SOURCE, augmenter=None) -> list[tuple[int, bytes]]:
    loader = Loader(source, augmenter or make_augmenter(), 4)
    loader.load_state_dict({"seed": 3, "epoch": epoch, "step": 0})
    return samples_of((batch.images, batch.sample_ids) for batch in loader)


@pytest.mark.parametrize(
    ("num_workers", "context", "persistent"),
    [
        (0, None, False),
        (2, "fork", False),
        (2, "fork", True),
        pytest.param(2, "spawn", True, marks=pytest.mark.slow),
    ],
)
def test_samples_are_the_loaders_in_every_epoch(
    num_workers, context, persistent, monkeypatch, tmp_path
):
    monkeypatch.setenv("FUSEWARP_CACHE", "1")  # so that not every worker compiles
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path))
    dataset = as_map_dataset(SOURCE, make_augmenter())
    loader = DataLoader(
        dataset,
        batch_size=4,
        shuffle=True,
        num_workers=num_workers,
        multiprocessing_context=context,
        persistent_workers=persistent,
        timeout=120 if num_workers else 0,
    )
    for epoch in (0, 2, 1):
        dataset.set_epoch(epoch)
        assert samples_of(loader) == plain(epoch)


def test_files_are_decoded_as_the_loader_does(photo_folder):
    """A JPEG is reduced by what its own map needs, whichever way it is asked for."""
    source, augmenter = FolderSource(photo_folder), make_augmenter(size=(9, 7))
    dataset = as_map_dataset(source, augmenter, epoch=1, sample_ids=True)
    got = sorted(
        (int(i), image.numpy().tobytes()) for image, _, i in map(dataset.__getitem__, range(11))
    )
    assert got == plain(1, source, augmenter)


def test_one_sample_is_its_row_of_a_batch():
    dataset = as_map_dataset(SOURCE, make_augmenter(), epoch=5)
    images, labels = dataset[[7, 3, 7]]
    image, label = dataset[3]
    assert torch.equal(image, images[1])
    assert torch.equal(images[0], images[2])
    assert (labels.tolist(), label.item()) == ([7, 3, 7], 3)
    assert not torch.equal(as_map_dataset(SOURCE, make_augmenter(), epoch=6)[3][0], image)


def test_a_batch_is_one_call(monkeypatch):
    counts, original = [], Augmenter.warp_located

    def note(self, located, *args, **options):
        counts.append(len(located.starts))
        return original(self, located, *args, **options)

    monkeypatch.setattr(Augmenter, "warp_located", note)
    dataset = as_map_dataset(SOURCE, make_augmenter(threads=1))
    sampler = BatchSampler(RandomSampler(dataset), 10, drop_last=False)
    list(DataLoader(dataset, batch_sampler=sampler))
    list(DataLoader(dataset, batch_size=None, sampler=sampler))
    assert counts == [10, 10, 3] * 2


def test_a_list_of_a_sampler_gives_the_kernels_own_memory(monkeypatch):
    ours, original = [], Loader.make

    def note(self, sample_ids, epoch):
        batch = original(self, sample_ids, epoch)
        ours.append(batch.images.ctypes.data)
        return batch

    monkeypatch.setattr(Loader, "make", note)
    dataset = as_map_dataset(SOURCE, make_augmenter())
    sampler = BatchSampler(RandomSampler(dataset), 10, drop_last=False)
    held = list(DataLoader(dataset, batch_size=None, sampler=sampler))
    assert [images.data_ptr() for images, _ in held] == ours


def test_distributed_samplers_share_an_epoch():
    dataset = as_map_dataset(SOURCE, make_augmenter(), epoch=1)
    batches = []
    for rank in range(2):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, drop_last=True)
        sampler.set_epoch(1)
        loader = DataLoader(dataset, batch_size=4, sampler=sampler)
        assert len(loader) == 3
        batches += list(loader)
    samples = samples_of(batches)
    assert len(samples) == len(set(samples)) == 22
    assert set(samples) < set(plain(1))


def test_dictionaries_and_text():
    names = np.array(["cat", "dog"])[np.arange(23) % 2]
    dataset = as_map_dataset(ArraySource(IMAGES, names), make_augmenter(), as_dict=True)
    assert dataset[3]["labels"] == "dog"
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch["labels"] == ["cat", "dog", "cat"]
    assert torch.equal(batch["images"][2], dataset[2]["images"])


def test_images_alone():
    dataset = as_map_dataset(ArraySource(IMAGES), make_augmenter())
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert torch.equal(batch[2], dataset[2])


@pytest.mark.parametrize("index", [23, -1, [0, 23], [], 1.5, "3", True, [[1]]])
def test_an_index_that_is_none_is_refused(index):
    with pytest.raises(IndexError, match="An index must be"):
        as_map_dataset(SOURCE, make_augmenter())[index]


def test_a_for_loop_ends():
    assert len(list(as_map_dataset(SOURCE, make_augmenter()))) == 23


@pytest.mark.parametrize(
    ("epoch", "error"), [(-1, ValueError), (2**32, ValueError), (1.0, TypeError)]
)
def test_an_epoch_that_is_none_is_refused(epoch, error):
    dataset = as_map_dataset(SOURCE, make_augmenter(), epoch=4)
    with pytest.raises(error, match="`epoch` must be"):
        dataset.set_epoch(epoch)
    assert dataset.epoch == 4


def test_a_killed_worker_is_an_error_and_the_next_iteration_works():
    dataset = as_map_dataset(SOURCE, make_augmenter())
    loader = DataLoader(
        dataset, batch_size=1, num_workers=2, multiprocessing_context="fork", timeout=30
    )
    iterator = iter(loader)
    next(iterator)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler raises anywhere later
    os.kill(iterator._workers[1].pid, signal.SIGKILL)
    with pytest.raises((RuntimeError, OSError, EOFError)):  # of PyTorch's, by where it was caught
        list(iterator)
    assert samples_of(loader) == plain(0)
