"""A batch that lies on a CUDA device, and how other libraries take it without a copy."""

import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cuda_memory import Block, DevicePool
from .dlpack import DLPackBuffer

CPU, CUDA = 1, 2  # device types of DLPack
PER_THREAD = 2  # the number of the default stream that each thread has


class DeviceBatch:
    """Images on a CUDA device; its memory is used again when nobody holds them any more.

    Takes part in DLPack (``__dlpack__``) and, but for bfloat16, in the CUDA array interface:
    ``torch.from_dlpack(batch)``, ``jax.dlpack.from_dlpack(batch)``, ``cupy.from_dlpack(batch)``,
    ``tf.experimental.dlpack.from_dlpack(batch.__dlpack__())``. Each of these waits, on its own
    stream, for the work that fills the batch.

    Attributes
    ----------
    shape : tuple of int
        (n, h, w, C) or (n, C, h, w).
    dtype : dtype
    device : str
        "cuda:0", for example.
    """

    def __init__(
        self,
        cuda: Any,
        pool: DevicePool,
        index: int,
        stream: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.shape, self.dtype, self.device = shape, dtype, f"cuda:{index}"
        self._cuda, self._index, self._stream = cuda, index, stream
        num_bytes = max(math.prod(shape) * dtype.itemsize, 1)
        with cuda.using(index):
            self._block = pool.take(num_bytes, stream)
        self._lease = _Lease(self._block)
        weakref.finalize(self._lease, pool.give_back, self._block).atexit = False
        self._stored = np.dtype(np.uint16) if dtype.name == "bfloat16" else dtype
        self._done: Any = None

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceBatch(shape={self.shape}, dtype={self.dtype}, device={self.device!r})"

    def rows(self, rows: slice) -> Any:
        """Return some rows as `kernels.cuda` takes them, uint16 for bfloat16.

        Not for users: the batch's memory is used again however long such an array is held.
        """
        return self._array[rows]

    @property
    def _array(self) -> Any:
        num_bytes = math.prod(self.shape) * self.dtype.itemsize
        return self._block.memory[:num_bytes].view(self._stored).reshape(self.shape)

    def finish(self) -> None:
        """Note that all the work that fills the batch has been queued."""
        self._done = self._cuda.new_event()
        self._done.record(self._stream)
        self._block.after.append(self._done)

    def read_by(self, stream: Any) -> Any:
        """Return the array for work on another stream, which is made to wait for what fills it."""
        self._check_filled()
        self._done.wait(stream)
        self._block.readers[self._cuda.stream_pointer(stream)] = stream
        return self._array

    def copy_to_host(self) -> NDArray[Any]:
        """Return a copy in the host's memory; waits for what fills the batch."""
        with self._cuda.using(self._index):
            self._wait()
            copied: NDArray[Any] = self._array.copy_to_host(stream=self._stream)
            self._stream.synchronize()
        return copied.view(self.dtype)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        """Refuse what would be a copy that nobody asked for."""
        raise TypeError(
            f"This batch lies on {self.device}. `batch.copy_to_host()` copies it to the host; "
            "DLPack (`__dlpack__`) hands it to PyTorch, JAX, CuPy or TensorFlow where it is."
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The batch for CuPy, Numba and others; its stream is the one that fills it."""
        if self.dtype.name == "bfloat16":
            raise AttributeError("The CUDA array interface has no bfloat16; use DLPack.")
        self._block.has_unknown_reader = True
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._cuda.address_of(self._block.memory), False),
            "strides": None,
            "stream": self._cuda.stream_pointer(self._stream),
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's type and number of the device; the simulator's memory is the host's."""
        return (CPU, 0) if self._cuda.is_simulated() else (CUDA, self._index)

    def __dlpack__(self, **request: Any) -> Any:
        """Return a DLPack capsule; see the Python array API standard for the arguments."""
        self._check_filled()
        if request.get("stream") == -1:  # it will read when it likes
            self._block.has_unknown_reader = True
        buffer = DLPackBuffer(
            self._cuda.address_of(self._block.memory),
            self.shape,
            self.dtype.name,
            self.__dlpack_device__(),
            self._lease,
            self._order_after,
        )
        return buffer.__dlpack__(**request)

    def _order_after(self, stream: int | None) -> None:
        """Let a consumer's stream wait for what fills the batch."""
        with self._cuda.using(self._index):
            if self._cuda.is_simulated():
                return
            if stream is None:  # whoever does not know of streams waits here
                self._block.has_unknown_reader = True
                self._wait()
                return
            if stream == PER_THREAD:  # another thread would take it for its own
                self._block.has_unknown_reader = True
            else:
                self._block.readers.setdefault(stream, None)
            self._done.wait(self._cuda.foreign_stream(stream))

    def _wait(self) -> None:
        self._check_filled()
        self._done.synchronize()

    def _check_filled(self) -> None:
        if self._done is None:
            raise RuntimeError("This batch is still being filled.")


class _Lease:
    """Dies when neither the batch nor anything that was made of it lives."""

    def __init__(self, block: Block) -> None:
        self.block = block
