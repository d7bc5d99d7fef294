"""Grain's dataset of a loader's batches in two worker processes, which it spawns."""

import json
import multiprocessing
import os
import signal
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("grain")

import grain

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy, SampleError
from fusewarp.grain import as_map_dataset, share_threads
from oracles.grain_workers import AddWorker

pytestmark = pytest.mark.slow
IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
NUM_BATCHES = 8  # of 3 pictures: the last has 2
POLICY = Policy(rotation_range=40, horizontal_flip=True)


@pytest.fixture(scope="module", autouse=True)
def kernels_on_disk(tmp_path_factory):
    """Let workers load what the first one compiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSEWARP_CACHE", "1")
        patch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield


def make_loader(**options) -> Loader:
    augmenter = Augmenter(POLICY, seed=3, threads=2)
    return Loader(ArraySource(IMAGES, np.arange(23)), augmenter, 3, **options)


def in_workers(dataset):
    options = grain.MultiprocessingOptions(num_workers=2)
    return iter(dataset.to_iter_dataset().mp_prefetch(options, share_threads))


def content(element) -> tuple[list[int], bytes]:
    images, labels = element
    return labels.tolist(), images.tobytes()


def plain(**options) -> list[tuple[list[int], bytes]]:
    loader = make_loader(**options)
    return [content((b.images, b.labels)) for _ in range(3) for b in loader]


def test_batches_and_order_are_the_loaders_and_states_go_on():
    """Shard 0 of 2: seven batches more than its workers divide evenly."""
    options = {"shard": (0, 2)}
    expected = plain(**options)
    loader = make_loader(epochs=3, **options)
    first, told = in_workers(as_map_dataset(loader).map(AddWorker(loader))), []
    for element, threads, pid in islice(first, 5):
        told.append((content(element), threads, pid))
        del element  # its shared memory is let go before Grain's module is
    state = json.loads(json.dumps(first.get_state()))
    first.close()
    assert [got for got, *_ in told] == expected[:5]
    assert {threads for _, threads, _ in told} == {1}
    assert len({pid for *_, pid in told} | {os.getpid()}) == 3
    assert not multiprocessing.active_children()

    resumed = in_workers(as_map_dataset(make_loader(epochs=3, **options)))
    resumed.set_state(state)
    assert [*map(content, resumed)] == expected[5:]
    resumed.close()


def test_a_file_that_cannot_be_read_is_named(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[4].write_bytes(b"")
    loader = Loader(source, Augmenter(POLICY, size=8), 3, shuffle=False)
    iterator = in_workers(as_map_dataset(loader))
    with pytest.raises(SampleError, match=source.paths[4].name):
        list(iterator)
    iterator.close()


def test_what_is_skipped_is_left_out(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[4].write_bytes(b"")

    def make():
        return Loader(source, Augmenter(POLICY, size=8), 3, shuffle=False, on_error="skip")

    with pytest.warns(UserWarning, match="left out"):
        expected = [content((b.images, b.labels)) for b in make()]
    iterator = in_workers(as_map_dataset(make()))
    assert [*map(content, iterator)] == expected
    iterator.close()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_an_error_and_its_state_goes_on(victim):
    iterator = in_workers(as_map_dataset(make_loader(epochs=1000)))
    before = [*map(content, islice(iterator, 3))]
    kill(victim)
    with pytest.raises(RuntimeError, match="terminated unexpectedly with exit code -9"):
        before.extend(map(content, iterator))  # what was made before
    state = iterator.get_state()
    iterator.close()
    assert before == plain()[: len(before)]

    resumed = in_workers(as_map_dataset(make_loader(epochs=1000)))
    resumed.set_state(state)
    rest = [*map(content, islice(resumed, 6))]
    resumed.close()
    assert before + rest == plain()[: len(before) + 6]


def kill(victim: int) -> None:
    workers = sorted(process.pid for process in multiprocessing.active_children())
    assert len(workers) == 2
    os.kill(workers[victim], signal.SIGKILL)
