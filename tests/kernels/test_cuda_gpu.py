"""What only a card shows: streams, threads, memory. The rest of the suite runs there by --gpu."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from oracles import warp_reference as reference

pytestmark = pytest.mark.gpu

SHAPE, OUT_SHAPE, CHANNELS = (37, 53), (64, 96), 3
LAUNCHES = 10_000
FLAT = 32 * 2**20  # bytes: a card gives memory away in blocks of 2 MiB, and others may use it too


@pytest.fixture(scope="module")
def cuda():
    """The kernels; imported where there is a device only."""
    from fusewarp.kernels import cuda

    return cuda


@pytest.fixture(scope="module")
def driver():
    from numba import cuda

    return cuda


class Plan:
    """A batch on the device, and room for what it becomes."""

    def __init__(self, cuda, driver, seed, count=16, out_shape=OUT_SHAPE):
        rng = np.random.default_rng(seed)
        images = reference.random_images(rng, (count, *SHAPE, CHANNELS), "uint8")
        self.maps = reference.random_inverse_maps(rng, count, SHAPE, out_shape)
        self.colour = rng.uniform(-1, 1, (count, CHANNELS, CHANNELS + 1)).astype(np.float32)
        self.places = np.arange(count) * images[0].size, np.tile(SHAPE, (count, 1))
        self.shape = (count, *out_shape, CHANNELS)
        self.pixels = driver.to_device(images.reshape(-1))
        self.cuda, self.driver = cuda, driver

    def new_target(self):
        """Return a target that shows what nobody wrote."""
        return self.driver.to_device(np.full(self.shape, np.nan, np.float32))

    def warp(self, out, stream=0):
        self.cuda.warp_ragged(
            self.pixels, *self.places, self.maps, out, colour=self.colour, fill_mode="reflect",
            stream=stream,
        )  # fmt: skip


def test_two_streams_give_the_same_as_one(cuda, driver):
    plans = [Plan(cuda, driver, seed) for seed in range(20)]
    alone, together = ([plan.new_target() for plan in plans] for _ in range(2))
    for plan, out in zip(plans, alone, strict=True):
        plan.warp(out)
    driver.synchronize()
    streams = [driver.stream(), driver.stream()]
    for number, (plan, out) in enumerate(zip(plans, together, strict=True)):
        plan.warp(out, streams[number % 2])
    for stream in streams:
        stream.synchronize()
    for expected, actual in zip(alone, together, strict=True):
        assert np.isfinite(expected.copy_to_host()).all()
        np.testing.assert_array_equal(actual.copy_to_host(), expected.copy_to_host())


def test_two_threads_at_once_give_the_same_as_one(cuda, driver):
    plans = [Plan(cuda, driver, seed) for seed in range(2)]
    expected = []
    for plan in plans:
        out = plan.new_target()
        plan.warp(out)
        expected.append(out.copy_to_host())

    def work(plan):
        stream, found = driver.stream(), []
        for _ in range(100):
            out = plan.new_target()
            plan.warp(out, stream)
            found.append(out.copy_to_host(stream=stream))
        stream.synchronize()
        return found

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(work, plans))
    for found, alone in zip(results, expected, strict=True):
        for actual in found:
            np.testing.assert_array_equal(actual, alone)


def test_two_threads_may_be_the_first_to_compile(cuda, driver):
    cuda.make_warp_kernel.cache_clear()
    plans = [Plan(cuda, driver, seed) for seed in range(2)]
    outs = [plan.new_target() for plan in plans]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda plan, out: plan.warp(out), plans, outs))
    driver.synchronize()
    for out in outs:
        assert np.isfinite(out.copy_to_host()).all()


def test_memory_is_flat_over_many_launches(cuda, driver):
    """A table of 256 images has 34 kB: all of them kept would be 340 MB."""
    plan = Plan(cuda, driver, 0, count=256, out_shape=(4, 8))
    out = plan.new_target()

    def free_bytes(launches):
        for _ in range(launches):
            plan.warp(out)
        driver.synchronize()
        context = driver.current_context()
        context.memory_manager.deallocations.clear()  # Numba frees in batches
        return context.get_memory_info().free

    before = free_bytes(100)
    after = free_bytes(LAUNCHES)
    assert before - after < FLAT
