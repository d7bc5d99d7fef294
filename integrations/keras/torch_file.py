"""Read the tensors of a legacy PyTorch file without PyTorch, and without running its code.

A file that `torch.save` wrote before PyTorch 1.6 is five pickles (magic number, protocol version,
system facts, the saved object, the list of storage keys), then for each key an int64 count and the
raw values. A pickle can name any function of any module and call it; here only the names that a
dictionary of tensors needs are understood, every other one is refused.
"""

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # of torch.serialization
PROTOCOL_VERSION = 1001
STORAGE_DTYPES = {  # values are little-endian on disk
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<?",
}


def read_torch_file(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read a dictionary of tensors, a `state_dict`, out of a legacy `.pth` file.

    Parameters
    ----------
    path : str or Path
        A file of `torch.save(model.state_dict())` in the format before PyTorch 1.6.

    Returns
    -------
    dict of str to ndarray
        In the order of the file; shapes and types as saved, each array with memory of its own.

    Raises
    ------
    ValueError
        If the file is of another format, is cut short, or names anything but tensors.
    FileNotFoundError
        If there is no such file.

    Source
    ------
    `torch.serialization._legacy_load` and `torch._utils._rebuild_tensor_v2`, described, not copied.
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except (
            pickle.UnpicklingError,
            EOFError,
            struct.error,
            AttributeError,
            IndexError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(f"{path} is not a legacy PyTorch file of tensors: {error}") from error


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _TensorUnpickler(file).load() != MAGIC_NUMBER:
        raise ValueError("its magic number is another")
    if _TensorUnpickler(file).load() != PROTOCOL_VERSION:
        raise ValueError(f"its protocol is not {PROTOCOL_VERSION}")
    if not _TensorUnpickler(file).load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    unpickler = _TensorUnpickler(file)
    tensors = unpickler.load()
    for key in _TensorUnpickler(file).load():
        unpickler.storages.pop(key).fill_from(file)
    if unpickler.storages:
        raise ValueError(f"it holds no values for storage {next(iter(unpickler.storages))}")
    return {str(name): tensor.to_array() for name, tensor in tensors.items()}


class _Storage:
    """A flat run of numbers, promised by the pickle and filled from the end of the file."""

    def __init__(self, dtype: str, count: int) -> None:
        self.dtype = np.dtype(dtype)
        self.count = count
        self.values: NDArray[Any] = np.empty(0, self.dtype)

    def fill_from(self, file: BinaryIO) -> None:
        (count,) = struct.unpack("<q", file.read(8))
        if count != self.count:
            raise ValueError(f"a storage of {self.count} values is followed by {count}")
        data = file.read(count * self.dtype.itemsize)
        self.values = np.frombuffer(data, self.dtype)
        if self.values.size != count:
            raise EOFError("it ends in the middle of the values")


class _Tensor:
    """A view into a storage: offset, shape and strides, counted in values."""

    def __init__(self, storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> None:
        self.storage, self.offset = storage, offset
        self.shape, self.stride = tuple(shape), tuple(stride)

    def to_array(self) -> NDArray[Any]:
        values, itemsize = self.storage.values, self.storage.dtype.itemsize
        last = self.offset
        for size, step in zip(self.shape, self.stride, strict=True):
            if size < 0 or step < 0 or self.offset < 0:
                raise ValueError(f"a tensor of shape {self.shape} has strides {self.stride}")
            last += (size - 1) * step
        if 0 not in self.shape and max(last + 1, math.prod(self.shape)) > values.size:
            raise ValueError(f"a tensor of shape {self.shape} reaches past its storage")
        strides = [step * itemsize for step in self.stride]
        return np.array(as_strided(values[self.offset :], self.shape, strides), order="C")


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows tensors, their storages and OrderedDict, and nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not part of a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or view is not None or dtype not in STORAGE_DTYPES.values():
            raise pickle.UnpicklingError(f"it holds a reference of an unknown kind: {kind!r}")
        return self.storages.setdefault(key, _Storage(dtype, count))
