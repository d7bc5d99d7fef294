"""Rows of Parquet files: what they lack, and files that do not go together."""

import json

import numpy as np
import pytest

from fusewarp import Augmenter, Loader, ParquetSource, Policy, SampleError
from oracles.shards import picture, pixels_of

pa = pytest.importorskip("pyarrow")

from oracles.parquet_files import as_structs, chunk_of, note_reads, spoil, table_of, write  # noqa: E402


def with_class_names(table, names):
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def test_class_names_that_datasets_wrote(tmp_path):
    write(tmp_path / "a.parquet", with_class_names(table_of(0, 6), ["x", "y", "z"]))
    source = ParquetSource(tmp_path / "a.parquet", label="label")
    assert (source.class_names, source.labels.tolist()) == (["x", "y", "z"], [0, 1, 2] * 2)
    assert ParquetSource(tmp_path / "a.parquet").class_names == []
    write(tmp_path / "b.parquet", with_class_names(table_of(0, 6), ["z", "y", "x"]))
    with pytest.raises(ValueError, match=r"b\.parquet says that the classes are \['z', 'y', 'x'\]"):
        ParquetSource(tmp_path / "*.parquet", label="label")
    same = ParquetSource(tmp_path / "*.parquet", label="label", class_names=["p", "q", "r"])
    assert same.class_names == ["p", "q", "r"]
    write(
        tmp_path / "b.parquet", with_class_names(table_of(0, 6, label=[0, -1, 1, 0, 1, 2]), ["x"])
    )
    with pytest.raises(ValueError, match=r"b\.parquet/1 has the label -1, which is none of the 1"):
        ParquetSource(tmp_path / "b.parquet", label="label")


def test_weights_and_names_from_columns(tmp_path):
    write(tmp_path / "a.parquet", table_of(0, 3, w=[1, 0, 2.5], key=["ä", "b", "c"]))
    write(tmp_path / "b.parquet", table_of(3, 5, w=[3.0, 4.0], key=["d", None]))
    with pytest.raises(ValueError, match=r"b\.parquet/1 has no name in column 'key' \(None\)"):
        ParquetSource(tmp_path / "*.parquet", weight="w", name="key")
    source = ParquetSource(tmp_path / "*.parquet", weight="w", name="key", on_error="skip")
    assert source.weights.dtype == np.float32
    assert source.weights.tolist() == [1, 0, 2.5, 3]
    assert list(source.names) == ["ä", "b", "c", "d"]
    assert list(source.select([3, 0]).names) == ["d", "ä"]
    np.testing.assert_array_equal(source.read(3), pixels_of(picture(3)))
    assert ParquetSource(tmp_path / "a.parquet", name="label").names[2] == "2"


def test_names_differ_within_a_file(tmp_path):
    path = write(tmp_path / "s.parquet", table_of(0, 4, key=["a", "b", "c", "b"]))
    with pytest.raises(ValueError, match=r"s\.parquet has the name 'b' twice in column 'key'"):
        ParquetSource(path, name="key", on_error="skip")


def test_rows_without_pictures(tmp_path):
    bodies = [picture(0), None, *[picture(n) for n in range(2, 4)], None, None, *[picture(6)] * 2]
    write(tmp_path / "a.parquet", pa.table({"image": bodies, "label": range(8)}), 2)
    write(tmp_path / "b.parquet", pa.table({"image": as_structs(bodies), "label": range(8)}), 2)
    for file, column in (("a", "image"), ("b", "image.bytes")):
        path = tmp_path / f"{file}.parquet"
        with pytest.raises(ValueError, match="rows lack something") as caught:
            ParquetSource(path)
        assert (
            f"3 of 8 rows lack something: {file}.parquet/1 has no picture in column '{column}' "
            f"(None); {file}.parquet/4 has no picture"
        ) in str(caught.value)
        source = ParquetSource(path, label="label", on_error="skip")
        assert list(source.names) == [f"{file}.parquet/{n}" for n in (0, 2, 3, 6, 7)]
        assert source.labels.tolist() == [0, 2, 3, 6, 7]
        assert [name for name, _ in source.skipped] == [f"{file}.parquet/{n}" for n in (1, 4, 5)]
        np.testing.assert_array_equal(source.read(2), pixels_of(picture(3)))
        assert source.block_sizes.tolist() == [1, 2, 2]


