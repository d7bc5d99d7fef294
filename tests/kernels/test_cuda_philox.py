"""The device's random words: the published ones, and the engine's."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, cuda, njit, types

from fusewarp.engine.philox import random_words
from fusewarp.kernels.philox import philox4x32
from fusewarp.kernels.pixel import pixel_function
from oracles import backend

# The known-answer vectors published with Random123 (kat_vectors, philox4x32, 10 rounds).
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip
BLOCK = 4  # threads
PLACES = [
    backend.CPU,
    pytest.param(
        backend.CUDA,
        marks=pytest.mark.skipif(backend.CUDA not in backend.names(), reason=backend.HOW_TO_RUN),
    ),
]


def words(text):
    return np.array([int(word, 16) for word in text.split()], np.uint32)


def halves(number):
    """Return the low and the high word of 64 bits."""
    return number & 0xFFFFFFFF, number >> 32


@pixel_function
def fill_row(counters, key, out, n):
    """Write the four words of one counter."""
    out[n, 0], out[n, 1], out[n, 2], out[n, 3] = philox4x32(
        counters[n, 0], counters[n, 1], counters[n, 2], counters[n, 3], key[0], key[1]
    )


@njit
def fill_on_cpu(counters, key, out):
    for n in range(counters.shape[0]):
        fill_row(counters, key, out, n)


@cuda.jit
def fill_on_device(counters, key, out):
    n = cuda.grid(1)
    if n < counters.shape[0]:
        fill_row(counters, key, out, n)


def draw(counters, key, where):
    """Return the words of (n, 4) counters by the CPU's compiler or the device's."""
    out = np.zeros_like(counters)
    if where == backend.CPU:
        fill_on_cpu(counters, key, out)
        return out
    on_device = cuda.to_device(out)
    blocks = -(-len(counters) // BLOCK)
    fill_on_device[blocks, BLOCK](cuda.to_device(counters), cuda.to_device(key), on_device)
    return on_device.copy_to_host()


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_words_are_the_published_ones(counter, key, answer, where):
    actual = draw(words(counter)[np.newaxis], words(key), where)
    np.testing.assert_array_equal(actual[0], words(answer))


@pytest.mark.parametrize("where", PLACES)
@settings(deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_words_are_those_of_the_engine(where, seed, epoch, ids, num_slots):
    counters = [(*halves(n), epoch, slot) for n in ids for slot in range(num_slots)]
    actual = draw(np.array(counters, np.uint32), np.array(halves(seed), np.uint32), where)
    expected = random_words(seed, epoch, ids, num_slots)
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="without the compiler")
def test_kernel_compiles_for_a_device_without_one():
    pytest.importorskip("numba_cuda", reason="the compiler comes with numba-cuda")
    rows, key = types.Array(types.uint32, 2, "C"), types.Array(types.uint32, 1, "C")
    ptx, _ = cuda.compile(
        fill_on_device.py_func, (rows, key, rows), device=False, abi="numba", cc=(8, 0)
    )
    assert ".target sm_80" in ptx
    # A product of two words, of which both halves are wanted, is not one of 64 by 64 bits.
    assert re.search(r"mul\.(hi|wide)\.u32", ptx)
    assert not re.search(r"\bcall|\.f64", ptx)
