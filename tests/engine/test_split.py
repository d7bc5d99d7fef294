import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusewarp import stratified_split, train_validation_test_split

NAMES = [f"{label}/{number}.jpg" for label in "ab" for number in range(20 if label == "a" else 10)]
LABELS = np.array([name[0] == "b" for name in NAMES], np.int64)


def test_split_keeps_the_shares_of_the_classes():
    train, validation = stratified_split(NAMES, LABELS, 0.2)
    assert sorted([*train, *validation]) == list(range(30))
    assert np.bincount(LABELS[validation]).tolist() == [4, 2]


@pytest.mark.parametrize(
    "labels", [LABELS.astype(bool), LABELS.astype(np.float32), LABELS[:, None]]
)
def test_zeros_and_ones_are_classes_in_whatever_type(labels):
    _, validation = stratified_split(NAMES, labels, 0.2)
    assert np.bincount(LABELS[validation]).tolist() == [4, 2]


def test_split_goes_by_name_not_position():
    _, validation = stratified_split(NAMES, LABELS, 0.2, seed=3)
    chosen = {NAMES[i] for i in validation}
    backwards = NAMES[::-1]
    _, again = stratified_split(backwards, LABELS[::-1], 0.2, seed=3)
    assert {backwards[i] for i in again} == chosen
    _, other = stratified_split(NAMES, LABELS, 0.2, seed=4)
    assert {NAMES[i] for i in other} != chosen


def test_the_split_of_a_name_is_the_same_on_every_machine():
    _, validation = stratified_split(NAMES, LABELS, 0.2, seed=0)
    assert validation.tolist() == [0, 1, 3, 15, 26, 27]


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_split_refuses_a_fraction_that_leaves_a_side_empty(fraction):
    with pytest.raises(ValueError, match="`fraction`"):
        stratified_split(NAMES, LABELS, fraction)


@pytest.mark.parametrize(("validation", "test"), [(0, 0.1), (0.2, 0), (0.5, 0.5), (0.2, np.nan)])
def test_three_parts_need_shares_that_leave_something(validation, test):
    with pytest.raises(ValueError, match="`validation` and `test`"):
        train_validation_test_split(NAMES, LABELS, validation=validation, test=test)


def test_split_refuses_too_few_samples():
    with pytest.raises(ValueError, match="2 samples are too few for a validation part"):
        stratified_split(["a", "b"], np.array([0, 1]), 0.5)
    with pytest.raises(ValueError, match="4 samples are too few for a test part"):
        train_validation_test_split(list("abcd"), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="30 samples in 1 groups are too few"):
        stratified_split(NAMES, LABELS, 0.2, groups=["one patient"] * 30)


def test_split_takes_names_that_are_not_utf_8():
    names = [os.fsdecode(b"caf\xe9 %d" % number) for number in range(6)]
    train, validation = stratified_split(names, None, 0.5)
    assert len(train) == len(validation) == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:5], "one class, one row of 0/1 or one row of numbers per name"),
        (np.zeros((30, 0)), "one class, one row of 0/1"),
        (np.full((30, 2), 7), "must be 0 or 1 .* got int64 such as 7"),
        (np.full(30, np.nan), r"must be finite; sample 0 has \[nan\]"),
    ],
)
def test_split_refuses_labels_it_cannot_keep_the_shares_of(labels, message):
    with pytest.raises(ValueError, match=message):
        stratified_split(NAMES, labels, 0.2)


def test_split_refuses_groups_that_do_not_fit_the_names():
    with pytest.raises(ValueError, match=r"`groups` must be one per name \(30\), got 2"):
        stratified_split(NAMES, LABELS, 0.2, groups=["a", "b"])
    for unknown in (None, float("nan")):
        with pytest.raises(ValueError, match=r"no value for sample 1 \(a/1.jpg\), and 1 in all"):
            stratified_split(NAMES, LABELS, 0.2, groups=["a", unknown, *range(28)])


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=150),
    st.floats(0.05, 0.6),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_class_has_its_share(labels, fraction, seed):
    labels = np.array([0, 0, *labels])
    names = [f"{number}.jpg" for number in range(len(labels))]
    train, validation = stratified_split(names, labels, fraction, seed)
    assert sorted([*train, *validation]) == list(range(len(names)))
    for label in np.unique(labels):
        count, part = (labels == label).sum(), (labels[validation] == label).sum()
        assert abs(part - count * fraction) <= max(1, 0.2 * count * fraction)
        assert 1 <= part < count or count == 1
        assert count > 1 or part == 0  # a class of one is for training


