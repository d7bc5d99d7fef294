"""The index of a shard: what it holds, when it is made anew, and that it is whole or not there."""

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from fusewarp.engine import shard_index, tar_index
from fusewarp.engine.shard_index import index_path, open_index
from fusewarp.engine.shard_store import ShardStore
from fusewarp.engine.tar_index import IndexRule
from fusewarp.engine.tar_labels import label_rule
from oracles.shard_readers import open_often
from oracles.shards import picture, records, tar_bytes, without_checksum, write_shard

RULE = IndexRule(label_rule("cls"))


def keys_of(index):
    text = index.keys.tobytes()
    pairs = zip(index.key_offsets[:-1], index.key_offsets[1:], strict=True)
    return [text[start:stop].decode() for start, stop in pairs]


def opened(path, rule=RULE, folder=None):
    return open_index(ShardStore(), str(path), rule, folder)


@pytest.fixture
def shard(tmp_path) -> Path:
    return write_shard(tmp_path / "data-000000.tar", records(5))


@pytest.fixture
def builds(monkeypatch):
    """The shards that were read from end to end."""
    built = []
    build = shard_index.build_index
    monkeypatch.setattr(
        shard_index, "build_index", lambda *args: built.append(args[1]) or build(*args)
    )
    return built


def assert_fits(index, path, first=0):
    content = path.read_bytes()
    assert keys_of(index) == [f"{number:04d}" for number in range(first, first + len(index))]
    for number, (start, length) in enumerate(zip(index.starts, index.lengths, strict=True), first):
        assert content[start : start + length] == picture(number)
    assert index.labels.values.tolist() == [n % 3 for n in range(first, first + len(index))]


def test_an_index_is_made_once(shard, builds):
    first, second = opened(shard), opened(shard)
    assert_fits(first, shard)
    assert_fits(second, shard)
    assert len(builds) == 1
    assert sorted(path.name for path in shard.parent.iterdir()) == [
        "data-000000.tar",
        index_path(str(shard), RULE, None).name,
    ]


def test_each_rule_has_an_index_of_its_own(shard, builds):
    for _ in range(2):
        assert opened(shard, IndexRule(label_rule(None))).labels is None
        assert opened(shard).labels.values.tolist() == [0, 1, 2, 0, 1]
    assert len(builds) == 2


def test_indices_of_equal_names_share_a_folder(tmp_path, builds):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        write_shard(tmp_path / str(number) / "a.tar", records(number))
    for _ in range(2):
        for number in (1, 2):
            assert len(opened(tmp_path / str(number) / "a.tar", folder=tmp_path)) == number
    assert len(builds) == 2
    assert not list((tmp_path / "1").glob("*.npz"))


def replace(shard, members, *, keep_time):
    """Put another shard of the same size there."""
    before = shard.stat()
    write_shard(shard, members)
    assert shard.stat().st_size == before.st_size
    moved = 0 if keep_time else 1000
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns + moved))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_shard_of_the_same_size_is_indexed_anew(shard, builds, keep_time):
    opened(shard)
    replace(shard, records(5, first=3), keep_time=keep_time)
    assert_fits(opened(shard), shard, first=3)
    assert len(builds) == 2


def test_a_longer_shard_is_indexed_anew(shard):
    opened(shard)
    write_shard(shard, records(9))
    assert_fits(opened(shard), shard)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
        lambda data: b"something else",
    ],
    ids=["empty", "half", "one bit", "text"],
)
def test_a_damaged_index_is_made_anew(shard, builds, damage):
    opened(shard)
    path = index_path(str(shard), RULE, None)
    path.write_bytes(damage(path.read_bytes()))
    assert_fits(opened(shard), shard)
    assert len(builds) == 2
    assert_fits(opened(shard), shard)
    assert len(builds) == 2


def test_another_version_is_made_anew(shard, builds, monkeypatch):
    opened(shard)
    monkeypatch.setattr(tar_index, "VERSION", 99)
    assert_fits(opened(shard), shard)
    assert len(builds) == 2


@pytest.mark.parametrize("damage", ["cut", "checksum", "twice"])
def test_a_broken_shard_gets_no_index(tmp_path, damage):
    content = tar_bytes(records(5))
    content = {
        "cut": content[: len(content) // 2],
        "checksum": without_checksum(content, "0003.png"),
        "twice": tar_bytes(records(2) + records(1)),
    }[damage]
    shard = tmp_path / "bad.tar"
    shard.write_bytes(content)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"The shard .*bad\.tar (is|has) "):
            opened(shard)
    assert os.listdir(tmp_path) == ["bad.tar"]


def test_a_shard_that_grows_meanwhile_is_refused(shard, monkeypatch):
    read_records = tar_index.read_records

    def read_and_touch(*args):
        yield from read_records(*args)
        os.utime(shard)

    monkeypatch.setattr(tar_index, "read_records", read_and_touch)
    with pytest.raises(ValueError, match="was changed while it was read"):
        opened(shard)
    assert len(os.listdir(shard.parent)) == 1


def test_nothing_is_left_of_a_write_that_fails(shard, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_index, "flush_to_disk", full)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left.*`index_folder`"):
        opened(shard)
    assert os.listdir(shard.parent) == ["data-000000.tar"]


def test_two_processes_index_at_once(shard):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    start_at = time.time() + 3
    processes = [
        context.Process(target=open_often, args=(str(shard), RULE, start_at, queue))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [queue.get(timeout=60) for _ in range(40)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert found == [(5, [0, 1, 2, 0, 1])] * 40
    assert not list(shard.parent.glob(".*.partial"))


def test_an_index_is_small(tmp_path):
    members = [(f"{number:06d}.jpg", b"x") for number in range(3000)]
    shard = write_shard(tmp_path / "s.tar", members)
    index = opened(shard, IndexRule(label_rule(None)))
    arrays = (index.keys, index.key_offsets, index.starts, index.lengths, index.crcs)
    assert sum(array.nbytes for array in arrays) <= 3000 * (28 + 6) + 8
    size = index_path(str(shard), IndexRule(label_rule(None)), None).stat().st_size
    assert size <= 3000 * (28 + 6) + 4000


def test_dtypes(shard):
    for index in (opened(shard), opened(shard)):
        assert index.crcs.dtype == np.uint32
        assert index.starts.dtype == index.lengths.dtype == index.key_offsets.dtype == np.int64
