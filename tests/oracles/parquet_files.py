"""Parquet files as other programs write them, by pyarrow."""

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fusewarp.engine.shard_store import ShardStore
from oracles.shards import picture


def table_of(first: int, stop: int, **columns) -> pa.Table:
    """Return the rows `first` to `stop`: picture n, its label n % 3, and what else is given."""
    numbers = range(first, stop)
    own = {"image": [picture(n) for n in numbers], "label": [n % 3 for n in numbers]}
    return pa.table({**own, **columns})


def write(path, table: pa.Table, rows: int = 4, **options) -> str:
    """Write a file with row groups of `rows`; return its path."""
    pq.write_table(table, path, row_group_size=rows, **options)
    return str(path)


def as_structs(pictures, paths=None) -> pa.Array:
    """Return pictures as Hugging Face's `datasets` keeps them."""
    paths = paths or [f"{i}.png" for i in range(len(pictures))]
    rows = [{"bytes": b, "path": p} for b, p in zip(pictures, paths, strict=True)]
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def chunk_of(path, group: int, column: str) -> tuple[int, int]:
    """Return where the bytes of a column of a row group begin, and how many there are."""
    group_data = pq.read_metadata(path).row_group(group)
    chunks = [group_data.column(i) for i in range(group_data.num_columns)]
    (chunk,) = (chunk for chunk in chunks if chunk.path_in_schema == column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, chunk.total_compressed_size


def footer_of(path) -> tuple[int, int]:
    """Return where the footer of a file begins, and how many bytes there are to its end."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    return len(content) - length, length


def spoil(path, start: int, length: int) -> None:
    """Write other bytes over a part of a file, which keeps its size."""
    with open(path, "r+b") as file:
        file.seek(start)
        old = file.read(length)
        file.seek(start)
        file.write(bytes(byte ^ 0x55 for byte in old))


def note_reads(monkeypatch) -> list[tuple[str, int, int]]:
    """Return a list that each read of a store is added to: (file, start, length)."""
    noted, lock, read = [], threading.Lock(), ShardStore.read

    def noting(self, path, start, length, stamp):
        with lock:
            noted.append((os.path.basename(path), start, length))
        return read(self, path, start, length, stamp)

    monkeypatch.setattr(ShardStore, "read", noting)
    return noted
