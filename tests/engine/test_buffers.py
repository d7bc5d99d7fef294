import gc

import numpy as np
import pytest

from fusewarp.engine.buffers import ALIGNMENT, BufferPool, empty_aligned


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("shape", [(1,), (3, 5, 7, 3), (0, 4)])
def test_buffers_are_aligned_contiguous_and_writeable(shape, dtype):
    for _ in range(5):
        array = empty_aligned(shape, dtype)
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.ctypes.data % ALIGNMENT == 0
        assert array.flags.c_contiguous
        array[...] = 1


def test_memory_comes_back_only_after_the_last_view():
    pool = BufferPool()
    first = pool.empty((4, 6), "float32")
    address = first.ctypes.data
    view = first[1:].reshape(-1)[3:].view(np.uint8)
    del first
    gc.collect()
    second = pool.empty((4, 6), "float32")
    assert second.ctypes.data != address
    del view
    gc.collect()
    assert pool.empty((4, 6), "float32").ctypes.data == address


def test_a_buffer_outlives_its_pool():
    array = BufferPool().empty((1000,), "uint8")
    array[:] = 7
    gc.collect()
    assert (array == 7).all()


def test_a_free_buffer_of_another_size_is_not_used():
    pool = BufferPool()
    del (small := [pool.empty((3,), "uint8")])[0]
    assert small == []
    large = pool.empty((300_000,), "uint8")
    large[:] = 1
    assert large.nbytes == 300_000
