"""Global arrays on two devices that XLA makes of one CPU, in a process of their own."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("jax")

from fusewarp import ArraySource, Augmenter, Loader, Policy, WeightedShuffle
from fusewarp.jax import as_global_arrays

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)


def make_loader(labels=None, **options) -> Loader:
    return Loader(ArraySource(IMAGES, labels), Augmenter(Policy()), 4, **options)


TWO_DEVICES = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.jax import as_global_arrays

images = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
source = ArraySource(images, np.arange(23), np.linspace(0, 1, 23, dtype=np.float32))

def loader(shard=(0, 1)):
    augmenter = Augmenter(Policy(rotation_range=40), seed=5)
    return Loader(source, augmenter, 4, drop_remainder=True, epochs=2, shard=shard)

assert jax.device_count() == 2
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
arrays = as_global_arrays(loader(), sharding, sample_ids=True)
kept = list(arrays)  # all at once: no memory may be used a second time
assert len(arrays) == len(kept) == 10
for ours, plain in zip(kept, loader(), strict=True):
    assert ours["images"].sharding == sharding
    halves = [shard.data.shape[0] for shard in ours["images"].addressable_shards]
    assert halves == [2, 2], halves
    for name, values in plain._asdict().items():
        np.testing.assert_array_equal(np.asarray(ours[name]), values)

mean = jax.jit(lambda images: images.mean())(kept[0]["images"])
np.testing.assert_allclose(mean, np.asarray(kept[0]["images"]).mean(), rtol=1e-5)

half = loader()
position = iter(as_global_arrays(half, sharding))
next(position), next(position)
state = half.state_dict()
resumed = loader()
resumed.load_state_dict(state)
rest = next(iter(as_global_arrays(resumed, sharding)))
np.testing.assert_array_equal(np.asarray(rest["images"]), np.asarray(kept[2]["images"]))
"""


@pytest.mark.slow
def test_batches_are_laid_over_two_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("options", [{}, {"drop_remainder": True, "on_error": "skip"}])
def test_short_batches_are_refused(options):
    with pytest.raises(ValueError, match="drop_remainder=True"):
        as_global_arrays(make_loader(**options), None)


def test_a_size_that_divides_needs_no_drop_remainder():
    loader = Loader(ArraySource(IMAGES[:16]), Augmenter(Policy()), 4, shard=(1, 2))
    assert len(as_global_arrays(loader, None)) == 2


def test_the_length_is_that_of_the_shuffle():
    source = ArraySource(IMAGES[:16])
    shuffles = {n: WeightedShuffle([range(16)], [1], num_samples=n) for n in (8, 15)}
    loaders = {n: Loader(source, Augmenter(Policy()), 4, shuffle=s) for n, s in shuffles.items()}
    assert len(as_global_arrays(loaders[8], None)) == 2
    with pytest.raises(ValueError, match="drop_remainder=True"):
        as_global_arrays(loaders[15], None)


def test_text_labels_are_refused():
    with pytest.raises(TypeError, match="labels are <U2"):
        as_global_arrays(make_loader(np.arange(23).astype("U2"), drop_remainder=True), None)


def test_an_endless_loader_has_no_length():
    endless = make_loader(drop_remainder=True, epochs=None)
    with pytest.raises(TypeError, match="endless"):
        len(as_global_arrays(endless, None))
