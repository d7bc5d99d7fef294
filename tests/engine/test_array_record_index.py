"""The index of an ArrayRecord file: what it holds, and when it no longer fits."""

from dataclasses import replace

import pytest

pytest.importorskip("array_record")
pytest.importorskip("google.protobuf")
pytest.importorskip("google_crc32c")

from fusewarp.engine.array_record_files import ArrayRecordFile
from fusewarp.engine.array_record_index import ArrayRecordRule, place_of
from fusewarp.engine.array_record_rule import FunctionRule
from fusewarp.engine.example_record import ExampleRule
from fusewarp.engine.shard_index import open_index
from fusewarp.engine.shard_store import ShardStore
from oracles.examples import examples, flipped, write_array_record
from oracles.record_functions import Always

RULE = ArrayRecordRule(ExampleRule("image/encoded", "image/class/label", None))


def opened(path, rule=RULE):
    return open_index(ShardStore(), str(path), rule, None)


def present(index, path):
    """Return an index that has the stamp of what lies there now."""
    return replace(index, stamp=ShardStore().stamp(str(path)))


@pytest.mark.parametrize("group", [1, 4, 16])
def test_records_and_labels(tmp_path, group):
    path = write_array_record(tmp_path / "a", examples(9), f"group_size:{group}")
    for index in (opened(path), opened(path)):
        assert index.keys.tobytes() == b"012345678"
        assert index.starts.tolist() == list(range(9))
        assert [index.place(n) for n in range(9)] == [
            place_of(n, data) for n, data in enumerate(examples(9))
        ]
        assert index.labels.values.tolist() == [n % 3 for n in range(9)]


def test_each_group_is_read_once(tmp_path, monkeypatch):
    path = write_array_record(tmp_path / "a", examples(9), "group_size:4")
    read, ranges = ArrayRecordFile.read, []
    monkeypatch.setattr(
        ArrayRecordFile, "read", lambda self, *ends: ranges.append(ends) or read(self, *ends)
    )
    opened(path)
    assert ranges == [(0, 4), (4, 8), (8, 9)]


@pytest.mark.parametrize(("group", "damaged"), [(1, "0"), (4, "0123")])
def test_damaged_groups_are_noted(tmp_path, group, damaged):
    path = write_array_record(tmp_path / "a", examples(9), f"group_size:{group}")
    path.write_bytes(flipped(path.read_bytes(), 150))
    index = opened(path)
    assert [key for key, _ in index.defects] == list(damaged)
    assert all("is damaged (Corrupted" in message for _, message in index.defects)
    assert index.keys.tobytes().decode() == "012345678"[len(damaged) :]


def test_an_index_of_other_records_does_not_fit(tmp_path):
    path = write_array_record(tmp_path / "a", examples(4))
    index = opened(path)
    assert RULE.fits(ShardStore(), str(path), index, [0, 3])
    write_array_record(path, examples(4, first=3))
    assert not RULE.fits(ShardStore(), str(path), present(index, path), [0, 3])
    write_array_record(path, examples(2))
    assert not RULE.fits(ShardStore(), str(path), present(index, path), [0, 3])
    path.write_bytes(b"text")
    assert not RULE.fits(ShardStore(), str(path), present(index, path), [0, 3])


@pytest.mark.parametrize(
    ("before", "after"), [(1, 2), ("cat", "dog"), (1, None), (None, 1), (0.5, 0.25), ("1", 1)]
)
def test_a_function_that_was_changed_is_noticed(tmp_path, before, after):
    path = write_array_record(tmp_path / "a", [b"x", b"y"])
    function = Always((b"x", before))
    rule = ArrayRecordRule(FunctionRule(function))
    index = opened(path, rule)
    assert rule.fits(ShardStore(), str(path), index, [0, 1])
    function.value = (b"x", after)  # as if its module had been edited
    assert not rule.fits(ShardStore(), str(path), index, [0, 1])


def test_some_labels_are_not_enough(tmp_path):
    path = write_array_record(tmp_path / "a", [b"x", b"y"])
    with pytest.raises(ValueError, match="a has labels for 1 of 2 records only"):
        opened(path, ArrayRecordRule(FunctionRule(Alternating())))


class Alternating:
    """A function that gives every second record a label."""

    def __init__(self):
        self.count = 0

    def __call__(self, data):
        self.count += 1
        return data, None if self.count % 2 else 1


def test_a_place_is_known_by_length_and_ends():
    data = bytes(3000)
    assert place_of(7, data)[:2] == (7, 3000)
    others = [flipped(data, 0), flipped(data, 511), flipped(data, 2488), flipped(data, 2999)]
    assert all(place_of(7, other).crc != place_of(7, data).crc for other in others)
    assert place_of(7, flipped(data, 1500)) == place_of(7, data)  # its library has a hash of all
