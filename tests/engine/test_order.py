import os

import numpy as np
import pytest

from fusewarp.engine.order import epoch_order
from fusewarp.engine.split import stratified_split


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


NAMES = [f"{label}/{number}.jpg" for label in "ab" for number in range(20 if label == "a" else 10)]
LABELS = np.array([name[0] == "b" for name in NAMES], np.int64)


def test_split_keeps_the_shares_of_the_classes():
    train, validation = stratified_split(NAMES, LABELS, 0.2)
    assert sorted([*train, *validation]) == list(range(30))
    assert np.bincount(LABELS[validation]).tolist() == [4, 2]


def test_split_goes_by_name_not_position():
    _, validation = stratified_split(NAMES, LABELS, 0.2, seed=3)
    chosen = {NAMES[i] for i in validation}
    backwards = NAMES[::-1]
    _, again = stratified_split(backwards, LABELS[::-1], 0.2, seed=3)
    assert {backwards[i] for i in again} == chosen
    _, other = stratified_split(NAMES, LABELS, 0.2, seed=4)
    assert {NAMES[i] for i in other} != chosen


def test_added_files_move_few_of_the_others():
    _, before = stratified_split(NAMES, None, 0.5)
    more = [*NAMES, "a/new.jpg"]
    _, after = stratified_split(more, None, 0.5)
    assert len({NAMES[i] for i in before} ^ {more[i] for i in after}) <= 2


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_split_refuses_a_fraction_that_leaves_a_side_empty(fraction):
    with pytest.raises(ValueError, match="`fraction`"):
        stratified_split(NAMES, LABELS, fraction)


def test_split_refuses_too_few_samples():
    with pytest.raises(ValueError, match="too few"):
        stratified_split(["a", "b"], np.array([0, 1]), 0.5)


def test_split_takes_names_that_are_not_utf_8():
    names = [os.fsdecode(b"caf\xe9 %d" % number) for number in range(6)]
    train, validation = stratified_split(names, None, 0.5)
    assert len(train) == len(validation) == 3


@pytest.mark.parametrize("labels", [LABELS[:5], np.eye(2)[LABELS]])
def test_split_needs_one_class_per_name(labels):
    with pytest.raises(ValueError, match="`labels` must be one class per name"):
        stratified_split(NAMES, labels, 0.2)
