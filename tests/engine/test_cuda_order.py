"""The engine on a device that does everything as late as it may: `oracles/late_cuda.py`.

An order that the engine does not enforce shows as wrong pictures here, every time.
"""

import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy, kernels
from fusewarp.engine.cuda_memory import DeviceMemoryError
from fusewarp.engine.dlpack import read_dlpack
from fusewarp.engine.staging import Staging
from oracles.late_cuda import LateCuda

POLICY = Policy(
    rotation_range=30, zoom_range=0.2, horizontal_flip=True, brightness_range=(0.5, 1.5)
)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 14, 12, 3), np.uint8)
LARGE = np.random.default_rng(1).integers(0, 256, (12, 40, 44, 3), np.uint8)
IDS = np.arange(40)


@pytest.fixture
def late(monkeypatch):
    cuda = LateCuda()
    monkeypatch.setitem(sys.modules, "fusewarp.kernels.cuda", cuda)
    monkeypatch.setattr(kernels, "cuda", cuda, raising=False)
    yield cuda
    gc.collect()
    assert cuda.orphans == 0


def make(device="cuda", **options):
    return Augmenter(POLICY, size=8, seed=3, device=device, **options)


def expected(images, ids, epoch=0):
    return make("cpu").apply(images, ids, epoch)


def taken(batch, stream):
    """Take a batch as a consumer with a stream of its own does."""
    return read_dlpack(batch.__dlpack__(stream=batch._cuda.stream_pointer(stream)))


def memory_of(imported):
    """Look at the bytes of an imported tensor as they are now."""
    interface = {
        "shape": imported.shape, "typestr": "<f4", "data": (imported.address, False), "version": 3,
    }  # fmt: skip
    return np.asarray(type("Looked", (), {"__array_interface__": interface})())


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("group_bytes", [600, 5 * 2**20])
@pytest.mark.parametrize("images", [IMAGES, list(IMAGES), IMAGES[:, ::-1]])
def test_host_pictures(late, images, threads, group_bytes, monkeypatch):
    monkeypatch.setattr(Staging, "GROUP_BYTES", group_bytes)
    augmenter = make(threads=threads)
    for epoch in range(3):
        batch = augmenter.apply(images, IDS, epoch)
        np.testing.assert_array_equal(batch.copy_to_host(), expected(images, IDS, epoch))


def test_device_pictures(late):
    there = late.array(IMAGES)
    batches = [make().apply(there, IDS, epoch) for epoch in range(3)]
    for epoch, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.copy_to_host(), expected(IMAGES, IDS, epoch))


@pytest.mark.parametrize("images", [LARGE, list(LARGE)])
@pytest.mark.parametrize("is_there", [False, True])
def test_pictures_that_are_made_smaller_first(late, images, is_there):
    source = late.array(LARGE) if is_there else images
    augmenter = make()
    batches = [augmenter.apply(source, IDS[:12], epoch) for epoch in range(4)]
    for epoch, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.copy_to_host(), expected(LARGE, IDS[:12], epoch))


def test_the_warp_comes_after_the_upload(late):
    """However early one stream is, and late the other."""
    augmenter = make(threads=1)
    late.eager.add(augmenter._cuda.stream.queue)
    for epoch in range(3):
        batch = augmenter.apply(IMAGES, IDS, epoch)
        np.testing.assert_array_equal(batch.copy_to_host(), expected(IMAGES, IDS, epoch))


def test_an_upload_comes_after_the_warp_of_what_it_overwrites(late):
    augmenter = make(threads=1)
    late.eager.add(augmenter._cuda._uploading.queue)
    batches = [augmenter.apply(IMAGES[::-1] if e % 2 else IMAGES, IDS, e) for e in range(12)]
    for epoch, batch in enumerate(batches):
        images = IMAGES[::-1] if epoch % 2 else IMAGES
        np.testing.assert_array_equal(batch.copy_to_host(), expected(images, IDS, epoch))


def test_several_threads_use_one_augmenter(late):
    augmenter = make(threads=2)
    there = late.array(IMAGES)

    def one(epoch):
        batch = augmenter.apply(there if epoch % 2 else IMAGES, IDS, epoch)
        with late.using(0):
            return batch.copy_to_host()

    with ThreadPoolExecutor(4) as threads:
        for epoch, pixels in enumerate(threads.map(one, range(24))):
            np.testing.assert_array_equal(pixels, expected(IMAGES, IDS, epoch))


