"""ArrayRecord files as a source: the same as files, and nothing lost or wrong silently."""

import collections
import hashlib
import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("array_record")
pytest.importorskip("google.protobuf")
pytest.importorskip("google_crc32c")

from fusewarp import (
    ArrayRecordSource,
    Augmenter,
    FolderSource,
    Loader,
    Policy,
    SampleError,
    stratified_split,
)
from fusewarp.engine import array_record_files, shard_index
from fusewarp.engine.shard_store import ShardStore
from oracles.examples import example, examples, flipped, write_array_record
from oracles.record_functions import pack, packed, returns, unlabelled
from oracles.shard_readers import hashes, put_hashes
from oracles.shards import picture, pixels_of

POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True, rescale=1 / 255)


@pytest.fixture
def shards(tmp_path) -> str:
    """Seven records in three files, one of which is empty; named as TFDS names them."""
    write_array_record(tmp_path / "a-train.array_record-00000-of-00003", examples(4))
    write_array_record(tmp_path / "a-train.array_record-00001-of-00003", [])
    write_array_record(
        tmp_path / "a-train.array_record-00002-of-00003", examples(3, first=4), "group_size:2"
    )
    return str(tmp_path / "a-train.array_record-*")


@pytest.fixture
def second(tmp_path):
    return tmp_path / "a-train.array_record-00002-of-00003"


def names_of(first, last):
    return [
        f"a-train.array_record-{0 if n < 4 else 2:05d}-of-00003:{n - 4 * (n > 3)}"
        for n in range(first, last)
    ]


def test_pictures_names_and_labels(shards):
    for _ in range(2):  # indexed, and from the indices that then lie there and fit the pattern
        source = ArrayRecordSource(shards)
        assert (len(source), list(source.names)) == (7, names_of(0, 7))
        assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
        for number in reversed(range(7)):
            np.testing.assert_array_equal(source.read(number), pixels_of(picture(number)))
        assert (source.weights, source.class_names, source.skipped) == (None, [], [])
        assert source.block_sizes.tolist() == [4, 3]


def test_names_of_a_feature_and_no_labels(shards):
    source = ArrayRecordSource(shards, None, name="image/filename", color_mode="grayscale")
    assert source.names[5] == "a-train.array_record-00002-of-00003/0005"
    assert (source.labels, source.class_names) == (None, [])
    assert source.read(0).shape == (6, 9, 1)


def test_select_and_splits(shards):
    source = ArrayRecordSource(shards, class_names=["a", "b", "c"])
    part = source.select([5, 0, 4]).select([2, 0])
    assert list(part.names) == [*names_of(4, 5), *names_of(5, 6)]
    assert part.labels.tolist() == [1, 2]
    np.testing.assert_array_equal(part.read(1), pixels_of(picture(5)))
    train, validation = (
        source.select(ids) for ids in stratified_split(source.names, source.labels, 0.3)
    )
    assert sorted([*train.names, *validation.names]) == names_of(0, 7)


def test_records_of_another_making(tmp_path):
    labels = ["pug", "lab", "pug"]
    records = [pack(picture(n), label) for n, label in enumerate(labels)]
    path = write_array_record(tmp_path / "dogs", records)
    for _ in range(2):
        source = ArrayRecordSource(path, record=packed)
        assert (source.labels.tolist(), source.class_names) == ([1, 0, 1], ["lab", "pug"])
        np.testing.assert_array_equal(source.read(2), pixels_of(picture(2)))
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(2), pixels_of(picture(2)))


def test_records_that_are_pictures(tmp_path):
    path = write_array_record(tmp_path / "a", [picture(n) for n in range(3)])
    source = ArrayRecordSource(path, record=unlabelled)
    assert source.labels is None
    np.testing.assert_array_equal(source.read(1), pixels_of(picture(1)))


