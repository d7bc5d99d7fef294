"""What all sources of shards share, shown with a format that is only text."""

from dataclasses import dataclass

import numpy as np
import pytest

from fusewarp.engine.shard_index import IndexBuilder, Place
from fusewarp.engine.shard_source import ShardSource
from fusewarp.engine.shard_store import ShardStore


@dataclass(frozen=True)
class Lines:
    """Shards of lines "key label"; a label "-" is none, a line without one lacks it."""

    version = ("lines", 1)
    text, tag = "", "lines"

    def scan(self, store, shard, stamp, builder):
        for line in store.read(shard, 0, stamp.size, stamp).decode().splitlines():
            key, _, label = line.partition(" ")
            if label:
                builder.add(key, Place(0, 1, 2**32 - 1), None if label == "-" else label)
            else:
                builder.note(key, "has no label")

    def fits(self, store, shard, index, rows):
        return True


def source_of(tmp_path, *shards, separator="/", on_error="raise"):
    for number, text in enumerate(shards):
        (tmp_path / f"{number}.txt").write_text(text)
    return ShardSource(
        [tmp_path / f"{number}.txt" for number in range(len(shards))],
        Lines(),
        ShardStore(),
        class_names=None,
        index_folder=None,
        color_mode="rgb",
        decode="fast",
        on_error=on_error,
        threads=1,
        separator=separator,
    )


def test_records_of_all_shards_come_one_after_the_other(tmp_path):
    source = source_of(tmp_path, "a x\nb y\n", "", "ä x\n", separator=":")
    assert list(source.names) == ["0.txt:a", "0.txt:b", "2.txt:ä"]
    assert (source.labels.tolist(), source.class_names) == ([0, 1, 0], ["x", "y"])
    assert source.block_sizes.tolist() == [2, 1]
    record = source._record(2)
    assert record.shard == source.shards[2]
    assert record.name == f"{source.shards[2]}:ä"
    assert (record.place, record.stamp.size) == (Place(0, 1, 2**32 - 1), 5)


def test_selections_keep_their_names_and_labels(tmp_path):
    source = source_of(tmp_path, "a x\nb y\n", "c z\n").select([2, 0])
    assert list(source.names) == ["1.txt/c", "0.txt/a"]
    assert list(source.names[1:]) == ["0.txt/a"]
    assert source.labels.tolist() == [2, 0]
    assert source._record(0).name.endswith("1.txt/c")
    assert isinstance(source, ShardSource)
    assert source.block_sizes.tolist() == [1, 1]


def test_defects_are_raised_or_listed(tmp_path):
    with pytest.raises(ValueError, match=r"4 of 5 records .*: 0\.txt/b has no label; .* 1 more"):
        source_of(tmp_path, "a x\nb\nc\nd\ne\n")
    source = source_of(tmp_path, "a x\nb\nc\nd\ne\n", on_error="skip")
    assert source.skipped == [(f"0.txt/{key}", "has no label") for key in "bcde"]
    with pytest.raises(ValueError, match=r"The 1 shards hold no pictures \(.*0\.txt the first\)"):
        source_of(tmp_path, "b\nc\n", on_error="skip")


def test_labels_of_all_records_or_of_none(tmp_path):
    assert source_of(tmp_path, "a -\n", "b -\n").labels is None
    assert source_of(tmp_path, "a 5\n", "").labels.tolist() == [0]
    with pytest.raises(ValueError, match=r"The shard .*1\.txt has no labels; others have"):
        source_of(tmp_path, "a x\n", "b -\n")
    with pytest.raises(ValueError, match=r"1\.txt has labels for 1 of 2 records only"):
        source_of(tmp_path, "a x\n", "b -\nc x\n")


def test_keys_tell_records_apart():
    builder = IndexBuilder()
    builder.add("a", Place(0, 1, 2), None)
    with pytest.raises(ValueError, match="has two records of the name 'a'"):
        builder.add("a", Place(1, 1, 2), None)
    index = builder.finished(None)
    assert (len(index), index.crcs.dtype, index.labels) == (1, np.uint32, None)