def test_a_struct_that_is_null_itself(tmp_path):
    rows = pa.array([{"bytes": picture(0)}, None], pa.struct({"bytes": pa.binary()}))
    path = write(tmp_path / "s.parquet", pa.table({"image": rows}))
    assert list(ParquetSource(path, on_error="skip").names) == ["s.parquet/0"]


def test_only_groups_that_mix_are_read_for_nulls(tmp_path, monkeypatch):
    reads = note_reads(monkeypatch)
    column = as_structs([*[None] * 4, picture(0), None, *[picture(n) for n in range(2, 8)]])
    path = write(tmp_path / "s.parquet", pa.table({"image": column}))
    assert len(ParquetSource(path, on_error="skip")) == 7
    assert [read[1:] for read in reads[1:]] == [chunk_of(path, 1, "image.bytes")]
    write(path, pa.table({"image": as_structs([None] * 4)}))
    with pytest.raises(ValueError, match=r"The 1 files hold no pictures"):
        ParquetSource(path, on_error="skip")


def test_nulls_that_no_writer_counted_are_named_when_they_are_read(tmp_path):
    table = pa.table({"image": [picture(0), None, picture(2)]})
    source = ParquetSource(write(tmp_path / "s.parquet", table, write_statistics=False))
    assert len(source) == 3
    with pytest.raises(SampleError, match=r"s\.parquet/1 \(row group 0\) has no picture \(null\)"):
        source.read(1)
    loader = Loader(source, Augmenter(Policy(), size=(6, 9)), batch_size=2, on_error="skip")
    with pytest.warns(UserWarning, match="1 sample"):
        ids = np.concatenate([batch.sample_ids for batch in loader])
    assert sorted(ids) == [0, 2]
    assert [skipped.name for skipped in loader.skipped] == ["s.parquet/1"]


def test_many_rows_that_lack_something_are_counted(tmp_path):
    path = write(tmp_path / "s.parquet", table_of(0, 9, label=[None, 1, 2, *[None] * 6]))
    with pytest.raises(ValueError, match="rows lack something") as caught:
        ParquetSource(path, label="label")
    message = str(caught.value)
    assert message.startswith("7 of 9 rows lack something")
    assert "; and 4 more. Write those shards anew" in message


def test_an_empty_file_may_have_labels_of_another_kind(tmp_path):
    write(tmp_path / "a.parquet", table_of(0, 1).slice(0, 0))
    write(tmp_path / "b.parquet", table_of(0, 2, label=["x", "y"]))
    assert ParquetSource(tmp_path / "*.parquet", label="label").class_names == ["x", "y"]


def test_a_file_of_another_schema(tmp_path):
    write(tmp_path / "a.parquet", table_of(0, 2, label=["x", "y"]))
    write(tmp_path / "b.parquet", table_of(2, 4))
    with pytest.raises(
        ValueError, match=r"labels of .*b\.parquet are whole numbers, those of .*a\.pa"
    ):
        ParquetSource(tmp_path / "*.parquet", label="label")
    write(tmp_path / "b.parquet", pa.table({"photo": [picture(1)], "label": ["x"]}))
    with pytest.raises(
        ValueError, match=r"b\.parquet has no column 'image'; it has \['photo', 'la"
    ):
        ParquetSource(tmp_path / "*.parquet")
    write(tmp_path / "b.parquet", pa.table({"image": ["b.png"]}))
    with pytest.raises(ValueError, match=r"b\.parquet has string in column 'image'; pictures are"):
        ParquetSource(tmp_path / "*.parquet")


def test_two_columns_of_one_name(tmp_path):
    table = pa.table([[picture(0)], [1], [2]], ["image", "n", "n"])
    with pytest.raises(ValueError, match="more than one column 'n'"):
        ParquetSource(write(tmp_path / "s.parquet", table), label="n")


def test_a_damaged_label_page_is_refused(tmp_path):
    path = write(tmp_path / "s.parquet", table_of(0, 12))
    spoil(path, chunk_of(path, 1, "label")[0], 12)
    with pytest.raises(ValueError, match=r"The file .*s\.parquet is damaged; pyarrow says: "):
        ParquetSource(path, label="label")
    assert len(ParquetSource(path)) == 12
