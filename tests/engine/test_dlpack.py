"""DLPack with the libraries that are installed; memory of the CPU, and labels of a GPU's."""

import ctypes
import datetime
import gc
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusewarp.engine.buffers import empty_aligned
from fusewarp.engine.dlpack import CPU, CUDA, DLPackBuffer, read_dlpack

ml_dtypes = pytest.importorskip("ml_dtypes")  # bfloat16, which NumPy does not have

DTYPES = ["uint8", "uint16", "int64", "float16", "float32", "bfloat16"]
SHAPE = (2, 3, 5)
NUMPY_HAS_VERSIONS = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


def numbers(dtype, shape=SHAPE):
    """Return distinct numbers in memory that no consumer has to copy for its alignment."""
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = empty_aligned(shape, f"u{dtype.itemsize}").view(dtype)
    array[...] = np.arange(array.size).reshape(shape)
    return array


def lend(array, **options):
    arguments = {"address": array.ctypes.data, "shape": array.shape, "dtype": array.dtype.name}
    return DLPackBuffer(**{**arguments, "device": (CPU, 0), "owner": array, **options})


def look(imported):
    """Return an array of the memory that `read_dlpack` gave, read by ctypes alone."""
    assert imported.strides is None
    dtype = np.dtype(getattr(ml_dtypes, imported.dtype, imported.dtype))
    num_bytes = int(np.prod(imported.shape)) * dtype.itemsize
    block = (ctypes.c_ubyte * num_bytes).from_address(imported.address)
    return np.frombuffer(block, np.uint8).view(dtype).reshape(imported.shape)


def is_gone(reference):
    gc.collect()
    return reference() is None


class Numpy:
    dtypes = frozenset(DTYPES) - {"bfloat16"}
    take = staticmethod(np.from_dlpack)


class TensorFlow:
    dtypes = frozenset(DTYPES)

    def __init__(self):
        self.module = pytest.importorskip("tensorflow")

    def take(self, buffer):
        return self.module.experimental.dlpack.from_dlpack(buffer.__dlpack__())


class Jax:
    dtypes = frozenset(DTYPES) - {"int64"}  # unless 64 bits are switched on

    def __init__(self):
        self.take = pytest.importorskip("jax").dlpack.from_dlpack


class Torch:
    dtypes = frozenset(DTYPES)

    def __init__(self):
        self.take = pytest.importorskip("torch").from_dlpack


def assert_sees(tensor, expected, address):
    if isinstance(tensor, np.ndarray):
        seen, seen_address = tensor, tensor.ctypes.data
    else:
        imported = read_dlpack(tensor)
        seen, seen_address = look(imported), imported.address
    assert seen_address == address
    assert seen.dtype == expected.dtype
    np.testing.assert_array_equal(seen, expected)


@pytest.fixture(params=[Numpy, TensorFlow, Jax, Torch])
def consumer(request):
    return request.param()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_consumer_sees_the_same_memory_for_as_long_as_it_wants(consumer, dtype):
    if dtype not in consumer.dtypes:
        pytest.skip(f"{type(consumer).__name__} takes no {dtype}")
    array = numbers(dtype)
    expected, address, owner = array.copy(), array.ctypes.data, weakref.ref(array)
    tensor = consumer.take(lend(array))
    del array
    assert not is_gone(owner)
    assert_sees(tensor, expected, address)
    del tensor
    assert is_gone(owner)


def test_tensorflow_names_bfloat16():
    tensorflow = pytest.importorskip("tensorflow")
    tensor = TensorFlow().take(lend(numbers("bfloat16")))
    assert tensor.dtype == tensorflow.bfloat16
    assert tensor.numpy().dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(tensor.numpy(), numbers("bfloat16"))


@pytest.mark.skipif(not NUMPY_HAS_VERSIONS, reason="NumPy writes to none before 2.1")
def test_writing_goes_through():
    array = numbers("float32")
    np.from_dlpack(lend(array))[1, 2, 3] = -7
    assert array[1, 2, 3] == -7


