import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusewarp.engine import order as order_module
from fusewarp.engine.order import SORTED_SAMPLES, EpochOrder, epoch_order, shard_length

BILLION = 10**9


@pytest.fixture
def few_are_sorted(monkeypatch):
    """Make even small epochs take the road of large ones."""
    monkeypatch.setattr(order_module, "SORTED_SAMPLES", 0)


def shards_of(num_samples, count, even_shards=None, *, shuffle=True) -> list[np.ndarray]:
    orders = [
        EpochOrder(
            num_samples, 4, 2, shuffle=shuffle, shard=(index, count), even_shards=even_shards
        )
        for index in range(count)
    ]
    parts = [order.ids(0, len(order)) for order in orders]
    assert [len(part) for part in parts] == [len(order) for order in orders]
    return parts


@pytest.mark.parametrize("num_samples", [1, 2, 7, 100])
@pytest.mark.parametrize("shards", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_shards_together_are_the_epoch(num_samples, shards, shuffle):
    whole = epoch_order(num_samples, 4, 2, shuffle=shuffle)
    assert sorted(whole) == list(range(num_samples))
    for index in range(shards):
        part = epoch_order(num_samples, 4, 2, shuffle=shuffle, shard=(index, shards))
        np.testing.assert_array_equal(part, whole[index::shards])


@pytest.mark.usefixtures("few_are_sorted")
@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_shards_of_a_computed_order_together_are_the_epoch(shards):
    whole = epoch_order(1001, 4, 2, shuffle=True)
    assert sorted(whole) == list(range(1001))
    for index, part in enumerate(shards_of(1001, shards)):
        np.testing.assert_array_equal(part, whole[index::shards])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_dropping_leaves_out_the_end_and_repeating_begins_anew(num_samples, count, shuffle):
    whole = epoch_order(num_samples, 4, 2, shuffle=shuffle)
    dropped = shards_of(num_samples, count, "drop", shuffle=shuffle)
    assert {len(part) for part in dropped} == {num_samples // count}
    kept = np.stack(dropped, axis=1).ravel()
    np.testing.assert_array_equal(kept, whole[: num_samples - num_samples % count])
    repeated = shards_of(num_samples, count, "repeat", shuffle=shuffle)
    assert {len(part) for part in repeated} == {-(-num_samples // count)}
    padded = np.stack(repeated, axis=1).ravel()
    np.testing.assert_array_equal(padded, np.resize(whole, len(padded)))


def test_order_changes_with_seed_and_epoch_and_nothing_else():
    orders = {
        (seed, epoch): epoch_order(50, seed, epoch, shuffle=True).tobytes()
        for seed in (0, 1, 2**40)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == len(orders)
    assert epoch_order(50, 1, 1, shuffle=True).tobytes() == orders[1, 1]


def test_every_sample_comes_first_about_equally_often():
    firsts = [epoch_order(5, 0, epoch, shuffle=True)[0] for epoch in range(2000)]
    counts = np.bincount(firsts, minlength=5)
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


def test_the_order_of_states_saved_before_large_epochs_were_computed_is_the_same():
    assert epoch_order(10, 3, 1, shuffle=True).tolist() == KNOWN_TEN
    many = epoch_order(100_000, 2**40 + 1, 7, shuffle=True)
    assert hashlib.sha256(many.astype("<i8").tobytes()).hexdigest() == KNOWN_HASH


KNOWN_TEN = [3, 5, 1, 4, 6, 8, 0, 9, 7, 2]
KNOWN_HASH = "df44a2ee7f1c93ed5ae49552fecf7158ba8c4ae6afd56d0c043d0828c316011f"


@pytest.mark.slow
def test_the_largest_sorted_epoch_is_sorted_and_the_next_is_not():
    largest = EpochOrder(SORTED_SAMPLES, 1, 0, shuffle=True)
    assert isinstance(largest._permutation, np.ndarray)
    assert SORTED_SAMPLES == 2**22  # part of every saved state
    next_one = EpochOrder(SORTED_SAMPLES + 1, 1, 0, shuffle=True)
    assert not isinstance(next_one._permutation, np.ndarray)


def test_any_part_of_a_large_epoch_is_the_same_however_it_is_cut():
    order = EpochOrder(BILLION, 1, 0, shuffle=True, shard=(3, 7))
    part = order.ids(50_000_000, 50_003_000)
    pieces = [order.ids(start, start + 1000) for start in range(50_000_000, 50_003_000, 1000)]
    np.testing.assert_array_equal(np.concatenate(pieces), part)
    assert len(set(part.tolist())) == 3000
    assert len(order.ids(len(order) - 5, len(order) + 5)) == 5


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_large_epoch_takes_no_memory(shuffle):
    tracemalloc.start()
    try:
        order = EpochOrder(BILLION, 1, 0, shuffle=shuffle)
        order.ids(10**8, 10**8 + 1000)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_ten_million_ids_in_shards_come_once_each_in_flat_memory(count):
    num_samples, at_once = 10_000_000, 65_536
    seen = np.zeros(num_samples, np.uint8)
    tracemalloc.start()
    try:
        for index in range(count):
            order = EpochOrder(num_samples, 9, 3, shuffle=True, shard=(index, count))
            for start in range(0, len(order), at_once):
                seen[order.ids(start, start + at_once)] += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (seen == 1).all()
    assert peak < 64 * at_once


def test_shard_lengths_add_up():
    for num_samples in (1, 10, 64, 1000):
        for count in range(1, 65):
            lengths = [shard_length(num_samples, (index, count)) for index in range(count)]
            assert sum(lengths) == num_samples
            assert max(lengths) - min(lengths) <= 1
