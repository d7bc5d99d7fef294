"""Parquet files by pyarrow, through a store: footers, and the pictures of single row groups."""

import io
import zlib
from typing import Any, NamedTuple

from .shard_store import ShardStore, Stamp

MAGIC = b"PAR1"
_TAIL = 2**16  # bytes read at first: few footers are longer


class UnfitError(ValueError):
    """A file that is no Parquet file, or not of these columns; goes on from the file's name."""


class Footer(NamedTuple):
    """What tells one version of a Parquet file from another: where everything lies in it.

    Attributes
    ----------
    stamp : Stamp
    length : int
        Bytes from the beginning of the footer to the end of the file.
    crc : int
        CRC-32 of them.
    """

    stamp: Stamp
    length: int
    crc: int


class StoredFile(io.RawIOBase):
    """A file of a store, as pyarrow reads it: exactly the ranges it asks for.

    Parameters
    ----------
    store : ShardStore
    path : str
    stamp : Stamp

    Attributes
    ----------
    failure : OSError or None
        What the store raised; pyarrow's own errors are OSErrors too.
    """

    def __init__(self, store: ShardStore, path: str, stamp: Stamp) -> None:
        self._store, self._path, self.stamp = store, path, stamp
        self._at = 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; see `io.IOBase.seek`."""
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.stamp.size}
        self._at = bases[whence] + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer only where the file ends."""
        left = max(0, self.stamp.size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        data = self.read_at(self._at, length)
        self._at += length
        return data

    def read_at(self, start: int, length: int) -> bytes:
        """Return the bytes of a range."""
        try:
            return self._store.read(self._path, start, length, self.stamp)
        except OSError as error:
            self.failure = error
            raise


def read_footer(file: StoredFile) -> tuple[Footer, Any]:
    """Return the footer of a file, and pyarrow's FileMetaData.

    Raises
    ------
    UnfitError
        If it is empty, cut off, encrypted, or no Parquet file.
    OSError, ValueError
        If it cannot be read (`StoredFile.failure`), or pyarrow cannot parse it.
    """
    size = file.stamp.size
    if size == 0:
        raise UnfitError("is empty (0 bytes)")
    tail = file.read_at(max(0, size - _TAIL), min(size, _TAIL))
    if len(tail) < 12 or tail[-4:] != MAGIC:
        raise UnfitError(_without_footer(file, tail))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size - len(MAGIC):
        raise UnfitError(f"is damaged: its footer would be {length} of its {size} bytes")
    if length > len(tail):
        tail = file.read_at(size - length, length)
    footer = tail[-length:]
    return Footer(file.stamp, length, zlib.crc32(footer)), _parsed(footer)


def _without_footer(file: StoredFile, tail: bytes) -> str:
    if tail[-4:] == b"PARE":
        return "is encrypted, which is not supported"
    head = file.read_at(0, min(4, file.stamp.size))
    if head == MAGIC:
        return (
            f"is cut off: it begins as a Parquet file, but the footer at the end of its "
            f"{file.stamp.size} bytes is missing. Write or copy it again"
        )
    return f"is no Parquet file: it begins with {head!r}, not with {MAGIC!r}"


def _parsed(footer: bytes) -> Any:
    return parquet_module().read_metadata(io.BytesIO(footer))


def open_parquet(file: StoredFile, metadata: Any) -> Any:
    """Return pyarrow's ParquetFile, which reads nothing until it is asked for a column."""
    import pyarrow

    return parquet_module().ParquetFile(
        pyarrow.PythonFile(file, mode="r"),
        metadata=metadata,
        pre_buffer=False,  # no threads of pyarrow's own: the loader has its pool
        page_checksum_verification=True,
    )


def read_pictures(
    store: ShardStore, path: str, footer: Footer, group: int, column: str, num_rows: int
) -> Any:
    """Read the encoded pictures of a row group.

    Parameters
    ----------
    store : ShardStore
    path : str
    footer : Footer
        What the file had when its rows were listed. It is read again with each group: it says where
        the group lies, and that the file is still the same.
    group : int
        Within the file.
    column : str
        See `image_column`.
    num_rows : int
        Of the group.

    Returns
    -------
    pyarrow.ChunkedArray of binary

    Raises
    ------
    OSError, ValueError
        If the file is another, or cannot be read or decoded there.
    """
    file = StoredFile(store, path, footer.stamp)
    found = file.read_at(footer.stamp.size - footer.length, footer.length)
    if zlib.crc32(found) != footer.crc:
        raise ValueError("the file was replaced: its footer is not the one that it had")
    with open_parquet(file, _parsed(found)) as parquet:
        return pictures_of(parquet, group, column, num_rows)


def pictures_of(parquet: Any, group: int, column: str, num_rows: int) -> Any:
    """Return the pictures of a row group of an open file; see `read_pictures`."""
    table = parquet.read_row_group(group, columns=[column], use_threads=False)
    pictures = table.column(0)
    if len(pictures) != num_rows:
        raise ValueError(f"the row group holds {len(pictures)} rows, not {num_rows}")
    return pictures.flatten()[0] if is_struct(pictures.type) else pictures


def is_struct(data_type: Any) -> bool:
    """Tell whether a column is one of structs."""
    import pyarrow

    return bool(pyarrow.types.is_struct(data_type))


def image_column(schema: Any, image: str) -> str:
    """Return the path of the column with the bytes: "image", or "image.bytes" of a struct.

    Parameters
    ----------
    schema : pyarrow.Schema
    image : str

    Raises
    ------
    UnfitError
        If there is no such column, or it holds something else.
    """
    data_type = column_type(schema, image, "image")
    if is_struct(data_type) and data_type.get_field_index("bytes") >= 0:
        if _is_binary(data_type.field("bytes").type):
            return f"{image}.bytes"
    if not _is_binary(data_type):
        raise UnfitError(
            f"has {data_type} in column {image!r}; pictures are binary, or a struct with `bytes`. "
            "Name another column as `image`"
        )
    return image


def column_type(schema: Any, column: str, argument: str) -> Any:
    """Return the pyarrow type of a column; raises UnfitError if there is none, or two."""
    names = list(schema.names)
    if names.count(column) == 1:
        return schema.field(column).type
    what = "no column" if column not in names else "more than one column"
    raise UnfitError(f"has {what} {column!r}; it has {names}. Correct `{argument}`")


def _is_binary(data_type: Any) -> bool:
    import pyarrow.types as types

    checks = [types.is_binary, types.is_large_binary]
    checks.append(getattr(types, "is_binary_view", types.is_binary))  # not in every pyarrow
    return any(check(data_type) for check in checks)


def parquet_module() -> Any:
    """Return `pyarrow.parquet`; raises ModuleNotFoundError that says how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ModuleNotFoundError(
            "Parquet files are read through pyarrow: pip install 'fusewarp[parquet]'."
        ) from error
    return pyarrow.parquet