@pytest.mark.parametrize("shape", [(), (0, 4, 3), (1,), (1, 1, 7)])
@pytest.mark.parametrize("max_version", [None, (1, 0)])
def test_shapes_at_the_edge(shape, max_version):
    array = numbers("float32", shape)
    imported = read_dlpack(lend(array).__dlpack__(max_version=max_version))
    assert imported.shape == shape
    np.testing.assert_array_equal(look(imported), array)


def test_an_empty_buffer_needs_no_address():
    buffer = DLPackBuffer(0, (0, 4, 4, 3), "float32", (CPU, 0), None)
    assert np.from_dlpack(buffer).shape == (0, 4, 4, 3)
    assert read_dlpack(buffer).address == 0


@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (1, 3)])
def test_a_capsule_that_nobody_takes_lets_go(max_version):
    array = numbers("uint8")
    owner = weakref.ref(array)
    capsule = lend(array).__dlpack__(max_version=max_version)
    is_versioned = NUMPY_HAS_VERSIONS and max_version is not None and max_version >= (1, 0)
    assert (' "dltensor_versioned" ' if is_versioned else ' "dltensor" ') in repr(capsule)
    del array
    assert not is_gone(owner)
    del capsule
    assert is_gone(owner)


class Producer:
    """Gives away the capsules it has; keeps none."""

    def __init__(self, capsules):
        self.capsules = capsules

    def __dlpack__(self, **arguments):
        return self.capsules.pop()

    def __dlpack_device__(self):
        return (CPU, 0)


def test_a_consumer_that_refuses_raises_its_own_error_and_lets_go():
    done = []
    array = numbers("uint8")
    weakref.finalize(array, lambda: done.append(str(1 + 1)))
    capsules = [lend(array, device=(CUDA, 0)).__dlpack__()]
    del array
    # The capsule dies while NumPy's error is under way, and takes the owner with it: a finaliser
    # in Python runs, and must not replace that error.
    with pytest.raises((BufferError, RuntimeError), match="Unsupported device in DLTensor"):
        np.from_dlpack(Producer(capsules))
    assert done == ["2"]


def test_a_cycle_through_the_buffer_is_collected():
    class Batch:
        pass

    batch = Batch()
    batch.buffer = lend(numbers("uint8"), owner=batch)
    np.from_dlpack(batch.buffer)
    reference = weakref.ref(batch)
    del batch
    assert is_gone(reference)


class Counted:
    alive = 0

    def __init__(self):
        type(self).alive += 1

    def __del__(self):
        type(self).alive -= 1


def export_and_import(buffer, times):
    for _ in range(times):
        np.from_dlpack(buffer)
        buffer.__dlpack__()
        read_dlpack(buffer)


def test_ten_thousand_exports_leave_nothing():
    array = numbers("float32")
    buffer = lend(array)
    export_and_import(buffer, 100)
    references = sys.getrefcount(array)
    tracemalloc.start()
    export_and_import(buffer, 100)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10_000):
        export_and_import(lend(array, owner=Counted()), 1)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sys.getrefcount(array) == references
    assert Counted.alive == 0
    assert after - before < 100_000  # bytes; the smallest object, left by each, would be 160,000


def test_four_threads_share_a_buffer():
    array = numbers("float32")
    buffer = lend(array)
    del array
    owner = weakref.ref(buffer.owner)
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(export_and_import, buffer, 500) for _ in range(4)]:
            future.result()
    del buffer, future
    assert is_gone(owner)


@pytest.fixture
def hasty_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_of_threads_with_one_capsule_one_gets_it():
    for _ in range(200):
        capsule = lend(numbers("uint8")).__dlpack__()
        together = threading.Barrier(4)

        def take(capsule=capsule, together=together):
            together.wait()
            try:
                return read_dlpack(capsule)
            except ValueError:
                return None

        with ThreadPoolExecutor(4) as pool:
            taken = [f.result() for f in [pool.submit(take) for _ in range(4)]]
        assert sum(imported is not None for imported in taken) == 1


