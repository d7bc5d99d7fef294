"""Pictures kept in memory: the same pixels, each decoded once, and nothing waits for long."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy, SampleError
from fusewarp.engine.cached import CachedSource

POLICY = Policy(rotation_range=40, zoom_range=0.1, horizontal_flip=True)
SIZE = (33, 50)


class Counting(FolderSource):
    """Counts what is read; as a subclass with a `read` of its own it is asked to read."""

    def __init__(self, folder, **options):
        super().__init__(folder, **options)
        self.reads = []

    def read(self, sample_id, min_size=(0, 0)):
        self.reads.append(sample_id)
        return super().read(sample_id, min_size)


@pytest.fixture
def photos(tmp_path):
    """12 photos about three times as large as `SIZE`, of different sizes: decoded at half scale."""
    cat = Image.fromarray(data.chelsea())
    for i in range(12):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        small = cat.resize((150 + i, 100 + 2 * i)).rotate(i)
        small.save(folder / f"{i:02d}.{'png' if i == 5 else 'jpg'}")
    return tmp_path / "photos"


def loader(source, threads=2, **options):
    augmenter = Augmenter(POLICY, size=SIZE, seed=4, threads=threads)
    return Loader(source, augmenter, batch_size=5, **options)


def some_epochs(loader, count=3):
    return [batch for _ in range(count) for batch in loader]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.sample_ids, other.sample_ids)
        np.testing.assert_array_equal(one.labels, other.labels)


def bytes_of_all(source):
    augmenter = Augmenter(POLICY, size=SIZE)
    return sum(source.read(i, augmenter.useful_size).nbytes for i in range(len(source)))


# --- in a loader


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("share", [0, 0.5, None])
@pytest.mark.parametrize("source_class", [FolderSource, Counting])
def test_pixels_are_the_same_whatever_is_cached(photos, threads, share, source_class):
    source = source_class(photos)
    plain = some_epochs(loader(source, threads))
    budget = None if share is None else int(share * bytes_of_all(source))
    cached = loader(source, threads, cache="memory", cache_bytes=budget)
    assert_same(some_epochs(cached), plain)
    info = cached.cache_info()
    if share == 0:
        assert info.num_cached == 0
    elif share == 0.5:
        assert 3 <= info.num_cached <= 6
        assert info.used_bytes <= info.budget_bytes
    else:
        assert (info.num_cached, info.num_samples) == (12, 12)


@pytest.mark.parametrize("threads", [1, 4])
def test_later_epochs_read_nothing(photos, threads):
    source = Counting(photos)
    some_epochs(loader(source, threads, cache="memory", cache_bytes=10**7), 4)
    assert sorted(source.reads) == list(range(12))


def test_what_finds_no_room_is_read_each_time(photos):
    source = Counting(photos)
    cached = loader(source, cache="memory", cache_bytes=bytes_of_all(FolderSource(photos)) // 2)
    some_epochs(cached, 3)
    num_cached = cached.cache_info().num_cached
    assert len(source.reads) == 12 + 2 * (12 - num_cached)


def test_broken_files_are_skipped_each_epoch_and_not_cached(photos):
    source = FolderSource(photos)
    source.paths[3].write_bytes(b"no picture")
    cached = loader(source, cache="memory", cache_bytes=10**7, on_error="skip")
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 sample"):
            assert sum(len(batch.sample_ids) for batch in cached) == 11
    assert cached.cache_info().num_cached == 11


def test_arrays_are_not_copied_into_the_cache():
    images = np.random.default_rng(0).integers(0, 256, (12, 40, 60, 3), np.uint8)
    cached = CachedSource(ArraySource(images), budget_bytes=10**6)
    located = cached.locate(np.array([3, 1]))
    if located is not None:  # once ArraySource has `locate`
        assert np.shares_memory(located.pixels, images)


def test_arguments():
    source = ArraySource(np.zeros((3, 4, 5, 3), np.uint8))
    augmenter = Augmenter(Policy())
    assert Loader(source, augmenter).cache_info() is None
    for options, message in [
        ({"cache": "disk"}, "`cache` must be"),
        ({"cache_bytes": 10}, "`cache_bytes` is the budget of a cache"),
        ({"cache": "memory", "cache_bytes": -1}, "`cache_bytes` must be"),
        ({"cache": "memory", "cache_bytes": 0.5}, "`cache_bytes` must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            Loader(source, augmenter, **options)


def test_the_default_budget_is_half_of_what_is_available(monkeypatch):
    source = ArraySource(np.zeros((3, 4, 5, 3), np.uint8))
    monkeypatch.setattr("fusewarp.engine.cached.available_memory", lambda: 1000)
    assert CachedSource(source).info().budget_bytes == 500
    monkeypatch.setattr("fusewarp.engine.cached.available_memory", lambda: None)
    with pytest.raises(ValueError, match="give `cache_bytes`"):
        CachedSource(source)


# --- on its own


class Slow:
    """A source whose reads can be held up."""

    labels = weights = image_size = None
    channels, dtype = 3, np.dtype(np.uint8)
    names = tuple("abcdefgh")

    def __init__(self):
        self.reads = []
        self.fails = set()
        self.may_go = threading.Event()
        self.may_go.set()
        self.began = threading.Semaphore(0)

    def __len__(self):
        return 8

    def picture(self, sample_id):
        return np.full((2 + sample_id, 3, 3), sample_id, np.uint8)

    def read(self, sample_id, min_size=(0, 0)):
        self.reads.append((sample_id, min_size))
        self.began.release()
        assert self.may_go.wait(20)
        if sample_id in self.fails:
            raise SampleError(f"{self.names[sample_id]} is broken")
        return self.picture(sample_id)


def test_read_and_locate_give_the_pictures():
    source = Slow()
    cached = CachedSource(source, (1, 2), 10**6)
    ids = np.array([6, 2])
    assert cached.locate(ids) is None
    for sample_id in (2, 6, 2):
        np.testing.assert_array_equal(cached.read(sample_id), source.picture(sample_id))
    assert source.reads == [(2, (1, 2)), (6, (1, 2))]
    located = cached.locate(ids)
    assert located.pixels.ndim == 1
    assert located.sizes.tolist() == located.extents.tolist() == [[8, 3], [4, 3]]
    for start, (height, width), i in zip(located.starts, located.sizes, ids, strict=True):
        pixels = located.pixels[start : start + height * width * 3]
        assert (pixels == i).all()
        assert (located.pixels.ctypes.data + start) % 64 == 0
    assert cached.locate(np.array([6, 2, 0])) is None


def test_what_lies_in_the_cache_cannot_be_written_to():
    cached = CachedSource(Slow(), budget_bytes=10**6)
    cached.read(1)
    with pytest.raises(ValueError, match="read-only"):
        cached.read(1)[0, 0] = 9


def test_many_threads_that_want_one_sample_read_it_once():
    source = Slow()
    source.may_go.clear()
    cached = CachedSource(source, budget_bytes=10**6)
    with ThreadPoolExecutor(8) as threads:
        wanted = [threads.submit(cached.read, 5) for _ in range(8)]
        assert source.began.acquire(timeout=20)
        source.may_go.set()
        for future in wanted:
            np.testing.assert_array_equal(future.result(20), source.picture(5))
    assert len(source.reads) == 1


def test_others_are_read_while_one_is_slow():
    source = Slow()
    source.may_go.clear()
    cached = CachedSource(source, budget_bytes=10**6)
    with ThreadPoolExecutor(4) as threads:
        wanted = [threads.submit(cached.read, i) for i in range(4)]
        began = [source.began.acquire(timeout=20) for _ in range(4)]
        source.may_go.set()
        assert all(began)
        assert [future.result(20).max() for future in wanted] == [0, 1, 2, 3]


def test_a_failure_is_raised_for_each_who_asks_and_not_kept():
    source = Slow()
    source.fails.add(4)
    cached = CachedSource(source, budget_bytes=10**6)
    with ThreadPoolExecutor(4) as threads:
        wanted = [threads.submit(cached.read, 4) for _ in range(4)]
        for future in wanted:
            with pytest.raises(SampleError, match="e is broken"):
                future.result(20)
    source.fails.clear()
    np.testing.assert_array_equal(cached.read(4), source.picture(4))
    assert cached.info().num_cached == 1


def test_a_picture_that_breaks_the_promise_is_not_kept():
    source = Slow()
    source.picture = lambda sample_id: np.zeros((2, 2, 1), np.uint8)
    cached = CachedSource(source, budget_bytes=10**6)
    assert cached.read(1).shape == (2, 2, 1)
    assert cached.read_into(1, (0, 0), np.empty) is None
    assert cached.info().num_cached == 0


def test_smaller_pictures_still_find_room():
    cached = CachedSource(Slow(), budget_bytes=64 + 18)
    for sample_id in (1, 7, 0, 2):  # 27, 81, 18 and 36 bytes
        cached.read(sample_id)
    assert cached.info() == (2, 8, 64 + 18, 64 + 18)


@pytest.mark.parametrize("cached_before", [True, False])
def test_read_into_writes_where_the_caller_says(cached_before):
    source = Slow()
    cached = CachedSource(source, budget_bytes=10**6)
    if cached_before:
        cached.read(3)
    memory = np.empty(100, np.uint8)
    image, extent = cached.read_into(3, (0, 0), lambda count: memory[:count])
    assert np.shares_memory(image, memory)
    np.testing.assert_array_equal(image, source.picture(3))
    assert extent == (5, 3)
    memory[:] = 99  # the caller's; the cache has its own
    np.testing.assert_array_equal(cached.read(3), source.picture(3))


class ReadsInto(Slow):
    """Shows half a row less than it has, as a JPEG that was decoded at half scale."""

    def read_into(self, sample_id, min_size, room):
        self.reads.append((sample_id, min_size))
        picture = self.picture(sample_id)
        image = room(picture.size).reshape(picture.shape)
        image[...] = picture
        return image, (picture.shape[0] - 0.5, 3.0)


def test_a_source_that_reads_into_memory_keeps_what_its_pictures_show():
    source = ReadsInto()
    cached = CachedSource(source, (1, 2), 10**6)
    memory = np.empty(100, np.uint8)
    for _ in range(2):
        image, extent = cached.read_into(3, (9, 9), lambda count: memory[:count])
        assert np.shares_memory(image, memory)
        assert (extent, image.shape) == ((4.5, 3.0), (5, 3, 3))
    np.testing.assert_array_equal(cached.read(2), source.picture(2))
    assert source.reads == [(3, (1, 2)), (2, (1, 2))]
    assert cached.locate(np.array([2, 3])).extents.tolist() == [[3.5, 3], [4.5, 3]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_other_types_of_pixels(dtype):
    images = np.random.default_rng(0).integers(0, 200, (9, 5, 7, 3)).astype(dtype)
    source = ArraySource(images[:, ::-1])  # not contiguous: it cannot say where they lie
    cached = CachedSource(source, budget_bytes=10**6)
    for i in range(9):
        np.testing.assert_array_equal(cached.read(i), images[i, ::-1])
        np.testing.assert_array_equal(cached.read(i), images[i, ::-1])
    assert cached.info().num_cached == 9
    located = cached.locate(np.arange(9))
    assert located.pixels.dtype == dtype
    first = located.pixels[located.starts[8] :][: images[8].size]
    np.testing.assert_array_equal(first, images[8, ::-1].reshape(-1))


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_a_large_budget_takes_no_memory_before_it_is_used():
    source = Slow()
    cached = CachedSource(source, budget_bytes=2**33)
    cached.read(0)
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 2**32


def test_a_pickled_copy_starts_empty():
    source = ArraySource(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)[:, ::-1])
    cached = CachedSource(source, (3, 4), 1000)
    cached.read(0)
    again = pickle.loads(pickle.dumps(cached))
    assert again.info() == (0, 2, 0, 1000)
    np.testing.assert_array_equal(again.read(0), source.read(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_neither_waits_for_the_parent_nor_writes_into_its_memory():
    source = Slow()
    cached = CachedSource(source, budget_bytes=10**6)
    cached.read(1)
    source.may_go.clear()
    reader = threading.Thread(target=cached.read, args=(2,))
    reader.start()  # is reading 2 while the child is made
    assert source.began.acquire(timeout=20)
    child = os.fork()
    if child == 0:
        source.may_go.set()
        good = all((cached.read(i) == i).all() for i in (1, 2, 3, 4))
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    source.may_go.set()
    reader.join()
    assert os.waitstatus_to_exitcode(status) == 0
    for i in (1, 2, 5, 6):
        assert (cached.read(i) == i).all()
    assert cached.info().num_cached == 4
