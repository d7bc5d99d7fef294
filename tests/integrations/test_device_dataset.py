"""Batches on a device as TensorFlow's tensors: in Numba's simulator, whose memory is the host's."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("numba_cuda")

from fusewarp.engine import ArraySource, Augmenter, Loader, Policy
from fusewarp.tensorflow import as_dataset, from_dataset

SIMULATED = """
import numpy as np
import fusewarp.kernels.cuda as cuda
cuda.BLOCK_COLS, cuda.BLOCK_ROWS = 2, 3
import tensorflow as tf
from fusewarp.engine import ArraySource, Augmenter, Loader, Policy
from fusewarp.engine.dlpack import read_dlpack
from fusewarp.tensorflow import as_dataset, from_dataset

images = np.random.default_rng(0).integers(0, 256, (5, 9, 8, 3), np.uint8)
policy = Policy(rotation_range=30, horizontal_flip=True)

def loader(device, **options):
    return Loader(
        ArraySource(images, np.arange(5)), Augmenter(policy, seed=4, device=device), 2, **options
    )

data = as_dataset(loader("cuda", epochs=2), device="CPU:0", sample_ids=True)
assert len(data) == 6
there = list(data)
here = list(as_dataset(loader("cpu", epochs=2), sample_ids=True))
assert len(there) == len(here) == 6
for ours, plain in zip(there, here):
    assert isinstance(ours[0], tf.Tensor) and ours[0].shape == plain[0].shape
    np.testing.assert_allclose(ours[0].numpy(), plain[0].numpy(), atol=0.01)
    for mine, other in zip(ours[1:], plain[1:]):
        np.testing.assert_array_equal(np.asarray(mine), other.numpy())

batch = next(iter(loader("cuda")))
tensor = tf.experimental.dlpack.from_dlpack(batch.images.__dlpack__())
address = read_dlpack(tf.experimental.dlpack.to_dlpack(tensor)).address
assert address == cuda.address_of(batch.images.rows(slice(None))), "copied"

def message(call):
    try:
        call()
    except (ValueError, TypeError) as error:
        return str(error)
    raise AssertionError("not refused")

print(message(lambda: as_dataset(loader("cuda"))))
print(message(lambda: as_dataset(loader("cuda"), device="GPU:7")))
print(message(lambda: len(as_dataset(loader("cuda", epochs=None), device="CPU:0"))))
plain = tf.data.Dataset.from_tensor_slices(images).batch(2)
print(message(lambda: from_dataset(plain, Augmenter(policy, device="cuda"))))
"""


@pytest.mark.slow
def test_device_batches_become_tensors_without_a_copy():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    no_device, unknown, endless, tf_data = done.stdout.strip().splitlines()
    assert 'Give `device="GPU:0"`' in no_device
    assert "got 'GPU:7'" in unknown
    assert "endless" in endless
    assert "must work on the CPU" in tf_data


def test_a_loader_of_the_cpu_copies_ahead_to_a_device():
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
    loader = Loader(ArraySource(images, np.arange(4)), Augmenter(Policy()), 2, shuffle=False)
    batches = list(as_dataset(loader, device="CPU:0"))
    assert all("CPU:0" in pictures.device for pictures, _ in batches)
    np.testing.assert_array_equal(np.concatenate([p.numpy() for p, _ in batches]), images)
    assert isinstance(as_dataset(loader, device="CPU:0"), tf.data.Dataset)


def test_tf_data_does_not_take_an_augmenter_of_a_device(monkeypatch):
    import tensorflow as tf

    from fusewarp.engine import devices

    augmenter = Augmenter(Policy())
    monkeypatch.setattr(augmenter, "device", devices.Choice("cuda", 0, "a test"))
    with pytest.raises(ValueError, match="must work on the CPU"):
        from_dataset(tf.data.Dataset.from_tensors(np.zeros((1, 4, 4, 3), np.uint8)), augmenter)
