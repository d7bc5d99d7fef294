"""Labels, weights and names in the columns of Parquet files."""

import numpy as np
import pytest

from fusewarp import ParquetSource

pa = pytest.importorskip("pyarrow")

from oracles.parquet_files import table_of, write  # noqa: E402

LABELS = [
    (pa.array(list("babcab")), [1, 0, 1, 2, 0, 1], ["a", "b", "c"]),
    (pa.array(list("babcab"), pa.large_string()), [1, 0, 1, 2, 0, 1], ["a", "b", "c"]),
    (pa.array(list("babcab")).dictionary_encode(), [1, 0, 1, 2, 0, 1], ["a", "b", "c"]),
    (pa.array([5, 0, 5, 7, -1, 2], pa.int8()), [5, 0, 5, 7, -1, 2], []),
    (pa.array([5, 0, 5, 7, 1, 2**62], pa.uint64()), [5, 0, 5, 7, 1, 2**62], []),
    (pa.array([True, False] * 3), [1, 0] * 3, []),
    (pa.array([0.5, 2, -3.25, 0, 0, 1]), [0.5, 2, -3.25, 0, 0, 1], []),
    (pa.array(np.array([0.5, 2, -3.25, 0, 0, 1], np.float16)), [0.5, 2, -3.25, 0, 0, 1], []),
]


@pytest.mark.parametrize(("values", "expected", "classes"), LABELS)
def test_labels(tmp_path, values, expected, classes):
    path = write(tmp_path / "s.parquet", table_of(0, 6, label=values))
    source = ParquetSource(path, label="label")
    assert (source.labels.tolist(), source.class_names) == (expected, classes)
    assert source.labels.dtype == (np.float32 if -3.25 in expected else np.int64)


def test_class_names_are_looked_up_or_counted(tmp_path):
    path = write(tmp_path / "s.parquet", table_of(0, 3, label=["b", "a", "b"]))
    source = ParquetSource(path, label="label", class_names=["c", "b", "a"])
    assert (source.labels.tolist(), source.class_names) == ([1, 2, 1], ["c", "b", "a"])
    source = ParquetSource(
        write(tmp_path / "s.parquet", table_of(0, 6)), label="label", class_names=["x", "y", "z"]
    )
    assert (source.labels[:3].tolist(), source.class_names) == ([0, 1, 2], ["x", "y", "z"])


def test_texts_of_several_files_share_their_classes(tmp_path):
    write(tmp_path / "a.parquet", table_of(0, 2, label=["dog", "cat"]))
    write(tmp_path / "b.parquet", table_of(2, 3, label=pa.array(["ant"]).dictionary_encode()))
    source = ParquetSource(tmp_path / "*.parquet", label="label")
    assert (source.labels.tolist(), source.class_names) == ([2, 1, 0], ["ant", "cat", "dog"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None, "b"], r"s\.parquet/1 has no label in column 'label' \(None\)"),
        (["a", "", "b"], r"s\.parquet/1 has no label in column 'label' \(''\)"),
        ([1, None, 2], r"s\.parquet/1 has no label in column 'label' \(None\)"),
        ([0.5, None, 2], r"s\.parquet/1 has no label in column 'label' \(None\)"),
        ([0.5, float("nan"), 2], r"s\.parquet/1 has no label in column 'label' \(nan\)"),
        ([0.5, float("-inf"), 2], r"s\.parquet/1 has no label in column 'label' \(-inf\)"),
    ],
)
def test_rows_without_labels(tmp_path, values, message):
    path = write(tmp_path / "s.parquet", table_of(0, 3, label=values))
    with pytest.raises(ValueError, match=f"1 of 3 rows lack something: {message}"):
        ParquetSource(path, label="label")
    source = ParquetSource(path, label="label", on_error="skip")
    assert list(source.names) == ["s.parquet/0", "s.parquet/2"]
    assert source.labels.tolist() == ([0, 1] if values[0] == "a" else [values[0], 2])
    assert len(ParquetSource(path)) == 3


@pytest.mark.parametrize("weight", [None, -1.0, float("nan"), float("inf")])
def test_rows_without_weights(tmp_path, weight):
    path = write(tmp_path / "s.parquet", table_of(0, 2, w=[1.0, weight]))
    with pytest.raises(ValueError, match=r"s\.parquet/1 has no weight of at least 0 in column 'w'"):
        ParquetSource(path, weight="w")


def test_labels_that_do_not_fit_64_bits(tmp_path):
    table = table_of(0, 2, label=pa.array([1, 2**63], pa.uint64()))
    with pytest.raises(ValueError, match=r"s\.parquet has a label above 2\*\*63 - 1 in column"):
        ParquetSource(write(tmp_path / "s.parquet", table), label="label")
