import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fusewarp.engine.permutation import Permutation, PermutationFamily

NEVER_BY_CHANCE = 1e-6  # a p-value below it in a test with fixed seeds is a fault


def whole(num_samples, seed=3, epoch=1, stream=0) -> np.ndarray:
    return Permutation(num_samples, seed, epoch, stream=stream)[np.arange(num_samples)]


def p_of_counts(counts) -> float:
    return float(stats.chisquare(counts).pvalue)


def is_permutation(ids) -> bool:
    return np.array_equal(np.sort(ids), np.arange(len(ids)))


def check_sizes(sizes) -> None:
    for num_samples in sizes:
        permutation = Permutation(num_samples, 7, 1)
        ids = permutation[np.arange(num_samples)]
        assert is_permutation(ids), num_samples
        np.testing.assert_array_equal(permutation.index(ids), np.arange(num_samples))


def test_small_sizes_are_permutations_with_their_inverse():
    check_sizes(range(1, 150))


@pytest.mark.slow
def test_every_size_to_3000_is_a_permutation_with_its_inverse():
    check_sizes(range(150, 3001))


@settings(max_examples=15, deadline=None)
@given(st.integers(3000, 1_000_000), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_random_sizes_are_permutations(num_samples, seed, epoch):
    assert is_permutation(whole(num_samples, seed, epoch))


@given(
    st.integers(2**39, 2**62) | st.integers(2**40 - 3, 2**40 + 3) | st.just(2**62),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
)
def test_round_trips_of_large_sizes(num_samples, fractions):
    positions = np.array([int(fraction * (num_samples - 1)) for fraction in fractions])
    permutation = Permutation(num_samples, 5, 2)
    ids = permutation[positions]
    assert ids.min() >= 0
    assert ids.max() < num_samples
    np.testing.assert_array_equal(permutation.index(ids), positions)
    np.testing.assert_array_equal(permutation[permutation.index(positions)], positions)


def test_the_first_and_last_of_the_largest_size_are_reached():
    permutation = Permutation(2**62, 5)
    ends = np.array([0, 2**62 - 1])
    np.testing.assert_array_equal(permutation[permutation.index(ends)], ends)


@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_all_permutations_of_a_few_come_equally_often(num_samples):
    kinds = {order: row for row, order in enumerate(itertools.permutations(range(num_samples)))}
    counts = np.zeros(math.factorial(num_samples))
    for seed in range(1200):
        counts[kinds[tuple(whole(num_samples, seed, 0))]] += 1
    assert p_of_counts(counts) > NEVER_BY_CHANCE


@pytest.mark.parametrize("num_samples", [5, 9, 33])
def test_every_position_gets_every_id_equally_often(num_samples):
    counts, rows = np.zeros((num_samples, num_samples)), np.arange(num_samples)
    for seed in range(600):
        counts[rows, whole(num_samples, seed, seed % 5)] += 1
    for place in (0, 1, num_samples // 2, -1):
        assert p_of_counts(counts[place]) > NEVER_BY_CHANCE


@pytest.mark.parametrize("num_samples", [9, 25])
def test_odd_and_even_permutations_come_equally_often(num_samples):
    rows, cols = np.triu_indices(num_samples, 1)
    inversions = [
        int((order[rows] > order[cols]).sum())
        for order in (whole(num_samples, seed, 0) for seed in range(600))
    ]
    assert p_of_counts(np.bincount(np.array(inversions) % 2)) > NEVER_BY_CHANCE


@pytest.mark.parametrize("num_samples", [128, 129, 4095, 4097, 2**16 + 1])
def test_few_ids_stay_in_place_or_beside_their_neighbour(num_samples):
    seeds = 200 if num_samples < 5000 else 30
    orders = [whole(num_samples, seed, 4) for seed in range(seeds)]
    fixed = sum(int((order == np.arange(num_samples)).sum()) for order in orders)
    followers = sum(int((np.diff(order) == 1).sum()) for order in orders)
    for count in (fixed, followers):  # both Poisson of mean one a permutation, nearly
        assert stats.poisson(seeds).cdf(count) > NEVER_BY_CHANCE
        assert stats.poisson(seeds).sf(count - 1) > NEVER_BY_CHANCE


@pytest.mark.parametrize("num_samples", [10_000, 2**16, 2**20 + 7])
@pytest.mark.parametrize("lag", [1, 2, 64, 1024])
def test_ids_do_not_follow_their_position_or_their_predecessors(num_samples, lag):
    ids = whole(num_samples, 11, 0).astype(np.float64)
    noise = 5 / math.sqrt(num_samples)
    assert abs(np.corrcoef(ids, np.arange(num_samples))[0, 1]) < noise
    assert abs(np.corrcoef(ids[lag:], ids[:-lag])[0, 1]) < noise


@pytest.mark.parametrize("num_samples", [2**20, 10**9, 2**40 + 1, 2**62])
def test_distances_of_neighbours_are_those_of_random_pairs(num_samples):
    ids = Permutation(num_samples, 2)[np.arange(40_000)] / num_samples
    assert stats.kstest(ids, "uniform").pvalue > NEVER_BY_CHANCE
    distances = np.abs(np.diff(ids)[::2])
    assert stats.kstest(distances, stats.beta(1, 2).cdf).pvalue > NEVER_BY_CHANCE
    low_bits = (Permutation(num_samples, 2)[np.arange(40_000)] % 64).astype(int)
    assert p_of_counts(np.bincount(low_bits, minlength=64)) > NEVER_BY_CHANCE


KEYS = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (2**32, 0, 0), (2**63, 0, 0), (0, 2**31, 0), (0, 0, 1)]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(KEYS, 2)))
def test_seeds_epochs_and_streams_have_nothing_in_common(first, second):
    num_samples = 50_000
    left, right = whole(num_samples, *first), whole(num_samples, *second)
    assert (left == right).sum() < 12  # one is expected
    assert abs(np.corrcoef(left, right)[0, 1]) < 5 / math.sqrt(num_samples)
    assert abs(np.corrcoef(left, np.argsort(right))[0, 1]) < 5 / math.sqrt(num_samples)


