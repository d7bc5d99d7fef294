"""Arrays handed to other libraries, and taken from them, without a copy: DLPack, on any device.

`DLPackBuffer` gives memory away, `read_dlpack` takes it. Nothing here touches the memory itself,
so a CUDA device needs no driver. Written after

- dlpack.h, https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h (the structs below),
- https://dmlc.github.io/dlpack/latest/python_spec.html (capsules, their names, who deletes),
- https://data-apis.org/array-api/latest/API_specification/generated/array_api.array.__dlpack__.html
  (streams, versions, copies).

A capsule for export is made by NumPy, of a stand-in array that has our address, shape and owner;
then its struct is told the true device and dtype. The reason is the deleter. It may be called by a
thread that Python has never seen, without the GIL, while an exception is under way, or after the
interpreter has ended. NumPy's, in C, is right in each case; a ctypes callback turns the consumer's
exception into a SystemError and crashes after the end.
"""

import ctypes
import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # DLDeviceType: kDLCPU, kDLCUDA, kDLCUDAManaged

# DLDataTypeCode (kDLInt 0, kDLUInt 1, kDLFloat 2, kDLBfloat 4) and bits
_DTYPES = {"uint8": (1, 8), "uint16": (1, 16), "int64": (0, 64)}
_DTYPES |= {"float16": (2, 16), "float32": (2, 32), "bfloat16": (4, 16)}
_NAMES = {code_and_bits: name for name, code_and_bits in _DTYPES.items()}

_MAX_VERSION = (1, 0)  # minor versions only add enumeration values
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY


class _DLDevice(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DLDataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", _DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_MANAGER = (("manager_ctx", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _DLManagedTensor(ctypes.Structure):
    _fields_ = (("dl_tensor", _DLTensor), *_MANAGER)


class _DLManagedTensorVersioned(ctypes.Structure):
    _VERSION = (("major", ctypes.c_uint32), ("minor", ctypes.c_uint32))
    _fields_ = (*_VERSION, *_MANAGER, ("flags", ctypes.c_uint64), ("dl_tensor", _DLTensor))


_LAYOUTS: dict[bytes, type[ctypes.Structure]] = {
    b"dltensor": _DLManagedTensor,
    b"dltensor_versioned": _DLManagedTensorVersioned,
}
_USED_NAMES = {name: b"used_" + name for name in _LAYOUTS}

_Capsule = type(np.empty(0, np.uint8).__dlpack__())


def _python_api(name: str, result: Any, *arguments: Any) -> Any:
    # `ctypes.pythonapi.f.argtypes` is shared with everyone in the process; this prototype is ours.
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_Name, _Object = ctypes.c_char_p, ctypes.py_object
_get_name = _python_api("PyCapsule_GetName", _Name, _Object)
_get_pointer = _python_api("PyCapsule_GetPointer", ctypes.c_void_p, _Object, _Name)
_set_name = _python_api("PyCapsule_SetName", ctypes.c_int, _Object, _Name)

for _used_name in _USED_NAMES.values():  # a capsule keeps the pointer: it must never be freed
    _python_api("Py_IncRef", None, _Object)(_used_name)

# Called with the GIL: the specification does not ask for it, but older producers need it.
_Deleter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


@dataclass(frozen=True, eq=False)
class DLPackBuffer:
    """C-contiguous memory that any DLPack consumer can take: `np.from_dlpack(buffer)`.

    Each call of `__dlpack__` is an export of its own. May be called by several threads at once.

    Parameters
    ----------
    address : int
        Of the first byte, on `device`; a multiple of the item's size. Only without elements 0.
    shape : tuple of int
        Lengths of the axes, slowest first.
    dtype : {"uint8", "uint16", "int64", "float16", "float32", "bfloat16"}
        Of the elements, in native byte order.
    device : (int, int)
        DLPack's device type and the index: `(CPU, 0)` or `(CUDA, index)`.
    owner : object
        What keeps the memory alive. It is held by this buffer, and by each export until its
        consumer lets go, or the capsule dies unconsumed; on whichever thread that happens.
    order_after : callable, optional
        `order_after(stream)` is called at each export, and has to make the consumer's `stream` wait
        for the writing of this memory. `stream` is a CUDA stream as an integer, 1 the legacy
        default stream, 2 the per-thread one; None (legacy default on CUDA) where nothing was said.
        Not called for -1, with which a consumer asks for no ordering.
    read_only : bool, optional
        Whether consumers must not write. Capsules of before DLPack 1.0 cannot say so: refused.

    Raises
    ------
    TypeError, ValueError
        An argument that is none of the above.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    device: tuple[int, int]
    owner: object = field(repr=False)
    order_after: Callable[[int | None], None] | None = field(default=None, repr=False)
    read_only: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise TypeError(f"`dtype` must be one of {', '.join(_DTYPES)}, got {self.dtype!r}.")
        if any(length < 0 for length in self.shape):
            raise ValueError(f"`shape` must have lengths of 0 or more, got {self.shape}.")
        if self.device[0] not in (CPU, CUDA):
            raise ValueError(f"`device` must be (1, 0) or (2, index), got {self.device}.")
        self._check_address()

    def _check_address(self) -> None:
        itemsize = _DTYPES[self.dtype][1] // 8
        if self.address % itemsize or (self.address == 0 and math.prod(self.shape)):
            raise ValueError(
                f"`address` must be that of {self.dtype} elements, a multiple of {itemsize} and "
                f"not 0, got {self.address:#x}."
            )

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's device type (1: CPU, 2: CUDA) and the index of the device."""
        return self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a capsule of this memory; arguments as in the Python array API standard.

        `stream` is the consumer's (on the CPU only None). From `max_version=(1, 0)` on the capsule
        is a versioned one (before NumPy 2.1 it never is). `dl_device` may only be the buffer's
        own. BufferError: a copy or another device is wanted, or a read-only buffer by an older
        DLPack. ValueError: no stream of this device.
        """
        if copy:
            raise BufferError("`copy=True`: this buffer is only shared; copy what you receive.")
        if dl_device is not None and tuple(dl_device) != tuple(self.device):
            raise BufferError(
                f"`dl_device={tuple(map(int, dl_device))}`: this buffer stays on device "
                f"{self.device}; take it there and move it with your own library."
            )
        self._order(stream)
        is_versioned = max_version is not None and tuple(max_version) >= (1, 0)
        stand_in = _stand_in(self)
        return self._label(_request(stand_in) if is_versioned else stand_in.__dlpack__())

    def _order(self, stream: int | None) -> None:
        if stream is not None and (self.device[0] == CPU or stream < -1 or stream == 0):
            raise ValueError(
                f"`stream` must be None on the CPU; on CUDA None, -1, 1, 2 or the stream's "
                f"address, but not 0, which is ambiguous: got {stream} on device {self.device}."
            )
        if self.order_after is not None and stream != -1:
            self.order_after(stream)

    def _label(self, capsule: Any) -> Any:
        """Write into NumPy's capsule what the memory is; nobody else has seen it yet."""
        name = _get_name(capsule)
        tensor = _LAYOUTS[name].from_address(_get_pointer(capsule, name)).dl_tensor
        tensor.data = self.address
        tensor.device = _DLDevice(*self.device)
        tensor.dtype = _DLDataType(*_DTYPES[self.dtype], 1)
        return capsule


class _StandIn:
    """The base of an array that NumPy must never read: unsigned integers of the same size."""

    def __init__(self, buffer: DLPackBuffer) -> None:
        itemsize = _DTYPES[buffer.dtype][1] // 8
        self.__array_interface__ = {
            "shape": buffer.shape,
            "typestr": np.dtype(f"u{itemsize}").str,
            "data": (buffer.address or itemsize, buffer.read_only),  # NumPy 1.26 takes no 0
            "version": 3,
        }
        self._owner = buffer.owner


def _stand_in(buffer: DLPackBuffer) -> NDArray[Any]:
    # Not kept in the buffer: the collector does not see cycles through an array.
    return np.asarray(_StandIn(buffer))


def _request(producer: Any, **arguments: Any) -> Any:
    """Return a capsule, a versioned one if the producer knows what that is."""
    try:
        return producer.__dlpack__(max_version=_MAX_VERSION, **arguments)
    except TypeError:
        return producer.__dlpack__(**arguments)


class _Owner:
    """Whose death calls the producer's deleter."""


@dataclass(frozen=True, eq=False)
class Imported:
    """Memory that another library has lent us, for as long as `owner` lives."""

    address: int  # of the first element
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # in elements; None: C-contiguous
    dtype: str
    device: tuple[int, int]
    read_only: bool  # a capsule of before DLPack 1.0 cannot say: False
    owner: object = field(repr=False)  # when it dies the producer's deleter is called, once


def read_dlpack(source: Any, stream: int | None = None) -> Imported:
    """Take the memory of an array of any library, without a copy.

    Parameters
    ----------
    source : object
        Something with `__dlpack__` and `__dlpack_device__`, or a bare capsule, which is used up.
    stream : int, optional
        The CUDA stream that will use the memory: the producer makes it wait for its own work. Only
        passed on for memory of CUDA; a bare capsule was ordered by whoever made it.

    Raises
    ------
    TypeError
        `source` speaks no DLPack, or its elements are of no type listed at `Imported`.
    ValueError
        A capsule that was used already, or is none of DLPack's.
    BufferError
        The producer cannot share this array, or uses a DLPack of another major version.
    """
    if isinstance(source, _Capsule):
        return _take(source)
    if not (hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__")):
        raise TypeError(
            f"`source` needs `__dlpack__` and `__dlpack_device__`, got {type(source).__name__}; "
            "NumPy arrays and the tensors of TensorFlow, PyTorch, JAX and CuPy have them."
        )
    has_streams = source.__dlpack_device__()[0] in (CUDA, CUDA_MANAGED)
    is_told = has_streams and stream is not None
    return _take(_request(source, stream=stream) if is_told else _request(source))


_taking = threading.RLock()  # re-entrant: the collector may run a finaliser that imports


def _take(capsule: Any) -> Imported:
    with _taking:  # of two threads with the same capsule, one gets the tensor
        name = _get_name(capsule)
        if name not in _LAYOUTS:
            raise ValueError(
                f"The capsule is named {name!r}, not 'dltensor' or 'dltensor_versioned': each can "
                "be used once, so call `__dlpack__()` again."
            )
        pointer = _get_pointer(capsule, name)
        managed = _LAYOUTS[name].from_address(pointer)
        owner = _Owner()
        imported = _describe(managed, owner)
        _set_name(capsule, _USED_NAMES[name])
    if managed.deleter:
        weakref.finalize(owner, _Deleter(managed.deleter), pointer).atexit = False
    return imported


def _describe(managed: Any, owner: object) -> Imported:
    is_versioned = isinstance(managed, _DLManagedTensorVersioned)
    if is_versioned and managed.major != _MAX_VERSION[0]:
        raise BufferError(f"The tensor is of DLPack {managed.major}.{managed.minor}; 1.x is read.")
    tensor = managed.dl_tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    return Imported(
        address=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        strides=_strides(tensor, shape),
        dtype=_dtype_name(tensor.dtype),
        device=(tensor.device.device_type, tensor.device.device_id),
        read_only=is_versioned and bool(managed.flags & _READ_ONLY),
        owner=owner,
    )


def _dtype_name(dtype: Any) -> str:
    name = _NAMES.get((dtype.code, dtype.bits))
    if name is None or dtype.lanes != 1:
        raise TypeError(
            f"The tensor has elements of DLPack type code {dtype.code}, {dtype.bits} bits, lanes "
            f"{dtype.lanes}; they must be {', '.join(_DTYPES)} (lanes 1): convert them first."
        )
    return name


def _strides(tensor: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the strides in elements, or None if stepping by them is reading in order."""
    if not tensor.strides or 0 in shape:  # before DLPack 1.2, NULL is C-contiguous
        return None
    strides = tuple(tensor.strides[: tensor.ndim])
    steps = (math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    in_order = (s == t or length == 1 for s, t, length in zip(strides, steps, shape, strict=True))
    return None if all(in_order) else strides
