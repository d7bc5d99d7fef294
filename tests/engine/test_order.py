import numpy as np
import pytest

from fusewarp.engine.order import epoch_order


@pytest.mark.parametrize("num_samples", [1, 2, 7, 100])
@pytest.mark.parametrize("shards", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_shards_together_are_the_epoch(num_samples, shards, shuffle):
    whole = epoch_order(num_samples, 4, 2, shuffle=shuffle)
    assert sorted(whole) == list(range(num_samples))
    for index in range(shards):
        part = epoch_order(num_samples, 4, 2, shuffle=shuffle, shard=(index, shards))
        np.testing.assert_array_equal(part, whole[index::shards])


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