RAW = """
import atexit
at_the_end = []
atexit.register(lambda: [act() for act in at_the_end])  # the first one: called last
import ctypes, sys, weakref
import numpy as np
from fusewarp.engine.dlpack import DLPackBuffer

class Owner:
    pass

owner = Owner()
array = np.arange(5, dtype=np.float32)
buffer = DLPackBuffer(array.ctypes.data, (5,), "float32", (1, 0), owner)
gone = weakref.ref(owner)
capsule = buffer.__dlpack__()
del owner, buffer
call = lambda name, result, *types: ctypes.PYFUNCTYPE(result, *types)((name, ctypes.pythonapi))
pointer = call("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    capsule, b"dltensor")
USED = b"used_dltensor"
call("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(capsule, USED)
# DLTensor has 48 bytes, manager_ctx 8: the deleter is next
deleter = ctypes.c_void_p.from_address(pointer + 56)
libc = ctypes.CDLL(None)
"""

FOREIGN_THREAD = """
thread = ctypes.c_ulong()
assert gone() is not None
assert libc.pthread_create(ctypes.byref(thread), None, deleter, ctypes.c_void_p(pointer)) == 0
assert libc.pthread_join(thread, None) == 0
assert gone() is None
print("released")
"""

AFTER_THE_END = """
assert libc.__cxa_atexit(deleter, ctypes.c_void_p(pointer), None) == 0
print("released")
"""

