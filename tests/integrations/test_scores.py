import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from fusewarp.integrations.keras.scores import (
    area_under_roc,
    average_precision,
    confusion_counts,
    precision_recall_f1,
    regression_errors,
)

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, num_classes=st.integers(2, 6), count=st.integers(1, 40))
def test_classes_are_scored_as_scikit_learn_does(seed, num_classes, count):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, num_classes, (2, count))
    every = np.arange(num_classes)

    counts = confusion_counts(labels, predicted, num_classes)
    ours = precision_recall_f1(labels[:, None] == every, predicted[:, None] == every)

    expected = metrics.confusion_matrix(labels, predicted, labels=every)
    np.testing.assert_array_equal(counts, expected)
    theirs = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    for our, their in zip(ours, theirs[:3], strict=True):
        np.testing.assert_allclose(our, their)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, count=st.integers(2, 40), levels=st.sampled_from([2, 5, 1000]))
def test_rankings_are_scored_as_scikit_learn_does_ties_included(seed, count, levels):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count).astype(bool)
    truth[:2] = True, False
    scores = (rng.integers(0, levels, count) / levels).astype(np.float32)

    expected = metrics.average_precision_score(truth, scores)
    assert average_precision(truth, scores) == pytest.approx(expected)
    assert area_under_roc(truth, scores) == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_a_ranking_without_both_kinds_has_no_score():
    scores = np.array([0.2, 0.7], np.float32)

    assert np.isnan(average_precision(np.array([False, False]), scores))
    assert np.isnan(area_under_roc(np.array([False, False]), scores))
    assert np.isnan(area_under_roc(np.array([True, True]), scores))
    assert average_precision(np.array([True, True]), scores) == 1.0


def test_quantities_are_scored_as_scikit_learn_does():
    rng = np.random.default_rng(3)
    values = rng.normal(10, 4, (30, 2))
    predicted = values + rng.normal(1, 2, (30, 2))

    absolute, root, r2 = regression_errors(values, predicted)

    per_column = {"multioutput": "raw_values"}
    np.testing.assert_allclose(
        absolute, metrics.mean_absolute_error(values, predicted, **per_column)
    )
    expected = metrics.root_mean_squared_error(values, predicted, **per_column)
    np.testing.assert_allclose(root, expected)
    np.testing.assert_allclose(r2, metrics.r2_score(values, predicted, **per_column))


def test_a_constant_quantity_has_no_r2():
    values = np.full((4, 1), 2.0)

    absolute, root, r2 = regression_errors(values, values + 1)

    assert (absolute[0], root[0]) == (1.0, 1.0)
    assert np.isnan(r2[0])
