import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusewarp.engine.philox import philox4x32, random_uniforms, random_words

# The known-answer vectors published with Random123 (kat_vectors, philox4x32, 10 rounds).
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[np.uint64]:
    return [np.uint64(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, answer):
    arrays = tuple(np.array([word]) for word in words(counter))
    result = philox4x32(arrays, tuple(words(key)))
    assert [int(word[0]) for word in result] == [int(word) for word in words(answer)]


def test_philox_agrees_with_numpys_64_bit_seed_layout():
    low_seed, high_seed = random_words(5, 0, [1], 1), random_words(5 << 32, 0, [1], 1)
    assert not np.array_equal(low_seed, high_seed)


@given(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
def test_a_row_depends_on_its_own_id_alone(ids, seed, epoch):
    together = random_words(seed, epoch, ids, 3)
    for row, sample_id in zip(together, ids, strict=True):
        np.testing.assert_array_equal(row, random_words(seed, epoch, [sample_id], 3)[0])


def test_a_further_slot_leaves_the_earlier_draws():
    np.testing.assert_array_equal(
        random_words(1, 2, [3, 4], 2), random_words(1, 2, [3, 4], 5)[:, :8]
    )


def test_seed_epoch_id_and_slot_all_matter():
    draws = [
        random_words(seed, epoch, [sample_id], 2).tobytes()
        for seed in (0, 1, 1 << 40)
        for epoch in (0, 1)
        for sample_id in (0, 1, 1 << 40)
    ]
    assert len(set(draws)) == len(draws)


def test_uniforms_fill_the_interval_evenly():
    draws = random_uniforms(9, 0, np.arange(20_000), 1)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=16, range=(0, 1))[0]
    expected = draws.size / 16
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_uniforms_are_exact_in_float32():
    draws = random_uniforms(3, 1, np.arange(1000), 2)
    np.testing.assert_array_equal(draws, draws.astype(np.float32))
