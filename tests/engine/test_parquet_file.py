"""Parquet files of all kinds, and what is none."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from fusewarp import ParquetSource, SampleError
from fusewarp.engine.parquet_file import StoredFile
from fusewarp.engine.shard_store import ShardStore
from oracles.shard_readers import hashes
from oracles.shards import picture, pixels_of

pa = pytest.importorskip("pyarrow")

from oracles.parquet_files import (  # noqa: E402
    as_structs,
    chunk_of,
    footer_of,
    note_reads,
    spoil,
    table_of,
    write,
)


@pytest.mark.parametrize("image_type", [pa.binary(), pa.large_binary(), "struct", "reversed"])
def test_columns_of_pictures(tmp_path, image_type):
    pictures = [picture(n) for n in range(6)]
    if image_type == "struct":
        column = as_structs(pictures)
    elif image_type == "reversed":
        rows = [{"path": "", "bytes": b} for b in pictures]
        column = pa.array(rows, pa.struct({"path": pa.string(), "bytes": pa.large_binary()}))
    else:
        column = pa.array(pictures, image_type)
    table = pa.table({"n": range(6), "photo": column})
    source = ParquetSource(write(tmp_path / "s.parquet", table), image="photo")
    assert hashes(source) == [hashlib.sha1(pixels_of(p).tobytes()).hexdigest() for p in pictures]


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_compressions_and_small_pages(tmp_path, compression):
    path = write(
        tmp_path / "s.parquet",
        table_of(0, 30),
        12,
        compression=compression,
        data_page_size=500,
        data_page_version="2.0",
        use_dictionary=False,
        write_page_checksum=True,
    )
    source = ParquetSource(path)
    for number in (29, 0, 11):
        np.testing.assert_array_equal(source.read(number), pixels_of(picture(number)))


def test_files_that_polars_wrote(tmp_path):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "image": [picture(n) for n in range(6)],
            "kind": pl.Series(list("cabcab"), dtype=pl.Categorical),
            "path": [f"{n}.png" for n in range(6)],
        }
    )
    frame.write_parquet(tmp_path / "flat.parquet", row_group_size=4)
    structs = frame.select(pl.struct(bytes="image", path="path").alias("image"), "kind")
    structs.write_parquet(tmp_path / "structs.parquet", row_group_size=4)
    for file in ("flat", "structs"):
        source = ParquetSource(tmp_path / f"{file}.parquet", label="kind")
        assert (source.labels.tolist(), source.class_names) == ([2, 0, 1] * 2, ["a", "b", "c"])
        np.testing.assert_array_equal(source.read(5), pixels_of(picture(5)))
    holes = pl.DataFrame({"image": [picture(0), None]})
    holes.write_parquet(tmp_path / "holes.parquet")
    assert len(ParquetSource(tmp_path / "holes.parquet", on_error="skip")) == 1


def test_importing_fusewarp_imports_no_pyarrow():
    code = "import sys, fusewarp; sys.exit('pyarrow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fusewarp\[parquet\]'"):
        ParquetSource("s.parquet")


def test_a_long_footer_is_read_in_two(tmp_path, monkeypatch):
    reads = note_reads(monkeypatch)
    many = {f"column_{i}": range(5) for i in range(400)}
    path = write(tmp_path / "s.parquet", table_of(0, 5, **many), 1)
    start, length = footer_of(path)
    assert length > 2**17
    source = ParquetSource(path)
    assert reads[1][1:] == (start, length)
    np.testing.assert_array_equal(source.read(4), pixels_of(picture(4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", r"is empty \(0 bytes\)"),
        (lambda content: b"PAR1", "is cut off"),
        (lambda content: b"abc", r"is no Parquet file: it begins with b'abc'"),
        (lambda content: picture(0), r"is no Parquet file: it begins with b'\\x89PNG'"),
        (lambda content: content[:-1], r"is cut off: .* footer at the end of its \d+ bytes is mis"),
        (lambda content: content[: len(content) // 2], "is cut off"),
        (lambda content: content[:-4] + b"PARE", "is encrypted"),
        (lambda content: content[-12:], "is damaged: its footer would be"),
        (lambda content: content[:-8] + b"\xff" * 4 + b"PAR1", "is damaged: its footer would be"),
        (lambda content: content[:-90] + bytes(82) + content[-8:], "is damaged; pyarrow says: "),
    ],
)
def test_files_that_are_no_whole_parquet_file(tmp_path, change, message):
    for number in (0, 1):
        write(tmp_path / f"data-{number}.parquet", table_of(0, 5))
    path = tmp_path / "data-1.parquet"
    path.write_bytes(change(path.read_bytes()))
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match=rf"The file .*data-1\.parquet {message}"):
            ParquetSource(tmp_path / "*.parquet", on_error=on_error)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_a_page_header_that_is_damaged(tmp_path, compression):
    path = write(tmp_path / "s.parquet", table_of(0, 12), compression=compression)
    start, _ = chunk_of(path, 1, "image")
    spoil(path, start, 12)
    source = ParquetSource(path)
    with pytest.raises(SampleError, match=r"s\.parquet/7 \(row group 1\) cannot be read: "):
        source.read(7)
    np.testing.assert_array_equal(source.read(8), pixels_of(picture(8)))


def test_a_stored_file_reads_as_a_file_does(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(100)))
    store = ShardStore()
    stored = StoredFile(store, str(path), store.stamp(str(path)))
    with open(path, "rb") as expected:
        for offset, whence, size in [(10, 0, 5), (3, 1, 7), (-4, 2, 10), (200, 0, 1), (90, 0, -1)]:
            assert stored.seek(offset, whence) == expected.seek(offset, whence)
            assert stored.read(size) == expected.read(size)
            assert stored.tell() == expected.tell()
    assert stored.readable()
    assert stored.seekable()
    path.unlink()
    fresh = StoredFile(ShardStore(), str(path), stored.stamp)
    with pytest.raises(FileNotFoundError) as caught:
        fresh.read(1)
    assert fresh.failure is caught.value