@given(st.integers(3, 60), st.floats(0.1, 0.4), st.floats(0.1, 0.4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_three_parts_are_apart_and_complete(count, validation_share, test_share, seed):
    names = [f"{number}.jpg" for number in range(count)]
    parts = train_validation_test_split(
        names, None, validation=validation_share, test=test_share, seed=seed
    )
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert all(len(part) for part in parts)
    for part, share in zip(parts[1:], (validation_share, test_share), strict=True):
        assert abs(len(part) - count * share) <= max(1, 0.2 * count * share)
    two = stratified_split(names, None, validation_share, seed)
    np.testing.assert_array_equal(parts[1], two[1])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=30, max_size=120),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_a_group_is_never_on_two_sides(samples, seed):
    others = [(group, group % 4) for group in range(10, 22) for _ in range(3)]
    groups, labels = zip(*samples, *others, strict=True)
    names = [f"{number}.jpg" for number in range(len(groups))]
    parts = train_validation_test_split(names, np.array(labels), seed=seed, groups=groups)
    sides = [{groups[i] for i in part} for part in parts]
    assert sum(map(len, sides)) == len(set(groups))


@pytest.mark.parametrize("has_pure_groups", [True, False])
def test_shares_are_kept_as_well_as_groups_allow(has_pure_groups):
    rng = np.random.default_rng(5)
    for seed in range(10):
        groups = rng.integers(0, 60, 2400)
        labels = groups % 4 if has_pure_groups else rng.integers(0, 4, 2400)
        names = [str(number) for number in range(2400)]
        _, validation = stratified_split(names, labels, 0.2, seed, groups)
        shares = np.bincount(labels[validation]) / np.bincount(labels)
        assert np.abs(shares - 0.2).max() < 0.06  # by the hash alone: up to 0.16 and 0.38 off


def test_pandas_columns_are_groups():
    pandas = pytest.importorskip("pandas")
    patients = pandas.Series([f"p{number // 3}" for number in range(30)], index=range(100, 130))
    _, validation = stratified_split(NAMES, LABELS, 0.2, groups=patients)
    _, expected = stratified_split(NAMES, LABELS, 0.2, groups=patients.to_list())
    np.testing.assert_array_equal(validation, expected)
    patients.iloc[2] = pandas.NA
    with pytest.raises(ValueError, match=r"no value for sample 2 \(a/2.jpg\), and 1 in all"):
        stratified_split(NAMES, LABELS, 0.2, groups=patients)


def test_a_group_that_holds_most_of_a_class_is_for_training():
    groups = ["big"] * 80 + ["small"] * 20
    for seed in range(20):
        _, validation = stratified_split([str(i) for i in range(100)], None, 0.2, seed, groups)
        assert validation.tolist() == list(range(80, 100))


def test_samples_of_the_same_name_stay_together():
    names = [f"{number // 3}.jpg" for number in range(90)]  # listed three times
    train, validation = stratified_split(names, None, 0.3)
    assert not {names[i] for i in train} & {names[i] for i in validation}


def added(count):
    """Return the samples of three classes, and these with 10 % more."""
    names = [f"{number % 3}/{number}.jpg" for number in range(3 * count)]
    more = [f"{number % 3}/new {number}.jpg" for number in range(3 * count // 10)]
    return names, sorted(names + more)


@pytest.mark.parametrize(("per_class", "most"), [(10, 0.05), (100, 0.01), (1000, 0.0005)])
def test_added_files_move_hardly_any_of_the_others(per_class, most):
    names, more = added(per_class)
    moved = []
    for seed in range(20 if per_class < 1000 else 5):
        sides = []
        for files in (names, more):
            _, validation = stratified_split(files, np.array([f[0] for f in files]), 0.2, seed)
            sides.append({files[i] for i in validation})
        moved.append(len((sides[0] ^ sides[1]) & set(names)) / len(names))
    assert np.mean(moved) <= most


NEW = [f"new {number}.jpg" for number in range(400)]


def test_added_files_move_none_of_a_large_class():
    names = [f"{number}.jpg" for number in range(4000)]
    for seed in range(5):
        parts = train_validation_test_split(names, None, seed=seed)
        more = train_validation_test_split([*names, *NEW], None, seed=seed)
        for before, after in zip(parts, more, strict=True):
            np.testing.assert_array_equal(before, after[after < 4000])


@given(st.integers(0, 10_000), st.integers(20, 60))
@settings(max_examples=30, deadline=None)
def test_one_added_file_moves_at_most_one_other(seed, count):
    names = [f"{number}.jpg" for number in range(count)]
    _, before = stratified_split(names, None, 0.5, seed)
    _, after = stratified_split([*names, "new.jpg"], None, 0.5, seed)
    assert len({*before} ^ {*after} - {count}) <= 1


def test_every_label_of_many_has_its_share():
    rng = np.random.default_rng(3)
    labels = (rng.random((1000, 5)) < [0.5, 0.2, 0.05, 0.01, 0.006]).astype(np.int64)
    names = [str(number) for number in range(1000)]
    for seed in range(5):
        train, validation = stratified_split(names, labels, 0.2, seed)
        wanted = labels.sum(axis=0) * 0.2
        off = np.abs(labels[validation].sum(axis=0) - wanted)
        assert (off <= np.maximum(1, 0.2 * wanted)).all()
        assert labels[train].any(axis=0).all()
        assert labels[validation].any(axis=0).all()


@pytest.mark.parametrize("columns", [None, 2])
def test_numbers_keep_their_distribution(columns):
    rng = np.random.default_rng(4)
    targets = rng.lognormal(size=(500, columns) if columns else 500).astype(np.float32)
    names = [str(number) for number in range(500)]
    for seed in range(5):
        _, validation = stratified_split(names, targets, 0.2, seed)
        whole, part = targets.reshape(500, -1), targets[validation].reshape(len(validation), -1)
        below = (part < np.median(whole, axis=0)).mean(axis=0)
        assert np.abs(below - 0.5).max() < 0.1
        assert 80 <= len(validation) <= 120