def test_a_batch_that_is_held_is_never_written_to(late):
    loader = Loader(ArraySource(IMAGES, IDS), make(threads=2), 4, epochs=3)
    batches = iter(loader)
    held = next(batches)
    before = held.images.copy_to_host()
    later = [next(batches).images.copy_to_host() for _ in range(20)]
    assert len(later) == 20
    late.run_everything()
    np.testing.assert_array_equal(held.images.copy_to_host(), before)
    np.testing.assert_array_equal(before, expected(IMAGES, IDS)[held.sample_ids])


def test_what_a_consumer_queued_before_it_let_go_reads_its_batch(late):
    """It queues a read, lets go at once, and the memory is filled again for later batches."""
    loader = Loader(ArraySource(IMAGES, IDS), make(threads=2), 4, epochs=2)
    stream, reads = late.stream(), []
    for number, batch in enumerate(loader):
        tensor = taken(batch.images, stream)
        seen = np.empty(tensor.shape, np.float32)
        look = memory_of(tensor)
        late.queue(stream, lambda seen=seen, look=look: np.copyto(seen, look))
        reads.append((number // 10, batch.sample_ids, seen))
        del batch, tensor, look
        gc.collect()
    late.run_everything()
    assert len(reads) == 20
    for epoch, ids, seen in reads:
        np.testing.assert_array_equal(seen, expected(IMAGES, IDS, epoch)[ids])
    assert late.device_waits == 0


def test_memory_of_batches_is_used_again_and_then_only(late):
    loader = Loader(ArraySource(IMAGES, IDS), make(threads=1), 4, epochs=1, prefetch=0)
    for _ in loader:
        pass
    allocated = late.allocations
    for _ in range(3):
        for batch in loader:
            batch.images.copy_to_host()
    assert late.allocations - allocated <= 1


def test_apply_uses_memory_again(late):
    """Fresh device memory for each call would be freed each time, which stops the whole device."""
    augmenter = make(threads=1)
    for epoch in range(20):
        augmenter.apply(IMAGES, IDS, epoch)
    allocated, pinned = late.allocations, late.pinned_allocations
    for epoch in range(20):
        augmenter.apply(IMAGES, IDS, epoch).copy_to_host()
    assert late.allocations == allocated
    assert late.pinned_allocations == pinned


@pytest.mark.parametrize("threads", [1, 12])
def test_memory_for_uploads_is_used_again(late, threads):
    """The more threads, the more pieces are on their way at once."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(10, 60, (96, 2))
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    augmenter = make(threads=threads)

    def run(epochs):
        for epoch in epochs:
            augmenter.apply(pictures, np.arange(96), epoch).copy_to_host()

    run(range(4))
    allocated, pinned = late.allocations, late.pinned_allocations
    run(range(4, 12))
    assert late.allocations - allocated <= threads // 4
    assert late.pinned_allocations - pinned <= threads // 4


def test_the_host_does_not_wait_for_the_kernels_of_earlier_batches(late):
    """It waits for uploads alone, whatever the device still has to compute."""
    augmenter = make(threads=1)
    batches = [augmenter.apply(IMAGES, IDS, epoch) for epoch in range(4)]
    assert not any(late.is_done(batch._done) for batch in batches)


@pytest.mark.parametrize("is_held", [True, False])
def test_a_batch_of_one_augmenter_is_read_by_another_that_is_gone_at_once(late, is_held):
    flips = Policy(horizontal_flip=True)
    first = make()
    batch = first.apply(IMAGES, IDS)
    if is_held:
        levels = Augmenter(flips, seed=1, device="cuda").apply(batch, IDS, 5)
    else:
        Augmenter(flips, seed=1, device="cuda").apply(batch, IDS, 5)
    del batch
    gc.collect()
    for epoch in range(1, 6):
        pixels = first.apply(IMAGES, IDS, epoch).copy_to_host()
        np.testing.assert_array_equal(pixels, expected(IMAGES, IDS, epoch))
    if is_held:
        twice = Augmenter(flips, seed=1).apply(expected(IMAGES, IDS), IDS, 5)
        np.testing.assert_array_equal(levels.copy_to_host(), twice)
    assert late.device_waits == 0


def test_arrays_of_others_are_held_until_they_have_been_read(late):
    """By a pipeline that is gone at once too; then their memory is filled anew."""
    batches = [make().apply(late.array(IMAGES), IDS, epoch) for epoch in range(3)]
    augmenter = make()
    batches += [augmenter.apply(late.array(IMAGES), IDS, epoch) for epoch in range(3, 6)]
    for epoch, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.copy_to_host(), expected(IMAGES, IDS, epoch))


def test_arrays_of_others_are_let_go_once_they_have_been_read(late):
    augmenter = make()
    first = late.array(IMAGES)
    owner = weakref.ref(first.owner)
    augmenter.apply(first, IDS)
    del first
    assert owner() is not None
    late.run_everything()
    augmenter.apply(late.array(IMAGES), IDS)
    assert owner() is None


def test_a_slice_that_fails_leaves_nothing_behind(late):
    augmenter = make(threads=2)
    augmenter.apply(IMAGES, IDS).copy_to_host()
    late.run_everything()
    allocated, pinned = late.allocations, late.pinned_allocations
    for epoch in range(10):
        late.fail_next = [ValueError("too far")]
        with pytest.raises(ValueError, match="too far"):
            augmenter.apply(IMAGES, IDS, epoch)
        late.fail_next = []
        gc.collect()  # the error holds the call's frames in a cycle
    batch = augmenter.apply(IMAGES, IDS)
    np.testing.assert_array_equal(batch.copy_to_host(), expected(IMAGES, IDS))
    assert late.allocations - allocated <= 2
    assert late.pinned_allocations - pinned <= 2
    del batch, augmenter
    assert late.bytes_in_use() == 0


def test_pinned_memory_of_a_failed_slice_is_not_lent_while_it_is_copied_from(late):
    augmenter = make(threads=1)
    late.fail_next = [ValueError("too far")]
    with pytest.raises(ValueError, match="too far"):
        augmenter.apply(IMAGES, IDS)
    assert not augmenter._cuda._uploading.queue.work


def test_nothing_is_left_allocated(late):
    augmenter = make(threads=2)
    batches = [augmenter.apply(IMAGES, IDS, epoch) for epoch in range(5)]
    loader = Loader(ArraySource(IMAGES, IDS), augmenter, 7)
    batches += [batch.images for batch in loader]
    assert late.bytes_in_use() > 0
    late.run_everything()
    gc.disable()  # memory of the device is too dear to wait for the collector
    try:
        del loader, augmenter, batches
        assert late.used_bytes == 0
    finally:
        gc.enable()


def test_a_batch_may_die_on_a_thread_that_never_used_the_device(late):
    augmenter = make(threads=1)
    held = [augmenter.apply(IMAGES, IDS, epoch) for epoch in range(30)]
    late.run_everything()
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert late.orphans == 0


def test_cached_pictures_show_what_they_show_on_the_cpu(late, photo_folder):
    """A JPEG of 33 rows that is kept at half scale is 16.5 rows high, in 17 rows."""
    source = FolderSource(photo_folder)

    def batches(device):
        return list(Loader(source, make(device), 4, epochs=2, cache="memory"))

    for there, here in zip(batches("cuda"), batches("cpu"), strict=True):
        np.testing.assert_array_equal(there.images.copy_to_host(), here.images)


def test_rows_that_were_skipped(late, photo_folder):
    broken = photo_folder / "cat" / "01.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    source = FolderSource(photo_folder)

    def batches(device):
        loader = Loader(source, make(device, threads=2), 4, epochs=2, on_error="skip")
        with pytest.warns(UserWarning, match="could not be read"):
            return list(loader)

    for there, here in zip(batches("cuda"), batches("cpu"), strict=True):
        np.testing.assert_array_equal(there.images.copy_to_host(), here.images)
        np.testing.assert_array_equal(there.labels, here.labels)
        np.testing.assert_array_equal(there.sample_ids, here.sample_ids)


def test_out_of_memory_lets_all_unused_memory_go_first(late):
    """Of every pool of the device: another loader's unused batches too."""
    other = make(threads=1)
    for _ in Loader(ArraySource(IMAGES, IDS), other, 40):
        pass
    augmenter = make(threads=1)
    late.run_everything()
    gc.collect()
    late.capacity = late.used_bytes + 6 * 2**20
    batch = augmenter.apply(IMAGES, IDS)
    late.capacity = late.used_bytes  # not a byte more
    batch = augmenter.apply(IMAGES[:20], IDS[:20])
    np.testing.assert_array_equal(batch.copy_to_host(), expected(IMAGES[:20], IDS[:20]))


def test_out_of_memory_says_what_would_help(late):
    late.capacity = 2**20
    with pytest.raises(
        DeviceMemoryError, match=r"153.6 MB are needed .* 1.0 MB left.*smaller batch"
    ):
        Augmenter(POLICY, size=400, device="cuda", threads=1).apply(
            np.repeat(IMAGES, 2, 0), range(80)
        )
    late.capacity = 2**40
    assert late.bytes_in_use() == 0
    batch = make().apply(IMAGES, IDS)
    np.testing.assert_array_equal(batch.copy_to_host(), expected(IMAGES, IDS))
