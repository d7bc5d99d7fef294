"""Columns of Parquet files as arrays: labels, numbers and names, and which rows lack them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parquet_file import UnfitError
from .tar_labels import ShardLabels

Mask = NDArray[np.bool_]


def label_values(values: Any, column: str) -> Any:
    """Return a label column as text or numbers of 64 bits.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        Of text, whole numbers, booleans or numbers, or of a dictionary of these.
    column : str
        For the message.

    Returns
    -------
    pyarrow.ChunkedArray of large_string, int64, or float64 with NaN for null

    Raises
    ------
    UnfitError
        If it holds something else.
    """
    import pyarrow as pa

    values = _plain(values)
    if _is_text(values.type):
        return values.cast(pa.large_string())
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return _as_int64(values, column)
    if pa.types.is_floating(values.type):
        return pa.chunked_array([_as_float64(values)])
    raise UnfitError(
        f"has {values.type} in column {column!r}; labels are text, whole numbers or numbers"
    )


def _as_int64(values: Any, column: str) -> Any:
    import pyarrow as pa

    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UnfitError(f"has a label above 2**63 - 1 in column {column!r} ({error})") from error


def without_label(values: Any) -> Mask:
    """Tell which rows of `label_values` hold null, an empty text, NaN or infinity."""
    import pyarrow as pa

    bad = is_null(values)
    if pa.types.is_large_string(values.type):
        import pyarrow.compute as pc

        bad |= _to_numpy(pc.equal(values, "").fill_null(True))
    elif pa.types.is_floating(values.type):
        bad |= ~np.isfinite(_to_numpy(values))
    return bad


def shard_labels(values: Any) -> ShardLabels:
    """Return the labels of a file; `values` as from `label_values`, without nulls."""
    import pyarrow as pa

    if not pa.types.is_large_string(values.type):
        return ShardLabels(_to_numpy(values).copy())
    encoded = values.dictionary_encode().combine_chunks()
    found = np.array(encoded.dictionary.to_pylist(), object)
    texts, places = np.unique(found, return_inverse=True)
    codes = places.reshape(-1).astype(np.int64)[encoded.indices.to_numpy()]
    return ShardLabels(codes, texts.tolist())


def weight_values(values: Any, column: str) -> NDArray[np.float64]:
    """Return a column of numbers, (n,) float64, with NaN for null; raises UnfitError for others."""
    import pyarrow as pa

    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise UnfitError(f"has {values.type} in column {column!r}; weights are numbers")
    return _as_float64(values)


def name_values(values: Any, column: str) -> list[bytes]:
    """Return a column of text or whole numbers as UTF-8, empty for null; raises UnfitError."""
    import pyarrow as pa

    values = _plain(values)
    if not (_is_text(values.type) or pa.types.is_integer(values.type)):
        raise UnfitError(f"has {values.type} in column {column!r}; names are text or whole numbers")
    return [b"" if name is None else str(name).encode() for name in values.to_pylist()]


def is_null(values: Any) -> Mask:
    """Tell which rows hold null."""
    nulls: Mask = _to_numpy(values.is_null()).copy()
    return nulls


def _plain(values: Any) -> Any:
    """Return a column with the values of its dictionary, if it has one."""
    import pyarrow as pa

    is_dictionary = pa.types.is_dictionary(values.type)
    return values.cast(values.type.value_type) if is_dictionary else values


def _is_text(data_type: Any) -> bool:
    import pyarrow.types as types

    is_view = getattr(types, "is_string_view", types.is_string)  # not in every pyarrow
    return any(check(data_type) for check in (types.is_string, types.is_large_string, is_view))


def _as_float64(values: Any) -> NDArray[np.float64]:
    """Return numbers with NaN for null; not every pyarrow casts those of 16 bits."""
    return _to_numpy(values).astype(np.float64)


def _to_numpy(values: Any) -> NDArray[Any]:
    array: NDArray[Any] = values.to_numpy()
    return array
