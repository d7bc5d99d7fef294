"""Braces, patterns, and the names of shards."""

import pytest

from fusewarp.engine.shard_list import expand_braces, list_shards, short_names
from fusewarp.engine.shard_store import ShardStore


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("d-{08..11}.tar", ["d-08.tar", "d-09.tar", "d-10.tar", "d-11.tar"]),
        ("d-{8..10}.tar", ["d-8.tar", "d-9.tar", "d-10.tar"]),
        ("d-{0..4..2}.tar", ["d-0.tar", "d-2.tar", "d-4.tar"]),
        ("{a,b}-{00..01}", ["a-00", "a-01", "b-00", "b-01"]),
        ("s3://b/{000000..000001}.tar", ["s3://b/000000.tar", "s3://b/000001.tar"]),
        ("plain.tar", ["plain.tar"]),
        ("odd-{x}.tar", ["odd-{x}.tar"]),
        ("{x}-{1..2}", ["{x}-1", "{x}-2"]),
    ],
)
def test_braces_as_in_bash(pattern, expected):
    assert expand_braces(pattern) == expected


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b-1.tar", "b-0.tar", "c-0.tar", "odd[1].tar", "odd1.tar"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(shards, folder):
    paths = list_shards(shards, ShardStore())
    assert all(path.startswith(f"{folder}/") for path in paths)
    return [path[len(str(folder)) + 1 :] for path in paths]


def test_patterns_are_sorted_and_lists_keep_their_order(folder):
    assert listed(["c-0.tar", "b-*.tar"], folder) == ["c-0.tar", "b-0.tar", "b-1.tar"]
    assert listed(folder / "b-{0..1}.tar", folder) == ["b-0.tar", "b-1.tar"]
    assert listed(f"file://{folder}/b-?.tar", folder) == ["b-0.tar", "b-1.tar"]


def test_indices_that_lie_beside_shards_are_none(folder):
    (folder / "b-0.tar.cls-01234567.index.npz").touch()
    assert listed("b-*", folder) == ["b-0.tar", "b-1.tar"]
    with pytest.raises(FileNotFoundError, match="No shard fits"):
        list_shards("*.npz", ShardStore())


def test_a_file_that_is_called_like_a_pattern_is_meant(folder):
    assert listed("odd[1].tar", folder) == ["odd[1].tar"]


@pytest.mark.parametrize(
    ("shards", "error", "message"),
    [
        ("z-*.tar", FileNotFoundError, r"No shard fits 'z-\*.tar'"),
        (["b-0.tar", "b-*.tar"], ValueError, "b-0.tar twice; its pictures would be seen twice"),
        ([], ValueError, "names no shard"),
        ("pipe:cat b-0.tar", ValueError, "command 'pipe:cat b-0.tar'"),
        ("b-{3..1}.tar", ValueError, "counts nothing upwards"),
    ],
)
def test_what_cannot_be_meant(folder, shards, error, message):
    with pytest.raises(error, match=message):
        list_shards(shards, ShardStore())


def test_a_query_is_no_pattern():
    url = "https://host/data.tar?signature=1"
    assert list_shards(url, ShardStore()) == [url]


def test_names_begin_after_the_common_folder():
    assert short_names(["/x/a.tar", "/x/b.tar"]) == ["a.tar", "b.tar"]
    assert short_names(["/x/1/a.tar", "/x/2/a.tar"]) == ["1/a.tar", "2/a.tar"]
    assert short_names(["s3://b/x/a.tar"]) == ["a.tar"]