HELD_TO_THE_END = """
from fusewarp.engine.dlpack import read_dlpack
def buffer():
    return DLPackBuffer(array.ctypes.data, (5,), "float32", (1, 0), Owner())

owner = Owner()
lent = weakref.ref(owner)
sys.kept = [read_dlpack(DLPackBuffer(array.ctypes.data, (5,), "float32", (1, 0), owner))]
del owner
at_the_end.append(lambda: print("released" if lent() is not None else "too early"))
sys.kept += [buffer(), buffer().__dlpack__(), np.from_dlpack(buffer()), array.__dlpack__()]
sys.kept.append(read_dlpack(sys.kept[-1]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's names of functions")
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(FOREIGN_THREAD, id="by a foreign thread"),
        pytest.param(AFTER_THE_END, id="after the end"),
        pytest.param(HELD_TO_THE_END, id="at the end"),
    ],
)
def test_the_deleter_may_be_called_anywhere_and_after_the_end(act):
    environment = {**os.environ, "PYTHONMALLOC": "debug"}  # freed memory is overwritten, at once
    command = [sys.executable, "-c", RAW + act]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "released\n", "")


# The device and the streams


@pytest.mark.parametrize("max_version", [None, (1, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_of_a_gpu_is_labelled_so(dtype, max_version):
    buffer = DLPackBuffer(0x7F00_0000_0400, (8, 4, 6, 3), dtype, (CUDA, 3), object())
    assert buffer.__dlpack_device__() == (2, 3)
    imported = read_dlpack(buffer.__dlpack__(max_version=max_version))
    assert imported.device == (2, 3)
    assert (imported.dtype, imported.shape) == (dtype, (8, 4, 6, 3))
    assert imported.address == 0x7F00_0000_0400
    assert imported.strides is None


@pytest.mark.parametrize("stream", [None, 1, 2, 0x5555_0000])
def test_the_consumers_stream_waits(stream):
    told = []
    buffer = DLPackBuffer(0x400, (8,), "float32", (CUDA, 0), None, told.append)
    buffer.__dlpack__(stream=stream)
    assert told == [stream]
    read_dlpack(buffer, stream)
    assert told == [stream, stream]


def test_minus_one_asks_for_no_order():
    told = []
    DLPackBuffer(0x400, (8,), "uint8", (CUDA, 0), None, told.append).__dlpack__(stream=-1)
    assert told == []


def test_an_error_of_the_ordering_reaches_the_consumer_and_nothing_is_kept():
    def fail(stream):
        raise OSError("the event is gone")

    owner = Counted()
    buffer = DLPackBuffer(0x400, (8,), "uint8", (CUDA, 0), owner, fail)
    with pytest.raises(OSError, match="the event is gone"):
        buffer.__dlpack__()
    del owner, buffer
    gc.collect()
    assert Counted.alive == 0


@pytest.mark.parametrize(("device", "stream"), [((CUDA, 1), 0), ((CUDA, 1), -2), ((CPU, 0), 1)])
def test_streams_that_do_not_exist(device, stream):
    buffer = DLPackBuffer(0x400, (8,), "uint8", device, None)
    with pytest.raises(ValueError, match=rf"`stream` must be .* got {stream} on device"):
        buffer.__dlpack__(stream=stream)


def test_a_stream_is_not_passed_to_a_producer_on_the_cpu():
    assert read_dlpack(np.arange(3), stream=7).shape == (3,)


# What is refused


def test_no_copies():
    buffer = lend(numbers("uint8"))
    with pytest.raises(BufferError, match="`copy=True`: this buffer is only shared"):
        buffer.__dlpack__(copy=True)
    buffer.__dlpack__(copy=False)


def test_no_other_device():
    buffer = DLPackBuffer(0x400, (8,), "uint8", (CUDA, 1), None)
    with pytest.raises(BufferError, match=r"`dl_device=\(1, 0\)`: this buffer stays on .*\(2, 1\)"):
        buffer.__dlpack__(dl_device=(CPU, 0))
    buffer.__dlpack__(dl_device=(CUDA, 1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dtype": "float64"}, TypeError, "`dtype` must be one of uint8, .* got 'float64'"),
        ({"shape": (3, -1)}, ValueError, r"`shape` must have .* got \(3, -1\)"),
        ({"device": (8, 0)}, ValueError, r"`device` must be .* got \(8, 0\)"),
        ({"address": 0}, ValueError, "`address` must be that of float32 .* got 0x0"),
        ({"address": 0x402}, ValueError, "a multiple of 4 and not 0, got 0x402"),
    ],
)
def test_arguments_that_describe_no_memory(change, error, message):
    arguments = {"address": 0x400, "shape": (3,), "dtype": "float32", "device": (CPU, 0)}
    with pytest.raises(error, match=message):
        DLPackBuffer(**{**arguments, "owner": None, **change})


def test_read_only_is_said_or_refused():
    array = numbers("uint8")
    buffer = lend(array, read_only=True)
    with pytest.raises(BufferError, match="readonly"):
        buffer.__dlpack__()
    if NUMPY_HAS_VERSIONS:
        assert not np.from_dlpack(buffer).flags.writeable
        assert read_dlpack(buffer).read_only
    assert not read_dlpack(lend(array)).read_only


# Taking


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float16", "float32"])
def test_an_array_of_numpy(dtype):
    array = numbers(dtype)
    owner = weakref.ref(array)
    imported = read_dlpack(array)
    assert imported.address == array.ctypes.data
    assert (imported.dtype, imported.device) == (dtype, (CPU, 0))
    np.testing.assert_array_equal(look(imported), array)
    del array
    assert not is_gone(owner)
    del imported
    assert is_gone(owner)


@pytest.mark.parametrize("is_bare", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_a_tensor_of_tensorflow(dtype, is_bare):
    tensorflow = pytest.importorskip("tensorflow")
    expected = numbers(dtype)
    tensor = tensorflow.constant(expected)
    imported = read_dlpack(tensorflow.experimental.dlpack.to_dlpack(tensor) if is_bare else tensor)
    del tensor
    assert imported.dtype == dtype
    np.testing.assert_array_equal(look(imported), expected)


def test_a_tensor_of_jax():
    jax = pytest.importorskip("jax")
    expected = numbers("bfloat16")
    imported = read_dlpack(jax.numpy.asarray(expected))
    np.testing.assert_array_equal(look(imported), expected)


@pytest.mark.parametrize(
    ("view", "strides"),
    [
        (np.s_[:], None),
        (np.s_[:, ::2], (15, 10, 1)),
        (np.s_[:, :, ::-1], (15, 5, -1)),
        (np.s_[1:, :2], None),  # the first axis is never stepped along
        (np.s_[:0, ::2], None),
    ],
)
def test_strides_are_in_elements(view, strides):
    array = numbers("float32")[view]
    imported = read_dlpack(array)
    assert imported.address == array.ctypes.data
    assert (imported.shape, imported.strides) == (array.shape, strides)


def altered(array, offset, value, **arguments):
    """Return a capsule of an array, one field of its struct changed: `offset` as in dlpack.h."""
    capsule = array.__dlpack__(**arguments)
    name = repr(capsule).split('"')[1].encode()
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    pointer = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, name)
    type(value).from_address(pointer + offset).value = value.value
    return capsule


def test_an_offset_in_bytes_is_added():
    array = numbers("uint8")
    imported = read_dlpack(altered(array, 40, ctypes.c_uint64(64)))
    assert imported.address == array.ctypes.data + 64


def test_no_strides_are_those_of_reading_in_order():
    assert read_dlpack(altered(numbers("uint8"), 32, ctypes.c_void_p(None))).strides is None


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (20, ctypes.c_uint8(3), "type code 3, 16 bits, lanes 1"),
        (21, ctypes.c_uint8(12), "type code 1, 12 bits, lanes 1"),
        (22, ctypes.c_uint16(4), "type code 1, 16 bits, lanes 4"),
    ],
)
def test_elements_that_are_none_of_ours_are_named(offset, value, message):
    array = numbers("uint16")
    owner = weakref.ref(array)
    with pytest.raises(TypeError, match=f"{message}; they must be uint8, uint16"):
        read_dlpack(altered(array, offset, value))
    del array
    assert is_gone(owner)


@pytest.mark.skipif(not NUMPY_HAS_VERSIONS, reason="NumPy writes no version before 2.1")
def test_another_major_version_is_let_go_unread():
    array = numbers("uint8")
    owner = weakref.ref(array)
    capsule = altered(array, 0, ctypes.c_uint32(2), max_version=(1, 0))
    with pytest.raises(BufferError, match=r"of DLPack 2\.0; 1\.x is read"):
        read_dlpack(capsule)
    del array, capsule
    assert is_gone(owner)


def test_a_tensor_without_a_deleter():
    array = numbers("uint8")
    imported = read_dlpack(altered(array, 56, ctypes.c_void_p(None)))
    np.testing.assert_array_equal(look(imported), array)
    del imported


@pytest.mark.skipif(not NUMPY_HAS_VERSIONS, reason="NumPy cannot say it before 2.1")
def test_an_array_that_must_not_be_written():
    array = numbers("uint8")
    array.flags.writeable = False
    assert read_dlpack(array).read_only


def test_a_producer_of_before_versions():
    class Old:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, stream=None):
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return (CPU, 0)

    array = numbers("float32")
    np.testing.assert_array_equal(look(read_dlpack(Old(array))), array)


def test_a_capsule_is_used_once():
    capsule = numbers("uint8").__dlpack__()
    imported = read_dlpack(capsule)
    assert '"used_dltensor"' in repr(capsule)
    with pytest.raises(ValueError, match=r"named b'used_dltensor', not 'dltensor' .* used once"):
        read_dlpack(capsule)
    del capsule
    np.testing.assert_array_equal(look(imported), numbers("uint8"))


def test_what_speaks_no_dlpack():
    with pytest.raises(TypeError, match=r"`source` needs `__dlpack__` .* got list"):
        read_dlpack([1, 2])
    with pytest.raises(ValueError, match=r"named b'datetime\.datetime_CAPI', not 'dltensor'"):
        read_dlpack(datetime.datetime_CAPI)
