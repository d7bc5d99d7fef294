"""What a batch looks like as tensors, and whose memory that is."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader

from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.torch import as_iterable_dataset, as_map_dataset

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
LABELS = np.arange(23) % 3
POLICY = Policy(rotation_range=40, horizontal_flip=True)


def make_loader(labels=LABELS, weights=None, dtype="float32", **options) -> Loader:
    augmenter = Augmenter(POLICY, size=(9, 8), dtype=dtype, layout="CHW", threads=2)
    return Loader(ArraySource(IMAGES, labels, weights), augmenter, 5, **options)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_tensors_are_the_memory_of_the_batch(dtype, monkeypatch):
    ours, original = [], Loader._wait_for

    def note(self, work, iteration):
        batch = original(self, work, iteration)
        ours.append((batch.images.ctypes.data, batch.labels.ctypes.data))
        return batch

    monkeypatch.setattr(Loader, "_wait_for", note)
    dataset = as_iterable_dataset(make_loader(dtype=dtype))
    held = list(DataLoader(dataset, batch_size=None))
    assert [(images.data_ptr(), labels.data_ptr()) for images, labels in held] == ours
    assert all(address % 64 == 0 for address, _ in ours)
    assert held[0][0].dtype == getattr(torch, dtype)


def test_a_tensor_keeps_its_memory_while_others_come():
    dataset = as_iterable_dataset(make_loader(epochs=4))
    held = [images[1:] for images, _ in dataset]  # a view is enough
    gc.collect()
    for view, batch in zip(held, make_loader(epochs=4), strict=True):
        np.testing.assert_array_equal(view.numpy(), batch.images[1:])


def test_elements_follow_the_sources_fields():
    [images] = {type(element) for element in as_iterable_dataset(make_loader(labels=None))}
    assert images is torch.Tensor
    weights = np.linspace(0, 1, 23, dtype=np.float32)
    _, labels, weighted, ids = next(
        iter(as_iterable_dataset(make_loader(weights=weights), sample_ids=True))
    )
    np.testing.assert_array_equal(labels, LABELS[ids])
    np.testing.assert_array_equal(weighted, weights[ids])


def test_dictionaries_have_what_the_source_has():
    loader = make_loader(labels=None, weights=np.ones(23, np.float32))
    element = next(iter(as_iterable_dataset(loader, sample_ids=True, as_dict=True)))
    assert {name: tuple(tensor.shape) for name, tensor in element.items()} == {
        "images": (5, 3, 9, 8),
        "weights": (5,),
        "sample_ids": (5,),
    }


def test_text_labels_are_lists_of_strings():
    names = np.array(["cat", "dog", "fox"])
    dataset = as_iterable_dataset(make_loader(labels=names[LABELS]), sample_ids=True)
    for _, labels, ids in DataLoader(dataset, batch_size=None):
        assert labels == names[LABELS[ids]].tolist()


def test_weights_without_labels_are_refused():
    with pytest.raises(ValueError, match="weights but no labels"):
        as_iterable_dataset(make_loader(labels=None, weights=np.ones(23)))


def test_labels_that_are_no_tensors_are_refused():
    dates = np.full(23, "2026-01-01", "datetime64[D]")
    with pytest.raises(TypeError, match=r"labels are datetime64\[D\]"):
        as_map_dataset(ArraySource(IMAGES, dates), Augmenter(POLICY))


SIMULATED = """
import numpy as np, torch
import fusewarp.kernels.cuda as cuda
cuda.BLOCK_COLS, cuda.BLOCK_ROWS = 2, 3
from torch.utils.data import DataLoader
from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.torch import as_iterable_dataset, as_map_dataset

def main():
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 8, 3), np.uint8)
    source = ArraySource(images, np.arange(5))

    def augmenter(device):
        return Augmenter(Policy(rotation_range=30), seed=4, layout="CHW", device=device)

    def loader(device):
        return Loader(source, augmenter(device), 2)

    there = list(as_iterable_dataset(loader("cuda")))
    here = list(as_iterable_dataset(loader("cpu")))
    for (ours, labels), (plain, other) in zip(there, here, strict=True):
        np.testing.assert_allclose(ours.numpy(), plain.numpy(), atol=0.01)
        np.testing.assert_array_equal(labels, other)

    batch = list(loader("cuda"))[0]  # all: the simulator takes one launch at a time
    address = cuda.address_of(batch.images.rows(slice(None)))
    assert torch.from_dlpack(batch.images).data_ptr() == address

    one, label = as_map_dataset(source, augmenter("cuda"))[3]
    plain, _ = as_map_dataset(source, augmenter("cpu"))[3]
    np.testing.assert_allclose(one.numpy(), plain.numpy(), atol=0.01)

    mapped = as_map_dataset(source, augmenter("cuda"))
    for dataset in (as_iterable_dataset(loader("cuda")), mapped):
        for context in ("fork", "spawn"):
            workers = DataLoader(
                dataset, batch_size=None, num_workers=1, multiprocessing_context=context
            )
            try:
                next(iter(workers))
            except RuntimeError as error:
                assert "num_workers=0" in str(error), error
            else:
                raise AssertionError("not refused")

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_device_batches_become_tensors_and_workers_are_refused(tmp_path):
    pytest.importorskip("numba_cuda")
    script = tmp_path / "simulated.py"
    script.write_text(SIMULATED)
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
