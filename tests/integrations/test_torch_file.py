import io
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from fusewarp.integrations.keras.torch_file import read_torch_file

MAGIC_NUMBER = 119547037146038801333356
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class Storage:
    def __init__(self, kind, key, values):
        self.kind, self.key = kind, key
        self.values = np.asarray(values, DTYPES[kind.__name__])


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.arguments = (storage, offset, shape, stride, False, OrderedDict())


class Writer(pickle.Pickler):
    """Writes what PyTorch before 1.6 wrote, with stand-ins for its classes."""

    def reducer_override(self, thing):
        if isinstance(thing, Tensor):
            return sys.modules["torch._utils"]._rebuild_tensor_v2, thing.arguments
        return NotImplemented

    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            return ("storage", thing.kind, thing.key, "cpu", thing.values.size, None)
        return None


@pytest.fixture
def torch_names(monkeypatch):
    """Stand-ins for `torch` while a file is written: a pickle stores names, checked on writing."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in DTYPES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("only its name is written")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        utils.__name__,
        "_rebuild_tensor_v2",
    )
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def legacy_bytes(saved, storages, *, magic=MAGIC_NUMBER, little_endian=True):
    file = io.BytesIO()
    for facts in (magic, 1001, {"little_endian": little_endian, "type_sizes": {}}):
        pickle.dump(facts, file, protocol=2)
    Writer(file, protocol=2).dump(saved)
    pickle.dump([storage.key for storage in storages], file, protocol=2)
    for storage in storages:
        file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())
    return file.getvalue()


@pytest.fixture
def two_storages(torch_names):
    floats = Storage(torch_names.FloatStorage, "11", np.arange(12) / 7)
    longs = Storage(torch_names.LongStorage, "12", [-(2**40)])
    return floats, longs


@pytest.fixture
def good_bytes(two_storages):
    floats, longs = two_storages
    saved = OrderedDict(
        plain=Tensor(floats, 0, (3, 4), (4, 1)),
        transposed=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 5, (2, 3), (4, 1)),
        scalar=Tensor(longs, 0, (), ()),
    )
    return legacy_bytes(saved, [longs, floats])


def read(tmp_path, data):
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    return read_torch_file(path)


def test_values_shapes_types_and_order(tmp_path, good_bytes):
    values = (np.arange(12) / 7).astype(np.float32).reshape(3, 4)
    tensors = read(tmp_path, good_bytes)
    assert list(tensors) == ["plain", "transposed", "part", "scalar"]
    np.testing.assert_array_equal(tensors["plain"], values, strict=True)
    np.testing.assert_array_equal(tensors["transposed"], values.T, strict=True)
    np.testing.assert_array_equal(tensors["part"], values[1:, 1:], strict=True)
    np.testing.assert_array_equal(tensors["scalar"], np.array(-(2**40)), strict=True)


def test_each_tensor_has_memory_of_its_own(tmp_path, good_bytes):
    tensors = read(tmp_path, good_bytes)
    tensors["plain"][:] = -1
    assert (tensors["transposed"] >= 0).all()
    assert tensors["transposed"].flags.c_contiguous


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path):
    touched = tmp_path / "touched"
    with pytest.raises(ValueError, match=r"open, which is not part of a tensor"):
        read(tmp_path, legacy_bytes({"weight": Evil(touched)}, []))
    assert not touched.exists()


def test_evil_in_the_header_is_refused_too(tmp_path):
    touched = tmp_path / "touched"
    with pytest.raises(ValueError, match="not part of a tensor"):
        read(tmp_path, pickle.dumps(Evil(touched), protocol=2))
    assert not touched.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.8, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, good_bytes, share):
    with pytest.raises(ValueError, match=r"model\.pth is not a legacy PyTorch file"):
        read(tmp_path, good_bytes[: int(share * len(good_bytes))])


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (1, (3, 4), (4, 1)),
        (0, (4, 3), (4, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (99,), (0,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, two_storages, offset, shape, stride):
    floats, _ = two_storages
    data = legacy_bytes({"weight": Tensor(floats, offset, shape, stride)}, [floats])
    with pytest.raises(ValueError, match=r"reaches past its storage|has strides"):
        read(tmp_path, data)


def test_a_storage_without_values_is_refused(tmp_path, two_storages):
    floats, _ = two_storages
    data = legacy_bytes({"weight": Tensor(floats, 0, (3, 4), (4, 1))}, [])
    with pytest.raises(ValueError, match="no values for storage 11"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"magic": 7}, "magic number"), ({"little_endian": False}, "big-endian")],
)
def test_another_header_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, legacy_bytes({}, [], **changes))


@pytest.mark.parametrize("data", [b"PK\x03\x04 a zip of PyTorch 1.6", b"hello", b"\x80\x02}."])
def test_other_files_are_refused(tmp_path, data):
    with pytest.raises(ValueError, match="not a legacy PyTorch file"):
        read(tmp_path, data)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / "none.pth")