def test_grains_own_source_reads_the_same(shards, tmp_path):
    grain = pytest.importorskip("grain")
    paths = sorted(str(path) for path in tmp_path.glob("a-train*") if path.suffix != ".npz")
    source = ArrayRecordSource(shards, index_folder=tmp_path / "i")
    theirs = grain.sources.ArrayRecordDataSource(paths)
    assert len(theirs) == len(source)
    for i in range(7):
        assert source.encoded(i)[0] in theirs[i]


# --- the same as files


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Forty JPEGs as a folder, and in two ArrayRecord files in the same order."""
    folder = tmp_path_factory.mktemp("tiles")
    for number in range(40):
        path = folder / "files" / "abc"[number % 3] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, "jpg", (40, 50)))
    source = FolderSource(folder / "files")
    records = [
        example(
            image__encoded=(folder / "files" / name).read_bytes(), image__class__label=int(label)
        )
        for name, label in zip(source.names, source.labels, strict=True)
    ]
    write_array_record(folder / "tiles-0", records[:25])
    write_array_record(folder / "tiles-1", records[25:], "group_size:4")
    return folder / "files", str(folder / "tiles-{0,1}")


def loader_of(source, threads=1, **options):
    augmenter = Augmenter(POLICY, size=(24, 32), seed=5, threads=threads)
    return Loader(source, augmenter, batch_size=7, **options)


def seen(batches):
    """Count (id, label, hash of the pixels)."""
    counts = collections.Counter()
    for batch in batches:
        for sample_id, label, image in zip(
            batch.sample_ids, batch.labels, batch.images, strict=True
        ):
            counts[int(sample_id), int(label), hashlib.sha1(image.tobytes()).hexdigest()] += 1
    return counts


@pytest.mark.parametrize("threads", [1, 2])
def test_two_epochs_equal_those_of_a_folder(tiles, threads):
    folder, shards = tiles
    ours = loader_of(ArrayRecordSource(shards), threads)
    theirs = loader_of(FolderSource(folder), threads)
    for _ in range(2):
        expected = seen(theirs)
        assert seen(ours) == expected
        assert len(expected) == 40


def test_going_on_in_the_middle_is_exact(tiles):
    source = ArrayRecordSource(tiles[1])
    whole = [seen([batch]) for batch in loader_of(source, 2, epochs=2)]
    first = loader_of(source, 2, epochs=2)
    batches = iter(first)
    begun = [seen([next(batches)]) for _ in range(8)]
    second = loader_of(pickle.loads(pickle.dumps(source)), 1)
    second.load_state_dict(first.state_dict())
    assert begun + [seen([batch]) for batch in second] == whole


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_other_processes_read_the_same(shards, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    source = ArrayRecordSource(shards).select([6, 0, 3])
    expected = hashes(source)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put_hashes, args=(source, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join(60)
    assert hashes(source) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_reads_though_the_lock_was_held_and_indexes(shards, second):
    source = ArrayRecordSource(shards)
    expected = hashes(source)
    with source._files._lock:
        child = os.fork()
        if child == 0:
            os.utime(second)  # to be indexed anew, where the library's threads are not
            same = hashes(source.select([0, 1])) == expected[:2]
            os._exit(0 if same and hashes(ArrayRecordSource(shards)) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_children_read_while_the_parents_threads_do(tiles):
    source = ArrayRecordSource(tiles[1])
    expected, stop = hashes(source.select([0, 1])), threading.Event()

    def read_on(seed):
        rng = random.Random(seed)
        while not stop.is_set():
            source.encoded(rng.randrange(len(source)))

    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(read_on, seed) for seed in range(3)]
        try:
            ended = [child_reads(source, expected) for _ in range(30)]
        finally:
            stop.set()
    assert ended == [0] * 30  # None: it hung
    assert [future.result() for future in reading] == [None] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("call", ["open", "read", "close"])
def test_a_fork_waits_for_the_library(tiles, monkeypatch, call):
    """Its pool of decompressors has a lock, which a child would find held for ever."""
    source = ArrayRecordSource(tiles[1])
    expected, arrived, go = hashes(source.select([0, 1])), threading.Event(), threading.Event()

    class Slow:
        def __init__(self, *_, **__):
            if call == "open":
                self.wait()

        def wait(self, *_):
            arrived.set()
            assert go.wait(60)
            raise RuntimeError("slow")

        read = close = wait

        def ok(self):
            return True

        def writer_options_string(self):
            return ""

    def use_slowly():
        file = array_record_files.ArrayRecordFile(path, stamp)
        file.read(0, 1) if call == "read" else file.close()

    path = source.shards[0]
    stamp = ShardStore().stamp(path)
    module = SimpleNamespace(ArrayRecordReader=Slow)
    with monkeypatch.context() as patched, ThreadPoolExecutor(2) as pool:
        patched.setattr(array_record_files, "array_record_module", lambda: module)
        using = pool.submit(use_slowly)
        try:
            assert arrived.wait(60)
            assert array_record_files._in_library._inside
            patched.undo()
            forking = pool.submit(child_reads, source, expected)
            while not array_record_files._in_library._forking:
                assert not forking.done()
                time.sleep(0.001)
        finally:
            go.set()
        assert forking.result() == 0
    assert using.exception() is None or "slow" in str(using.exception())


def child_reads(source, expected):
    child = os.fork()
    if child == 0:
        os._exit(0 if hashes(source.select([0, 1])) == expected else 1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def test_many_threads_read_at_once(tiles):
    source = ArrayRecordSource(tiles[1])
    expected = [source.encoded(i)[0] for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        ids = [7 * i % 40 for i in range(400)]
        found = list(pool.map(lambda i: source.encoded(i)[0], ids))
    assert found == [expected[i] for i in ids]


# --- faults


def test_an_index_is_used_again(shards, tmp_path, monkeypatch):
    ArrayRecordSource(shards, index_folder=tmp_path / "indices")
    assert len(os.listdir(tmp_path / "indices")) == 3
    monkeypatch.setattr(shard_index, "build_index", None)
    source = ArrayRecordSource(shards, index_folder=tmp_path / "indices")
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.fixture
def large(tmp_path):
    """Nine records that do not fit into what the library reads ahead."""
    rng = np.random.default_rng(0)
    return write_array_record(tmp_path / "a", [rng.bytes(100_000) for _ in range(9)])


def test_data_that_are_damaged_later(large):
    source = ArrayRecordSource(large, record=unlabelled)
    first, last = source.encoded(0), source.encoded(8)[0]
    content = large.read_bytes()
    with open(large, "r+b") as file:  # in place: the open file sees it
        file.write(flipped(content, content.index(last[5000:5020])))
    assert source.encoded(0) == first
    with pytest.raises(SampleError, match=r"/a:8 is damaged \(Corrupted .* hash mismatch"):
        source.encoded(8)


def test_data_that_are_damaged_before(shards, second):
    content = second.read_bytes()
    second.write_bytes(flipped(content, 150))
    with pytest.raises(ValueError, match=r"2 of 7 records .*00002-of-00003:0 is damaged \(Corrup"):
        ArrayRecordSource(shards)
    source = ArrayRecordSource(shards, on_error="skip")  # two records are one group there
    assert list(source.names) == names_of(0, 4) + names_of(6, 7)
    assert [name for name, _ in source.skipped] == names_of(4, 6)
    np.testing.assert_array_equal(source.read(4), pixels_of(picture(6)))


def test_a_file_is_cut_off(shards, second):
    source = pickle.loads(pickle.dumps(ArrayRecordSource(shards)))
    os.truncate(second, 2**16)
    with pytest.raises(SampleError, match=r"00003:0 cannot be read: it was changed after it was i"):
        source.read(4)
    with pytest.raises(ValueError, match=r"The shard .*00002-of-00003 is cut off"):
        ArrayRecordSource(shards)


def test_a_file_is_cut_off_while_it_is_read(large):
    source = ArrayRecordSource(large, record=unlabelled)
    first = source.encoded(0)
    os.truncate(large, 400_000)
    assert source.encoded(0) == first
    with pytest.raises(SampleError, match=r"/a:8 is not .* 0 bytes, then 100000; .* or cut off"):
        source.encoded(8)  # the library raises nothing


def test_a_file_is_replaced_while_it_is_read(shards, second):
    source = ArrayRecordSource(shards)
    before = second.stat()
    write_array_record(second, examples(3, first=13), "group_size:2")
    assert second.stat().st_size == before.st_size
    os.utime(second, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SampleError, match=r"00003:1 is not the one that was indexed: \d+ bytes"):
        source.read(5)
    fresh = ArrayRecordSource(shards)
    np.testing.assert_array_equal(fresh.read(5), pixels_of(picture(14)))


def test_a_file_is_gone(shards, second):
    opened = ArrayRecordSource(shards)
    source = pickle.loads(pickle.dumps(opened))
    opened.read(6)
    os.remove(second)
    np.testing.assert_array_equal(opened.read(6), pixels_of(picture(6)))  # its file is still open
    with pytest.raises(SampleError, match=r"00003:2 cannot be read: No such file"):
        source.read(6)


def test_records_that_lack_something(tmp_path):
    records = [
        *examples(1),
        example(image__class__label=1),
        example(image__encoded=picture(1)),
        b"no example",
        *examples(1, first=4),
    ]
    path = write_array_record(tmp_path / "s", records)
    for _ in range(2):  # read anew, and from the index
        with pytest.raises(ValueError, match=r"3 of 5 records .*: s:1 has no feature 'image/encod"):
            ArrayRecordSource(path)
        source = ArrayRecordSource(path, on_error="skip")
        assert list(source.names) == ["s:0", "s:4"]
        np.testing.assert_array_equal(source.read(1), pixels_of(picture(4)))


def test_a_damaged_picture_is_named(tmp_path):
    path = write_array_record(tmp_path / "s", [picture(1, "jpg")[:-60]])
    with pytest.raises(SampleError, match=r"s:0 cannot be decoded"):
        ArrayRecordSource(path, record=unlabelled).read(0)


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(1, "jpg"))
    with pytest.raises(ValueError, match=r"The shard .*a\.jpg is no ArrayRecord file"):
        ArrayRecordSource(tmp_path / "a.jpg")
    path = write_array_record(tmp_path / "empty", [])
    with pytest.raises(ValueError, match=r"The 1 shards hold no pictures"):
        ArrayRecordSource(path)


def test_labels_in_some_files_only(tmp_path):
    for number, label in enumerate([1, None]):
        write_array_record(tmp_path / f"a-{number}", [pack(picture(number), label)])
    with pytest.raises(ValueError, match=r"The shard .*a-1 has no labels; others have"):
        ArrayRecordSource(tmp_path / "a-*", record=packed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b"]}, r"00000-of-00003:2 has the label 2, which is none of"),
        ({"label": None, "class_names": ["a"]}, "given with `label`"),
        ({"image": ""}, "`image` must be the key of a feature"),
        ({"name": "image/class/label"}, "has two records of the name '0', which must"),
        ({"record": packed, "image": "a"}, "`record` itself says"),
        ({"record": packed, "label": None}, "`record` itself says"),
        ({"record": packed}, "7 of 7 records .*0 cannot be read by `record`"),
        ({"record": returns(5)}, "7 of 7 records .*0 gives 5: `record` must return"),
        ({"decode": "slow"}, "`decode` must be"),
        ({"on_error": "ignore"}, "`on_error` must be"),
    ],
)
def test_what_cannot_be_meant(shards, options, message):
    with pytest.raises(ValueError, match=message):
        ArrayRecordSource(shards, **options)


def test_shards_that_are_named_twice_or_in_a_store(shards, second):
    with pytest.raises(ValueError, match=r"names .*00002-of-00003 twice"):
        ArrayRecordSource([shards, second])
    with pytest.raises(ValueError, match=r"names s3://b/a, but .* local files only: copy or mount"):
        ArrayRecordSource([second, "s3://b/a"])
    assert len(ArrayRecordSource(f"file://{second}")) == 3
