"""The pools by themselves, on `oracles/late_cuda.py`; `test_cuda_order.py` has them at work."""

import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusewarp import kernels
from fusewarp.engine.cuda_memory import DeviceMemoryError, DevicePool, PinnedPool, PinnedScratch
from fusewarp.engine.device_batch import DeviceBatch
from fusewarp.engine.devices import DeviceError
from fusewarp.engine.dlpack import read_dlpack
from oracles.late_cuda import LateCuda


@pytest.fixture
def late(monkeypatch):
    cuda = LateCuda()
    monkeypatch.setitem(sys.modules, "fusewarp.kernels.cuda", cuda)
    monkeypatch.setattr(kernels, "cuda", cuda, raising=False)
    with cuda.using(0):
        yield cuda


def recorded(late, stream):
    event = late.new_event()
    event.record(stream)
    return event


def new_batch(late, pool, stream, *, is_finished=True, value=7.0):
    batch = DeviceBatch(late, pool, 0, stream, (2, 3, 4, 1), np.dtype(np.float32))
    memory = batch.rows(slice(None)).data
    late.queue(stream, lambda: memory.fill(value))
    if is_finished:
        batch.finish()
    return batch


def read_later(late, stream, address, count=24):
    """Queue a read on a consumer's stream; return where the values will be."""
    seen = np.empty(count, np.float32)
    interface = {"shape": (count,), "typestr": "<f4", "data": (address, False), "version": 3}
    memory = np.asarray(type("Looked", (), {"__array_interface__": interface})())
    late.queue(stream, lambda: np.copyto(seen, memory))
    return seen


def test_a_block_comes_back_after_the_events_of_its_readers(late):
    pool, reader, writer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    block = pool.take(100, writer)
    happened = []
    late.queue(reader, lambda: happened.append("read"))
    block.after.append(recorded(late, reader))
    memory = block.memory
    pool.give_back(block)
    again = pool.take(90, writer)
    assert again.memory is memory
    late.queue(writer, lambda: happened.append("written"))
    writer.synchronize()
    assert happened == ["read", "written"]
    assert again.after == []


@pytest.mark.parametrize(("size", "is_fit"), [(100, True), (50, True), (49, False), (101, False)])
def test_a_block_is_lent_for_what_fills_half_of_it_or_more(late, size, is_fit):
    pool, stream = DevicePool(late, 0), late.new_stream()
    block = pool.take(100, stream)
    pool.give_back(block)
    assert (pool.take(size, stream).memory is block.memory) == is_fit


def test_what_is_done_with_comes_before_what_is_older(late):
    pool, reader, writer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    busy, idle = pool.take(100, writer), pool.take(100, writer)
    late.queue(reader, lambda: None)
    busy.after.append(recorded(late, reader))
    pool.give_back(busy)
    pool.give_back(idle)
    assert pool.take(100, writer).memory is idle.memory
    assert pool.take(100, writer).memory is busy.memory


def test_busy_blocks_are_left_alone_while_there_are_few(late):
    pool, reader, writer = DevicePool(late, 0, min_busy=2), late.new_stream(), late.new_stream()
    blocks = [pool.take(100, writer) for _ in range(2)]
    late.queue(reader, lambda: None)
    for number, block in enumerate(blocks):
        block.after.append(recorded(late, reader))
        pool.give_back(block)
        if number == 0:
            fresh = pool.take(100, writer)
            assert fresh.memory is not block.memory
    assert pool.take(100, writer).memory is blocks[0].memory


def test_pools_are_bounded(late):
    pool, stream = DevicePool(late, 0, max_free=3), late.new_stream()
    for block in [pool.take(1000, stream) for _ in range(10)]:
        pool.give_back(block)
    del block
    assert late.bytes_in_use() == 3000
    pool.let_go()
    assert late.bytes_in_use() == 0
    pinned = PinnedPool(late, max_free=3)
    pieces = [pinned.take(1000) for _ in range(10)]
    dead = [weakref.ref(piece) for piece in pieces]
    while pieces:
        pinned.give_back(pieces.pop())
    assert sum(reference() is not None for reference in dead) == 3