def test_the_order_of_saved_states_never_changes():
    assert Permutation(10**9, 1, 2)[[0, 1, 2, 10**9 - 1]].tolist() == KNOWN_BILLION
    assert whole(10, 3, 1).tolist() == KNOWN_TEN


KNOWN_BILLION = [661476357, 434849851, 354125315, 808193217]
KNOWN_TEN = [2, 6, 5, 9, 7, 8, 3, 0, 1, 4]


def test_shape_and_type_of_the_positions_are_kept():
    permutation = Permutation(100, 4)
    grid = permutation[np.arange(60, dtype=np.int32).reshape(6, 10)]
    assert grid.shape == (6, 10)
    assert grid.dtype == np.int64
    assert permutation[7].shape == ()
    assert permutation[[]].shape == (0,)
    np.testing.assert_array_equal(grid.ravel(), [permutation[place] for place in range(60)])


def test_chunks_and_the_whole_agree():
    permutation = Permutation(50_001, 4)
    parts = [
        permutation[np.arange(start, min(start + 999, 50_001))] for start in range(0, 50_001, 999)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), permutation[np.arange(50_001)])


@pytest.mark.parametrize("positions", [[-1], [100], [2, 2**62]])
def test_positions_beyond_the_end_are_refused(positions):
    with pytest.raises(IndexError, match="`positions` must lie from 0 to 99"):
        Permutation(100, 0)[positions]
    with pytest.raises(IndexError, match="`ids` must lie from 0 to 99"):
        Permutation(100, 0).index(positions)


def test_positions_that_are_no_integers_are_refused():
    with pytest.raises(TypeError, match="`positions` must be integers, got float64"):
        Permutation(100, 0)[[0.5]]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("num_samples", (0, 0)),
        ("num_samples", (2**62 + 1, 0)),
        ("num_samples", (10.0, 0)),
        ("seed", (5, -1)),
        ("seed", (5, 2**64)),
        ("epoch", (5, 0, 2**32)),
    ],
)
def test_numbers_out_of_range_are_named(name, arguments):
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number from"):
        Permutation(*arguments)


def test_rows_of_a_family_are_whole_permutations_of_their_own_size():
    sizes = np.array([1, 3, 50, 1000])
    family = PermutationFamily(sizes, 5)
    members = np.repeat(np.arange(4), sizes)
    places = np.concatenate([np.arange(size) for size in sizes])
    shuffled = np.random.default_rng(0).permutation(len(places))
    for number in (0, 1, 2**40):
        ids = np.empty(len(places), np.int64)
        rows = members[shuffled], np.full(len(places), number), places[shuffled]
        ids[shuffled] = family.ids(*rows)
        for member in range(4):
            assert is_permutation(ids[members == member])


def test_permutations_of_a_family_come_equally_often():
    kinds = {order: row for row, order in enumerate(itertools.permutations(range(4)))}
    numbers = np.repeat(np.arange(20_000), 4)
    members = numbers % 3
    ids = PermutationFamily([4, 4, 4], 1).ids(members, numbers, np.tile(np.arange(4), 20_000))
    counts = np.zeros(24)
    for order in ids.reshape(-1, 4).tolist():
        counts[kinds[tuple(order)]] += 1
    assert p_of_counts(counts) > NEVER_BY_CHANCE


def test_members_of_a_family_have_nothing_in_common():
    places = np.arange(50_000)
    family = PermutationFamily([50_000, 50_000], 1)
    rows = [
        family.ids(np.full(50_000, member), np.full(50_000, number), places)
        for member in (0, 1)
        for number in (0, 1)
    ]
    for left, right in itertools.combinations(rows, 2):
        assert (left == right).sum() < 12  # one is expected
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / math.sqrt(50_000)
