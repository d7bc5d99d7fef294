"""A CUDA device in plain Python that does everything as late as the rules of CUDA allow.

It takes the place of `fusewarp.kernels.cuda`. What is queued runs only when the host waits for it,
or when something that the host waits for was told to come after it. So an order that nothing
enforces is never kept by luck: memory that is used again too early shows as wrong pictures. The
kernels are those of the CPU, and read their tables and pixels when they run, not when queued.
"""

import gc
import threading
import weakref
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from fusewarp.kernels import warp_ragged as warp_on_cpu
from fusewarp.kernels.reduce import reduce_areas

GARBAGE = 0xA5  # in memory that nobody has written to


class OutOfMemoryError(MemoryError):
    """As `fusewarp.kernels.cuda` names it."""


class DriverError(RuntimeError):
    """As `fusewarp.kernels.cuda` names it."""


@dataclass
class Card:
    """As `fusewarp.kernels.cuda.Device`."""

    index: int = 0
    name: str = "late"
    compute_capability: tuple = (9, 0)
    total_bytes: int = 0


@dataclass(eq=False)
class Mark:
    """A point of a queue."""

    queue: "Queue"
    is_reached: bool = False


@dataclass(eq=False)
class Queue:
    """What a stream has still to do."""

    work: deque = field(default_factory=deque)


@dataclass(eq=False)
class Wait:
    """What comes after it in a queue comes after a mark of another."""

    mark: Mark


class Stream:
    """A handle of a queue. The queue outlives it, as work outlives a stream that is destroyed."""

    def __init__(self, cuda):
        self.cuda, self.queue = cuda, Queue()
        cuda.queues.append(self.queue)

    def synchronize(self):
        self.cuda.run(self.queue)


class Event:
    def __init__(self, cuda):
        self.cuda, self.mark = cuda, None

    def record(self, stream):
        self.cuda.check_current()
        self.mark = Mark(stream.queue)
        self.cuda.queue(stream, self.mark)

    def wait(self, stream):
        self.cuda.check_current()
        if self.mark is not None and not self.mark.is_reached:
            self.cuda.queue(stream, Wait(self.mark))

    def synchronize(self):
        if self.mark is not None:
            self.cuda.run_to(self.mark)


class Memory(np.ndarray):
    """Bytes of the device, of which it can be told when they are let go."""


class DeviceArray:
    """What Numba's device arrays can do, as far as the engine asks."""

    def __init__(self, cuda, data, owner=None):
        self.cuda, self.data, self.owner = cuda, data, owner
        self.shape, self.dtype = data.shape, data.dtype
        self.size, self.nbytes = data.size, data.nbytes
        self.stream = 0  # of whoever writes it: the default one

    def __getitem__(self, key):
        assert isinstance(key, slice)
        return DeviceArray(self.cuda, self.data[key], self.owner)

    def view(self, dtype):
        return DeviceArray(self.cuda, self.data.view(dtype), self.owner)

    def reshape(self, *shape):
        return DeviceArray(self.cuda, self.data.reshape(*shape), self.owner)

    def is_c_contiguous(self):
        return self.data.flags.c_contiguous

    def copy_to_device(self, source, stream):
        source = source.data if isinstance(source, DeviceArray) else source
        assert source.shape == self.shape
        assert source.dtype == self.dtype
        target = self.data
        self.cuda.queue(stream, lambda: np.copyto(target, source))

    def copy_to_host(self, stream):
        host = np.empty(self.shape, self.dtype)
        source = self.data
        self.cuda.queue(stream, lambda: np.copyto(host, source))
        return host


