import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusewarp.engine import BlockShuffle

SIZES = [3, 1, 10, 7, 7, 25, 2, 14, 9, 1, 30]
BLOCK_OF_ID = np.repeat(np.arange(len(SIZES)), SIZES)


def epoch_ids(shuffle, seed=1, epoch=0, shard=(0, 1), even_shards=None) -> np.ndarray:
    order = shuffle.order(seed, epoch, shard, even_shards)
    ids = order.ids(0, len(order))
    assert len(ids) == len(order)
    return ids


sizes_of_blocks = st.lists(st.integers(1, 20), min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(sizes_of_blocks, st.integers(1, 35), st.integers(1, 7))
def test_shards_have_every_sample_once(sizes, window, count):
    shuffle = BlockShuffle(sizes, window)
    parts = [epoch_ids(shuffle, shard=(index, count)) for index in range(count)]
    assert sorted(np.concatenate(parts)) == list(range(sum(sizes)))
    np.testing.assert_array_equal(np.concatenate(parts), epoch_ids(shuffle))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(max_examples=25, deadline=None)
@given(sizes_of_blocks, st.integers(1, 7))
def test_even_shards_have_one_length(sizes, count):
    shuffle, total = BlockShuffle(sizes, 3), sum(sizes)
    whole = epoch_ids(shuffle)
    for even_shards, length in [("drop", total // count), ("repeat", -(-total // count))]:
        parts = [epoch_ids(shuffle, 1, 0, (index, count), even_shards) for index in range(count)]
        together = np.concatenate(parts)
        assert {len(part) for part in parts} == {length}
        np.testing.assert_array_equal(together, np.resize(whole, len(together)))


@pytest.mark.parametrize("window", [1, 2, 4, 50])
def test_a_window_is_left_only_when_it_is_done(window):
    """Cut the order where a new block begins after `window` others: no block comes back."""
    blocks = BLOCK_OF_ID[epoch_ids(BlockShuffle(SIZES, window))]
    first_seen = list(dict.fromkeys(blocks.tolist()))
    start = 0
    for row in range(0, len(first_seen), window):
        together = first_seen[row : row + window]
        length = sum(SIZES[block] for block in together)
        assert sorted(set(blocks[start : start + length])) == sorted(together)
        start += length
    assert start == sum(SIZES)


def test_blocks_of_a_window_are_mixed_and_windows_are_not_in_order():
    ids = epoch_ids(BlockShuffle([100] * 20, 4))
    blocks = ids // 100
    assert (np.diff(blocks) != 0).mean() > 0.6  # 0.75 of four blocks in random order
    assert abs(np.corrcoef(ids, np.arange(2000))[0, 1]) < 0.5
    assert (np.diff(ids) == 1).mean() < 0.02


def test_any_place_is_the_same_however_it_is_reached():
    order = BlockShuffle(SIZES, 3).order(5, 2, (1, 2))
    whole = order.ids(0, len(order))
    for start in range(len(order)):
        np.testing.assert_array_equal(order.ids(start, start + 9), whole[start : start + 9])


def test_order_depends_on_seed_and_epoch():
    shuffle = BlockShuffle(SIZES, 3)
    orders = {epoch_ids(shuffle, seed, epoch).tobytes() for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert epoch_ids(shuffle, 1, 1).tobytes() in orders


def test_a_billion_samples_cost_their_blocks_only():
    order = BlockShuffle(np.full(100_000, 10_000), 16).order(1, 0, (5, 8))
    ids = order.ids(60_000_000, 60_100_000)
    assert len(set(ids.tolist())) == 100_000
    assert len(set((ids // 10_000).tolist())) <= 32  # two windows at most


@pytest.mark.parametrize(
    ("sizes", "window", "message"),
    [
        ([], 2, "`block_sizes` must be a list of whole numbers"),
        ([2.5], 2, "`block_sizes` must be a list of whole numbers"),
        ([3, 0], 2, "got 0 for block 1"),
        ([3, 4], 0, "`window` must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(sizes, window, message):
    with pytest.raises(ValueError, match=message):
        BlockShuffle(sizes, window)
