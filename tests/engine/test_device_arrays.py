"""Arrays of other libraries that lie on a device: what is asked of them, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from fusewarp.engine.device_arrays import device_array

STREAM = 4711


class Tensor:
    """A tensor of CUDA in NumPy's memory; like TensorFlow's it knows no streams, if so wished."""

    def __init__(self, array, device=(2, 0), knows_streams=True):
        self._array, self._device, self._knows = array, device, knows_streams
        self.asked = []

    def __dlpack_device__(self):
        return self._device

    def __dlpack__(self, **request):
        self.asked.append(request.pop("stream", None))
        if self.asked[-1] is not None and not self._knows:
            raise RuntimeError("no export with a non-None stream")
        return self._array.__dlpack__()


def fake_cuda():
    waits = []

    def wrap_memory(interface, owner):
        shape, dtype = interface["shape"], np.dtype(interface["typestr"])
        return SimpleNamespace(
            shape=shape, dtype=dtype, address=interface["data"][0],
            is_c_contiguous=lambda: interface["strides"] is None, owner=owner,
        )  # fmt: skip

    return SimpleNamespace(
        stream_pointer=lambda stream: stream,
        wait_for_device=lambda: waits.append(1),
        wrap_memory=wrap_memory,
        waits=waits,
    )


def test_a_library_that_knows_streams_is_told_ours():
    cuda, images = fake_cuda(), np.zeros((2, 3, 4, 3), np.uint8)
    tensor = Tensor(images)
    array = device_array(cuda, tensor, 0, STREAM)
    assert array.address == images.ctypes.data
    assert tensor.asked == [STREAM]
    assert cuda.waits == []


def test_for_one_that_knows_none_the_device_is_waited_for():
    cuda, images = fake_cuda(), np.zeros((2, 3, 4, 3), np.float32)
    tensor = Tensor(images, knows_streams=False)
    array = device_array(cuda, tensor, 0, STREAM)
    assert array.address == images.ctypes.data
    assert tensor.asked == [STREAM, None]
    assert cuda.waits == [1]


def test_another_device_is_refused():
    tensor = Tensor(np.zeros((2, 3, 4, 3), np.uint8), device=(2, 1))
    with pytest.raises(ValueError, match=r"lies on DLPack device \(2, 1\).*cuda:0"):
        device_array(fake_cuda(), tensor, 0, STREAM)


def test_gaps_between_elements_are_refused_with_the_remedy():
    tensor = Tensor(np.zeros((2, 3, 8, 3), np.uint8)[:, :, ::2])
    with pytest.raises(ValueError, match=r"images.contiguous\(\)"):
        device_array(fake_cuda(), tensor, 0, STREAM)