class LateCuda:
    """The functions of `fusewarp.kernels.cuda`.

    Parameters
    ----------
    capacity : int
        Bytes of device memory.
    """

    OutOfMemoryError, DriverError = OutOfMemoryError, DriverError

    def __init__(self, capacity=2**40):
        self.capacity = capacity
        self.queues = []
        self.eager = set()  # queues that run at once what no other holds up
        self.used_bytes, self.allocations, self.pinned_allocations = 0, 0, 0
        self.device_waits = 0
        self.orphans = 0  # freed by a thread that has no current device: CUDA refuses that
        self.fail_next = []  # exceptions that the next warps raise
        self._lock = threading.RLock()
        self._streams = weakref.WeakValueDictionary()
        self._current = threading.local()
        self.default_stream = Stream(self)

    # What runs when.

    def queue(self, stream, work):
        queue = stream.queue
        with self._lock:
            queue.work.append(work)
            while queue in self.eager and queue.work and not self._is_blocked(queue.work[0]):
                self._step(queue)

    @staticmethod
    def _is_blocked(work):
        return isinstance(work, Wait) and not work.mark.is_reached

    def run(self, queue):
        with self._lock:
            while queue.work:
                self._step(queue)

    def run_to(self, mark):
        with self._lock:
            while not mark.is_reached:
                self._step(mark.queue)

    def run_everything(self):
        for queue in list(self.queues):
            self.run(queue)

    def _step(self, queue):
        work = queue.work.popleft()
        if isinstance(work, Mark):
            work.is_reached = True
        elif isinstance(work, Wait):
            self.run_to(work.mark)
        else:
            work()

    # What `kernels.cuda` has.

    def list_devices(self):
        return [Card()]

    @contextmanager
    def using(self, index):
        """A thread's first device stays its current one."""
        assert index == 0
        self._current.ever = True
        depth = getattr(self._current, "depth", 0)
        self._current.depth = depth + 1
        try:
            yield
        finally:
            self._current.depth = depth

    def check_current(self):
        """Which of several devices would this have been?"""
        assert getattr(self._current, "depth", 0) > 0, "outside of `using`"

    def new_stream(self):
        self.check_current()
        stream = Stream(self)
        self._streams[self.stream_pointer(stream)] = stream
        return stream

    def new_event(self):
        self.check_current()
        return Event(self)

    def is_done(self, event):
        return event.mark is None or event.mark.is_reached

    def stream_pointer(self, stream):
        return id(stream.queue)

    def foreign_stream(self, pointer):
        if pointer in (0, 1):
            return self.default_stream
        if pointer not in self._streams:
            raise RuntimeError(f"CUDA_ERROR_INVALID_HANDLE: there is no stream {pointer}")
        return self._streams[pointer]

    def device_empty(self, num_bytes):
        self.check_current()
        if self.used_bytes + num_bytes > self.capacity:
            raise OutOfMemoryError(f"{num_bytes} bytes")
        self.used_bytes += num_bytes
        self.allocations += 1
        memory = np.full(num_bytes, GARBAGE, np.uint8).view(Memory)
        weakref.finalize(memory, self._freed, num_bytes).atexit = False
        return DeviceArray(self, memory)

    def _freed(self, num_bytes):
        self.used_bytes -= num_bytes
        self.orphans += not hasattr(self._current, "ever")

    def free_bytes(self):
        return self.capacity - self.used_bytes

    def pinned_empty(self, num_bytes):
        self.check_current()
        self.pinned_allocations += 1
        return np.full(num_bytes, GARBAGE, np.uint8)

    def copy_to_device(self, host, device, stream):
        self.check_current()
        device.copy_to_device(host, stream)

    def wait_for_device(self):
        self.check_current()
        self.device_waits += 1
        self.run_everything()

    def address_of(self, array):
        return array.data.ctypes.data

    def wrap_memory(self, interface, owner):
        assert interface["strides"] is None
        looked_at = type("Looked", (), {"__array_interface__": interface})()
        return DeviceArray(self, np.asarray(looked_at), owner)

    def is_simulated(self):
        return False

    def warp_ragged(
        self, pixels, starts, sizes, inverse_maps, out, *,
        colour, stream, upload, target, **output,
    ):  # fmt: skip
        self.check_current()
        colours = [] if colour is None else [colour]
        table, shapes = _packed([starts, sizes, inverse_maps, *colours])
        there = upload(table).data
        if self.fail_next:
            raise self.fail_next.pop()
        assert target == out.dtype.name
        source, filled = np.asarray(pixels.data), np.asarray(out.data)

        def work():
            starts, sizes, maps, *colours = _unpacked(there, shapes)
            colour = colours[0] if colours else None
            warp_on_cpu(source, starts, sizes, maps, filled, colour=colour, **output)

        self.queue(stream, work)

    def reduce_ragged(
        self, pixels, starts, sizes, factors, reduced, to, channels, *, stream, upload
    ):
        self.check_current()
        table, shapes = _packed([starts, sizes, factors, to])
        there = upload(table).data
        source, target = np.asarray(pixels.data), np.asarray(reduced.data)

        def work():
            starts, sizes, factors, to = _unpacked(there, shapes)
            reduce_areas(source, starts, sizes, factors, channels, target, to)

        self.queue(stream, work)

    # For tests.

    def array(self, host):
        """Return a device array of the same values, whose owner fills it anew when it is let go."""
        memory = host.copy()
        owner = type("Owner", (), {})()
        weakref.finalize(owner, memory.fill, GARBAGE).atexit = False
        return DeviceArray(self, memory, owner)

    def stream(self):
        """Return a stream of somebody else."""
        with self.using(0):
            return self.new_stream()

    def bytes_in_use(self):
        """Return what is allocated once all is done and collected."""
        self.run_everything()
        gc.collect()
        return self.used_bytes


def _packed(arrays):
    shapes = [(array.shape, array.dtype) for array in arrays]
    flat = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    return np.concatenate(flat), shapes


def _unpacked(table, shapes):
    start = 0
    for shape, dtype in shapes:
        stop = start + int(np.prod(shape)) * dtype.itemsize
        yield np.asarray(table[start:stop]).view(dtype).reshape(shape).copy()
        start = stop
