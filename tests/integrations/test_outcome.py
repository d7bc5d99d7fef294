import numpy as np
import pytest

from fusewarp.integrations.keras.mistakes import Mistake, find_mistakes
from fusewarp.integrations.keras.outcome import Outcome, column_means
from fusewarp.integrations.keras.tasks import Task


def outcome(task, names, predictions, labels):
    return Outcome(Task(task, names), np.array(predictions, np.float32), np.array(labels))


ONE_OF_THREE = outcome(
    "single-label",
    ("ant", "bee", "cat"),
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.05, 0.9, 0.05], [0.2, 0.5, 0.3]],
    [0, 1, 0, 1],
)
YES_OR_NO = outcome("binary", ("no", "yes"), [[0.9], [0.4], [0.2], [0.7]], [1, 1, 0, 0])
SEVERAL = outcome(
    "multi-label", ("sun", "sea"), [[0.9, 0.2], [0.6, 0.7], [0.1, 0.01]], [[1, 0], [0, 1], [1, 1]]
)
TWO_QUANTITIES = outcome(
    "regression", ("age", "weight"), [[1.0, 50.0], [2.0, 64.0]], [[1.5, 50.0], [2.0, 60.0]]
)
ONE_QUANTITY = outcome("regression", ("value",), [[1.0], [5.0]], [1.5, 1.0])


def test_table_of_classes():
    assert ONE_OF_THREE.table() == [
        {"class": "ant", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"class": "bee", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"class": "cat", "precision": None, "recall": None, "f1": None, "support": 0},
    ]
    assert ONE_OF_THREE.confusion().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_table_of_yes_or_no_has_both_sides():
    no, yes = YES_OR_NO.table()

    assert (yes["precision"], yes["recall"], yes["support"]) == (0.5, 0.5, 2)
    assert yes["auc"] == no["auc"] == pytest.approx(0.75)  # 3 of the 4 pairs are in order
    assert yes["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert YES_OR_NO.confusion().tolist() == [[1, 1], [1, 1]]


def test_a_probability_of_a_half_says_no_as_in_keras():
    edge = outcome("binary", ("no", "yes"), [[0.5]], [0])

    assert edge.predicted_classes.tolist() == [0]


def test_table_of_labels():
    sun, sea = SEVERAL.table()

    assert (sun["precision"], sun["recall"], sun["support"]) == (0.5, 0.5, 2)
    assert (sea["precision"], sea["recall"], sea["support"]) == (1.0, 0.5, 2)
    assert sea["auc"] == pytest.approx(0.5)
    assert SEVERAL.confusion() is None


def test_table_of_quantities():
    age, weight = TWO_QUANTITIES.table()

    assert age == {
        "output": "age",
        "mean_absolute_error": 0.25,
        "root_mean_squared_error": pytest.approx(0.125**0.5),
        "r2": pytest.approx(-1.0),
    }
    assert weight["mean_absolute_error"] == 2.0
    assert ONE_QUANTITY.table()[0]["mean_absolute_error"] == 2.25


def test_means_leave_out_what_is_not_defined():
    means = column_means(ONE_OF_THREE.table())

    assert means == {"precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_surest_wrong_classes_come_first():
    assert find_mistakes(ONE_OF_THREE) == [
        Mistake(2, "ant", "bee", pytest.approx(0.9)),
        Mistake(1, "bee", "ant", pytest.approx(0.6)),
    ]
    assert [mistake.sample_id for mistake in find_mistakes(ONE_OF_THREE, 1)] == [2]


def test_surest_wrong_yes_or_no():
    assert find_mistakes(YES_OR_NO) == [
        Mistake(3, "no", "yes", pytest.approx(0.7)),
        Mistake(1, "yes", "no", pytest.approx(0.6)),
    ]


def test_surest_wrong_label_of_each_picture():
    assert find_mistakes(SEVERAL) == [
        Mistake(2, "sea", "no sea", pytest.approx(0.99)),
        Mistake(1, "no sun", "sun", pytest.approx(0.6)),
    ]


def test_largest_errors_are_in_units_of_the_spread():
    first, second = find_mistakes(TWO_QUANTITIES)

    assert first == Mistake(0, "age 1.5", "age 1", None)  # 0.5 of 0.25, not 4 of 5
    assert second.true == "weight 60"
    assert find_mistakes(ONE_QUANTITY)[0] == Mistake(1, "1", "5", None)


def test_without_mistakes_there_are_none():
    right = outcome("single-label", ("a", "b"), [[0.9, 0.1]], [0])

    assert find_mistakes(right) == []
