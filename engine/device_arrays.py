"""Pictures that lie on a CUDA device already, of whatever library, as an array of ours."""

from typing import Any

from .device_batch import CUDA, DeviceBatch
from .dlpack import read_dlpack

SOURCE_DTYPES = ("uint8", "uint16", "float32")
DEFAULT = 1  # the number of CUDA's legacy default stream


def device_array(cuda: Any, images: Any, index: int, stream: Any) -> Any:
    """Return a device array of the same memory, which `stream` may read.

    Parameters
    ----------
    cuda : module
        `fusewarp.kernels.cuda`.
    images : (n, H, W, C) array
        A `DeviceBatch`, a device array of Numba, or anything with ``__dlpack__`` or
        ``__cuda_array_interface__``.
    index : int
        The device it must lie on.
    stream : CUDA stream
        Is made to wait for what still writes the array.

    Raises
    ------
    TypeError, ValueError
        If it is no such array, lies elsewhere, or is not C-contiguous.
    """
    array = _as_device_array(cuda, images, index, stream)
    if len(array.shape) != 4 or 0 in array.shape:
        raise ValueError(
            f"`images` needs 4 axes (n, height, width, channels), got shape {tuple(array.shape)}."
        )
    if str(array.dtype) not in SOURCE_DTYPES:
        raise TypeError(f"`images` needs dtype {', '.join(SOURCE_DTYPES)}, got {array.dtype}.")
    if not array.is_c_contiguous():
        raise ValueError(
            "`images` must be C-contiguous; make a copy that is (PyTorch: `images.contiguous()`, "
            "CuPy: `cupy.ascontiguousarray(images)`)."
        )
    return array


def _as_device_array(cuda: Any, images: Any, index: int, stream: Any) -> Any:
    if isinstance(images, DeviceBatch):
        return _from_batch(images, index, stream)
    if hasattr(images, "copy_to_host") and hasattr(images, "is_c_contiguous"):
        return _from_numba(cuda, images, stream)
    if hasattr(images, "__dlpack__"):  # first: PyTorch's interface does not name its stream
        return _from_dlpack(cuda, images, index, stream)
    if hasattr(images, "__cuda_array_interface__"):
        return _from_interface(cuda, images, stream)
    raise TypeError(
        f"`images` must be a NumPy array, a list of them, or an array on cuda:{index} with "
        f"`__dlpack__` or `__cuda_array_interface__`; got {type(images).__name__}."
    )


def _from_batch(batch: DeviceBatch, index: int, stream: Any) -> Any:
    if batch.device != f"cuda:{index}":
        raise ValueError(
            f"`images` lies on {batch.device}, the Augmenter works on cuda:{index}. Make both "
            "Augmenters with the same `device`."
        )
    if batch.dtype.name not in SOURCE_DTYPES:  # bfloat16 would pass for the uint16 it lies in
        raise TypeError(f"`images` needs dtype {', '.join(SOURCE_DTYPES)}, got {batch.dtype}.")
    return batch.read_by(stream)


def _from_numba(cuda: Any, images: Any, stream: Any) -> Any:
    written = cuda.new_event()
    written.record(images.stream or cuda.foreign_stream(DEFAULT))
    written.wait(stream)
    return images


def _from_interface(cuda: Any, images: Any, stream: Any) -> Any:
    interface = images.__cuda_array_interface__
    writer = interface.get("stream")
    if writer is not None:
        written = cuda.new_event()
        written.record(cuda.foreign_stream(writer))
        written.wait(stream)
    return cuda.wrap_memory({**interface, "stream": None}, images)


def _from_dlpack(cuda: Any, images: Any, index: int, stream: Any) -> Any:
    device = tuple(int(part) for part in images.__dlpack_device__())
    if device != (CUDA, index):
        raise ValueError(
            f"`images` lies on DLPack device {device}, the Augmenter works on cuda:{index}. "
            "Move it there, or pass host arrays (`np.asarray(images)`)."
        )
    imported = _imported(cuda, images, stream)
    interface = {
        "shape": imported.shape,
        "strides": None,
        "typestr": {"uint8": "|u1", "uint16": "<u2", "float32": "<f4"}.get(imported.dtype),
        "data": (imported.address, False),
        "version": 3,
    }
    if interface["typestr"] is None:
        raise TypeError(f"`images` needs dtype {', '.join(SOURCE_DTYPES)}, got {imported.dtype}.")
    if imported.strides is not None:
        interface["strides"] = _byte_strides(imported)
    return cuda.wrap_memory(interface, imported)


def _imported(cuda: Any, images: Any, stream: Any) -> Any:
    try:
        return read_dlpack(images, stream=cuda.stream_pointer(stream))
    except RuntimeError:  # TensorFlow knows no streams: what it has queued has to be done first
        cuda.wait_for_device()
        return read_dlpack(images)


def _byte_strides(imported: Any) -> tuple[int, ...]:
    itemsize = {"uint8": 1, "uint16": 2, "float32": 4}[imported.dtype]
    return tuple(stride * itemsize for stride in imported.strides)