def test_giving_back_takes_no_lock(late):
    """The collector does it, wherever the thread happens to be: inside `take` too."""
    pool, stream = DevicePool(late, 0), late.new_stream()
    block = pool.take(100, stream)
    with pool._lock:
        thread = threading.Thread(target=pool.give_back, args=(block,), daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()


def test_out_of_memory_frees_what_is_unused_and_tries_again(late):
    late.capacity = 1000
    pool, other, stream = DevicePool(late, 0), DevicePool(late, 0), late.new_stream()
    for owner in (pool, other):
        owner.give_back(owner.take(400, stream))
    assert pool.take(900, stream).memory.size == 900


def test_out_of_memory_names_what_is_needed_and_left(late):
    late.capacity = 3_000_000
    pool, stream = DevicePool(late, 0), late.new_stream()
    held = pool.take(1_000_000, stream)
    with pytest.raises(DeviceMemoryError, match=r"2\.5 MB .* cuda:0.* 2\.0 MB left") as caught:
        pool.take(2_500_000, stream)
    assert isinstance(caught.value, DeviceError)
    assert isinstance(caught.value, MemoryError)
    assert "smaller batch" in caught.value.remedy
    del held, caught
    assert late.bytes_in_use() == 0


def test_a_block_is_lent_once_at_a_time(late):
    pool, stream = DevicePool(late, 0, max_free=4), late.new_stream()
    lent, lock, twice = set(), threading.Lock(), []

    def work(_):
        with late.using(0):
            for _ in range(200):
                block = pool.take(100, stream)
                with lock:
                    twice.extend({id(block.memory)} & lent)
                    lent.add(id(block.memory))
                with lock:
                    lent.discard(id(block.memory))
                pool.give_back(block)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert twice == []
    assert late.allocations <= 200


def test_pinned_memory_is_not_lent_before_its_copy_is_done(late):
    pool, stream = PinnedPool(late), late.new_stream()
    piece = pool.take(100)
    late.queue(stream, lambda: None)
    pool.give_back(piece, recorded(late, stream))
    assert pool.take(100) is not piece  # rather new memory than a host that waits
    stream.synchronize()
    assert pool.take(100) is piece


def test_pinned_memory_is_waited_for_when_much_of_it_is_busy(late, monkeypatch):
    monkeypatch.setattr(PinnedPool, "MIN_BUSY", 2)
    pool, stream = PinnedPool(late), late.new_stream()
    copied = []
    pieces = [pool.take(100), pool.take(100)]
    for number, piece in enumerate(pieces):
        late.queue(stream, lambda number=number: copied.append(number))
        pool.give_back(piece, recorded(late, stream))
    assert pool.take(100) is pieces[0]
    assert copied == [0]


def test_scratch_gives_back_what_is_too_small_and_the_rest_at_the_end(late):
    pool = PinnedPool(late)
    scratch = PinnedScratch(pool)
    first = scratch.take(100)
    assert np.shares_memory(scratch.take(60), first)
    assert not np.shares_memory(scratch.take(500), first)
    scratch.close()
    scratch.close()
    assert late.pinned_allocations == 2
    pieces = [pool.take(100), pool.take(500)]
    assert late.pinned_allocations == 2
    assert not np.shares_memory(*pieces)


def test_a_consumers_stream_waits_for_the_filling(late):
    pool, stream, consumer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    batch = new_batch(late, pool, stream)
    tensor = read_dlpack(batch.__dlpack__(stream=late.stream_pointer(consumer)))
    seen = read_later(late, consumer, tensor.address)
    assert stream.queue.work  # nobody waited on the host
    consumer.synchronize()
    assert (seen == 7).all()


def test_without_a_stream_the_host_waits(late):
    pool, stream = DevicePool(late, 0), late.new_stream()
    batch = new_batch(late, pool, stream)
    tensor = read_dlpack(batch.__dlpack__())
    assert not stream.queue.work
    assert late.device_waits == 0
    del tensor, batch
    new_batch(late, pool, stream)
    assert late.device_waits == 1


@pytest.mark.parametrize("road", ["minus one", "interface", "per thread", "destroyed"])
def test_memory_of_a_reader_who_is_unknown_comes_back_after_the_device(late, road):
    pool, stream, consumer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    batch = new_batch(late, pool, stream)
    if road == "interface":
        interface = batch.__cuda_array_interface__
        address = interface["data"][0]
        assert interface["stream"] == late.stream_pointer(stream)
        stream.synchronize()
    else:
        late._streams[2] = consumer
        number = {"minus one": -1, "per thread": 2}.get(road, late.stream_pointer(consumer))
        tensor = read_dlpack(batch.__dlpack__(stream=number))
        address = tensor.address
        if road == "minus one":
            stream.synchronize()
        del tensor
    seen = read_later(late, consumer, address)
    late._streams.clear()  # "destroyed": its number is nobody's now
    del batch
    new_batch(late, pool, stream, value=1.0)
    stream.synchronize()
    assert late.allocations == 1
    assert late.device_waits == 1
    assert (seen == 7).all()


def test_a_stream_that_is_known_is_waited_for_alone(late):
    pool, stream, consumer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    other = late.new_stream()
    late.queue(other, lambda: None)
    batch = new_batch(late, pool, stream)
    tensor = read_dlpack(batch.__dlpack__(stream=late.stream_pointer(consumer)))
    seen = read_later(late, consumer, tensor.address)
    del batch, tensor
    later = new_batch(late, pool, stream, value=1.0)
    assert (later.copy_to_host() == 1).all()
    assert (seen == 7).all()
    assert other.queue.work
    assert late.device_waits == 0


def test_memory_is_lent_while_the_batch_or_anything_made_of_it_lives(late):
    pool, stream, consumer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    batch = new_batch(late, pool, stream)
    tensor = read_dlpack(batch.__dlpack__(stream=late.stream_pointer(consumer)))
    capsule = batch.__dlpack__(stream=late.stream_pointer(consumer))
    del batch
    new_batch(late, pool, stream)
    assert late.allocations == 2
    del tensor
    gc.collect()
    held = [new_batch(late, pool, stream) for _ in range(2)]
    assert late.allocations == 3
    del capsule
    held.append(new_batch(late, pool, stream))
    assert late.allocations == 3


def test_a_batch_that_is_still_being_filled_is_not_handed_out(late):
    pool, stream, consumer = DevicePool(late, 0), late.new_stream(), late.new_stream()
    batch = new_batch(late, pool, stream, is_finished=False)
    for number in (late.stream_pointer(consumer), None, -1):
        with pytest.raises(RuntimeError, match="still being filled"):
            batch.__dlpack__(stream=number)
    for call in (batch.copy_to_host, lambda: batch.read_by(consumer)):
        with pytest.raises(RuntimeError, match="still being filled"):
            call()


def test_a_batch_is_no_array_of_the_host(late):
    batch = new_batch(late, DevicePool(late, 0), late.new_stream())
    with pytest.raises(TypeError, match=r"cuda:0.*copy_to_host\(\)"):
        np.asarray(batch)
    with pytest.raises(TypeError, match="subscriptable"):
        batch[0]  # its memory would be used again while the row is held
    assert len(batch) == 2
    assert repr(batch) == "DeviceBatch(shape=(2, 3, 4, 1), dtype=float32, device='cuda:0')"
