"""ArrayRecord files: their library is given whole ones only, and is asked by many threads."""

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("array_record")

from fusewarp.engine.array_record_files import (
    ArrayRecordFile,
    OpenArrayRecords,
    array_record_module,
)
from fusewarp.engine.shard_store import ChangedError, ShardStore
from oracles.examples import flipped, write_array_record
from oracles.shards import picture

BLOCK = 2**16


def records(count, size=9000):
    rng = np.random.default_rng(0)
    return [rng.bytes(size + number) for number in range(count)]


def opened(path):
    return ArrayRecordFile(str(path), ShardStore().stamp(str(path)))


@pytest.fixture
def path(tmp_path):
    return write_array_record(tmp_path / "a.array_record", records(40))


@pytest.mark.parametrize("group", [1, 3, 64])
def test_records_are_those_that_were_written(tmp_path, group):
    path = write_array_record(tmp_path / "é", records(10, 500), f"group_size:{group}")
    file = opened(path)
    assert (len(file), file.group_size) == (10, group)
    for number in reversed(range(10)):
        assert file.read(number, number + 1) == [records(10, 500)[number]]
    assert file.read(2, 9) == records(10, 500)[2:9]
    file.close()


def test_a_file_without_records(tmp_path):
    assert len(opened(write_array_record(tmp_path / "a", []))) == 0


def test_threads_share_a_file(path):
    file, expected = opened(path), records(40)
    ids = [7 * i % 40 for i in range(600)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: file.read(i, i + 1)[0], ids))
    assert found == [expected[i] for i in ids]


def test_a_record_that_is_not_there(path):
    with pytest.raises(ValueError, match=r"is damaged \(.*40, 41\)"):
        opened(path).read(40, 41)


@pytest.mark.parametrize("at", [100, 9000, 200_000])
def test_damaged_data_are_noticed(path, at):
    path.write_bytes(flipped(path.read_bytes(), at))
    file, damaged = opened(path), []
    for number, expected in enumerate(records(40)):
        try:
            assert file.read(number, number + 1) == [expected]
        except ValueError as error:
            damaged.append(str(error))
    assert len(damaged) == 1
    assert damaged[0].startswith("is damaged (Corrupted")


# --- what its library would take for a file without records, or worse


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no ArrayRecord file"),
        (b"text", "is no ArrayRecord file"),
        (picture(1, "jpg"), "is no ArrayRecord file"),
        (picture(1, "png", (300, 300)), "is no ArrayRecord file"),
        (bytes(BLOCK), "is no ArrayRecord file"),
        (bytes(2 * BLOCK), "is no ArrayRecord file"),
    ],
    ids=["empty", "text", "jpeg", "png", "zeros", "more zeros"],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "a")


@pytest.mark.parametrize(
    "left", [64, 100, 5000, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK, -BLOCK, -1]
)
def test_files_that_are_cut_off_are_refused(path, left):
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match="is cut off"):
        opened(path)


@pytest.mark.parametrize("change", ["end twice", "end of another", "no middle", "end damaged"])
def test_files_that_do_not_fit_their_end_are_refused(path, tmp_path, change):
    content = path.read_bytes()
    other = write_array_record(tmp_path / "b", records(90, 3000)).read_bytes()
    path.write_bytes(
        {
            "end twice": content[:BLOCK] + content[-BLOCK:],
            "end of another": content[:-BLOCK] + other[-BLOCK:],
            "no middle": content[:BLOCK] + content[2 * BLOCK :],
            "end damaged": flipped(content, len(content) - BLOCK + 80),
        }[change]
    )
    with pytest.raises(ValueError, match=r"is cut off, damaged or no ArrayRecord file \(\w"):
        opened(path)


@pytest.mark.slow
def test_damage_never_ends_the_process_nor_gives_wrong_bytes(path, tmp_path):
    content, expected, rng = path.read_bytes(), records(40), np.random.default_rng(1)
    num_opened = num_read = 0
    for _ in range(400):
        damaged = bytearray(content)
        at, length = int(rng.integers(len(content))), int(rng.integers(1, 3 * BLOCK))
        kind = rng.integers(4)
        if kind == 0:
            damaged[at : at + length] = rng.bytes(min(length, len(content) - at))
        elif kind == 1:
            del damaged[at : at + length // BLOCK * BLOCK]
        elif kind == 2:
            damaged[at:at] = bytes(length // BLOCK * BLOCK)
        else:
            damaged = bytearray(flipped(content, len(content) - int(rng.integers(2 * BLOCK))))
        (tmp_path / "d").write_bytes(damaged)
        try:
            file = opened(tmp_path / "d")
        except ValueError:
            continue
        num_opened += 1
        for number in range(len(file)):
            try:
                assert file.read(number, number + 1) == [expected[number]]
                num_read += 1
            except ValueError:
                pass
        file.close()
    assert num_opened > 50
    assert num_read > 1000


def test_a_file_that_was_changed(path):
    stamp = ShardStore().stamp(str(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChangedError, match="modified at 1 ns, then"):
        ArrayRecordFile(str(path), stamp)


def test_a_file_that_is_gone(path):
    stamp = ShardStore().stamp(str(path))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        ArrayRecordFile(str(path), stamp)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists descriptors")
def test_few_files_stay_open_and_none_in_the_end(tmp_path):
    opened(write_array_record(tmp_path / "first", [b"x"])).close()  # the library keeps some itself
    before = len(os.listdir("/proc/self/fd"))
    files = OpenArrayRecords()
    files._most = 3
    for number in range(10):
        path = write_array_record(tmp_path / str(number), [b"%d" % number])
        with files.use(str(path), ShardStore().stamp(str(path))) as file:
            assert file.read(0, 1) == [b"%d" % number]
        assert len(files) <= 3
    assert 0 < len(os.listdir("/proc/self/fd")) - before <= 3
    assert len(pickle.loads(pickle.dumps(files))) == 0
    del files
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(ModuleNotFoundError, match=r"fusewarp\[arrayrecord\]"):
        array_record_module()
