"""Ranges of files: local descriptors, and stores that fail."""

import gc
import os
import pickle
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusewarp.engine.retry import GaveUpError, Retry
from fusewarp.engine.shard_store import (
    ChangedError,
    OpenFiles,
    ShardStore,
    ShortReadError,
    Stamp,
)

QUICK = Retry(attempts=4, first_delay=0.001, longest_delay=0.002, longest_total=5)
CONTENT = bytes(range(256)) * 8


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.mark.parametrize("has_pread", [True, False])
def test_local_ranges(file, monkeypatch, has_pread):
    if not has_pread:
        monkeypatch.delattr(os, "pread")
    store = ShardStore()
    stamp = store.stamp(file)
    assert store.read(file, 3, 500, stamp) == CONTENT[3:503]
    assert store.read(file, 0, 0, stamp) == b""
    with pytest.raises(ShortReadError, match="48 of 49 bytes came: the file was cut off"):
        store.read(file, 2000, 49, stamp)


def test_reads_that_return_less_go_on(file, monkeypatch):
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, 100), at))
    store = ShardStore()
    assert store.read(file, 5, 1000, store.stamp(file)) == CONTENT[5:1005]


def test_another_file_is_refused(file):
    store = ShardStore()
    stamp = store.stamp(file)
    os.utime(file, ns=(0, 1))
    with pytest.raises(ChangedError, match="2048 bytes, modified at 1 ns, then 2048 bytes"):
        store.read(file, 0, 1, stamp)


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists descriptors")
def test_few_files_stay_open_and_none_in_the_end(tmp_path):
    before = count_descriptors()
    files = OpenFiles(most=3)
    for number in range(20):
        path = tmp_path / str(number % 10)
        path.write_bytes(bytes([number]))
        stat = path.stat()
        stamp = Stamp(stat.st_size, str(stat.st_mtime_ns))
        files._open.pop(str(path), _Nothing).close()  # it was written anew
        assert files.read(str(path), 0, 1, stamp) == bytes([number])
        assert len(files) <= 3
    assert count_descriptors() - before <= 3
    del files
    assert count_descriptors() == before


class _Nothing:
    @staticmethod
    def close():
        pass


def test_threads_never_read_from_a_file_that_was_closed_for_another(tmp_path, monkeypatch):
    paths = [str(tmp_path / str(number)) for number in range(12)]
    for number, path in enumerate(paths):
        Path(path).write_bytes(bytes([number]) * 100)
    store = ShardStore()
    stamps = [store.stamp(path) for path in paths]
    store._files = OpenFiles(most=2)
    pread = os.pread

    def slow_pread(*args):
        time.sleep(0.001)  # the others go on, and close what they may
        return pread(*args)

    monkeypatch.setattr(os, "pread", slow_pread)

    def read(step):
        number = step * 5 % len(paths)
        return store.read(paths[number], 10, 50, stamps[number]) == bytes([number]) * 50

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read, range(300))) == [True] * 300
    assert len(store._files) <= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_reads_though_the_lock_was_held(file):
    store = ShardStore()
    stamp = store.stamp(file)
    store.read(file, 0, 1, stamp)
    with store._files._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if store.read(file, 7, 3, stamp) == CONTENT[7:10] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read(file, 7, 3, stamp) == CONTENT[7:10]


def test_a_store_without_fsspec_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fusewarp\[store\]'"):
        ShardStore().stamp("s3://bucket/data.tar")


@pytest.fixture
def flaky():
    pytest.importorskip("fsspec")
    from oracles.flaky_store import FlakyStore

    server = FlakyStore()
    server.files["/b/file"] = CONTENT
    yield server
    server.close()


def read_remote(flaky, start=3, length=500):
    store = ShardStore(flaky.options, QUICK)
    stamp = store.stamp("flaky://b/file")
    assert stamp == (2048, "first")
    return store.read("flaky://b/file", start, length, stamp)


@pytest.mark.parametrize(
    "faults",
    [["ok"], [503, 503, "ok"], ["half", "ok"], ["short", "ok"], [500, "half", "short", "ok"]],
)
def test_failures_that_pass(flaky, faults):
    flaky.faults = list(faults)
    assert read_remote(flaky) == CONTENT[3:503]
    assert flaky.ranges == [(3, 503)] * len(faults)


@pytest.mark.parametrize(
    ("fault", "requests", "message"),
    [
        (503, 4, r"asked 4 times in 0\.\d s, at last RuntimeError: 503"),
        ("half", 4, "asked 4 times.*IncompleteRead"),
        ("short", 4, "asked 4 times.*250 of 500 bytes came"),
        (403, 1, "RuntimeError: 403"),
        ("whole", 1, "2048 bytes came instead of 500: the store sends whole files"),
    ],
)
def test_failures_that_last(flaky, fault, requests, message):
    flaky.faults = [fault]
    with pytest.raises(OSError, match=message):
        read_remote(flaky)
    assert len(flaky.ranges) == requests


def test_what_is_not_there_is_not_asked_for_again(flaky):
    with pytest.raises(FileNotFoundError):
        ShardStore(flaky.options, QUICK).stamp("flaky://b/no-file")


def test_a_closed_store_is_given_up(flaky):
    store = ShardStore(flaky.options, QUICK)
    stamp = store.stamp("flaky://b/file")
    flaky.close()
    with pytest.raises(GaveUpError, match=r"asked 4 times.*refused"):
        store.read("flaky://b/file", 0, 1, stamp)


def test_a_pickled_store_reads(flaky, file):
    store = pickle.loads(pickle.dumps(ShardStore(flaky.options, QUICK)))
    assert store.read("flaky://b/file", 1, 2, store.stamp("flaky://b/file")) == CONTENT[1:3]
    assert store.read(file, 1, 2, store.stamp(file)) == CONTENT[1:3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_makes_its_own_file_system_and_keeps_its_parents(flaky):
    store = ShardStore(flaky.options, QUICK)
    stamp = store.stamp("flaky://b/file")
    parents = weakref.ref(store._remote["flaky://b/file"][0])
    child = os.fork()
    if child == 0:
        read = store.read("flaky://b/file", 1, 2, stamp) == CONTENT[1:3]
        own = store._remote["flaky://b/file"][0] is not parents()
        del store
        gc.collect()
        os._exit(0 if read and own and parents() is not None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_patterns_of_a_store_come_back_with_its_protocol(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name in ("b", "a"):
        memory.pipe_file(f"/fusewarp-patterns/{name}.tar", b"x")
    assert ShardStore().find("memory://fusewarp-patterns/*.tar") == [
        "memory:///fusewarp-patterns/a.tar",
        "memory:///fusewarp-patterns/b.tar",
    ]
    chained = ShardStore({"filecache": {"cache_storage": str(tmp_path)}})
    assert chained.find("filecache::memory://fusewarp-patterns/a*.tar") == [
        "filecache::memory:///fusewarp-patterns/a.tar"
    ]
    memory.rm("/fusewarp-patterns", recursive=True)
