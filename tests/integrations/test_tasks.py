import keras
import numpy as np
import pytest

from fusewarp.engine import ArraySource
from fusewarp.integrations.keras.class_weights import class_weights
from fusewarp.integrations.keras.tasks import Task, check_labels, find_task

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def source_of(labels, class_names=None):
    labels = np.asarray(labels)
    source = ArraySource(np.zeros((len(labels), 2, 2, 3), np.uint8), labels)
    if class_names is not None:
        source.class_names = class_names
    return source


class TestFinding:
    @pytest.mark.parametrize(
        ("labels", "name", "outputs"),
        [
            ([0, 2, 1], "single-label", ("0", "1", "2")),
            ([[1, 1], [0, 1], [0, 0]], "multi-label", ("0", "1")),
            ([0.5, 2.0, -1.0], "regression", ("value",)),
            ([[0.5, 1.0], [2.0, 3.0]], "regression", ("0", "1")),
            ([True, False], "binary", ("0", "1")),
        ],
    )
    def test_what_labels_look_like(self, labels, name, outputs):
        task = find_task(None, source_of(labels))
        assert (task.name, task.outputs) == (name, outputs)

    def test_names_of_a_source_are_those_of_the_outputs(self):
        assert find_task(None, source_of([0, 1], ["cat", "dog"])).outputs == ("cat", "dog")
        task = find_task("binary", source_of([0, 1], ["cat", "dog"]))
        assert (task.outputs, task.num_outputs) == (("cat", "dog"), 1)

    @pytest.mark.parametrize(
        ("name", "labels", "message"),
        [
            (None, [[0, 1], [1, 0]], r"argmax\(axis=1\); or say task=\"multi-label\""),
            ("single-label", [0.5, 1.0], "One integer label per picture"),
            ("single-label", [-1, 1], "must start at 0, got -1"),
            ("single-label", [0, 0], "two are needed"),
            ("binary", [0, 2], "0 or 1, got"),
            ("binary", [[0, 1], [1, 1]], "Binary labels are"),
            ("multi-label", [0, 1], "classes"),
            ("multi-label", [[0, 2]], "0 or 1"),
            ("regression", [1.0, float("nan")], "NaN"),
            ("classes", [0, 1], "`task` must be one of"),
        ],
    )
    def test_labels_that_do_not_fit(self, name, labels, message):
        with pytest.raises(ValueError, match=message):
            find_task(name, source_of(labels))

    def test_smoothing_is_for_classes(self):
        with pytest.raises(ValueError, match="is for classes"):
            find_task("regression", source_of([0.5, 1.5]), 0.1)

    def test_validation_of_another_width(self):
        task = find_task(None, source_of([[1, 1], [0, 1]]))
        with pytest.raises(ValueError, match="3 label"):
            check_labels(task, "validation_source", source_of([[1, 1, 0]]))


def loss_of(task, labels, outputs):
    targets = task.targets(np.asarray(labels))
    return float(task.loss()(targets, np.asarray(outputs, np.float32)))


class TestLosses:
    """Against the formulas."""

    PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])

    def test_one_class(self):
        task = Task("single-label", ("a", "b", "c"))
        expected = -np.log([0.7, 0.6]).mean()
        assert loss_of(task, [0, 2], self.PROBABILITIES) == pytest.approx(expected, rel=1e-5)

    def test_one_class_smoothed(self):
        task = Task("single-label", ("a", "b", "c"), 0.3)
        smooth = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
        expected = -(smooth * np.log(self.PROBABILITIES)).sum(axis=1).mean()
        assert loss_of(task, [0, 2], self.PROBABILITIES) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_several_classes_and_yes_or_no(self, smoothing):
        labels, outputs = np.array([[1, 0], [1, 1]]), np.array([[0.8, 0.3], [0.6, 0.9]])
        soft = labels * (1 - smoothing) + smoothing / 2
        expected = -(soft * np.log(outputs) + (1 - soft) * np.log(1 - outputs))
        task = Task("multi-label", ("a", "b"), smoothing)
        assert loss_of(task, labels, outputs) == pytest.approx(expected.mean(), rel=1e-4)
        binary = Task("binary", ("no", "yes"), smoothing)
        got = loss_of(binary, labels[:, 0], outputs[:, :1])
        assert got == pytest.approx(expected[:, 0].mean(), rel=1e-4)

    def test_numbers(self):
        task = Task("regression", ("value",))
        assert loss_of(task, [1.0, 3.0], [[2.0], [1.0]]) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("task", "labels", "outputs", "share"),
    [
        (Task("single-label", ("a", "b")), [0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], 2 / 3),
        (Task("single-label", ("a", "b"), 0.1), [0, 1], [[0.9, 0.1], [0.6, 0.4]], 1 / 2),
        (Task("multi-label", ("a", "b")), [[1, 0], [1, 1]], [[0.9, 0.6], [0.9, 0.9]], 3 / 4),
        (Task("binary", ("a", "b")), [1, 0, 1], [[0.9], [0.9], [0.9]], 2 / 3),
    ],
)
def test_accuracy_is_the_tasks_own(task, labels, outputs, share):
    metric = task.metric("accuracy")
    metric.update_state(task.targets(np.asarray(labels)), np.asarray(outputs, np.float32))
    assert float(metric.result()) == pytest.approx(share)
    assert metric.name == "accuracy"
    auc = keras.metrics.AUC()
    assert task.metric(auc) is auc


class TestClassWeights:
    TASK = Task("single-label", ("cat", "dog", "owl"))
    LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2])

    def test_balanced_as_scikit_learn(self):
        utils = pytest.importorskip("sklearn.utils.class_weight")
        expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=self.LABELS)
        got = class_weights("balanced", self.TASK, self.LABELS)
        np.testing.assert_allclose(got, expected, rtol=1e-6)

    def test_by_name_and_by_number(self):
        got = class_weights({"dog": 3.0, 2: 0.5}, self.TASK, self.LABELS)
        np.testing.assert_array_equal(got, [1.0, 3.0, 0.5])

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"cow": 2.0}, "'cow'; the classes are"),
            ({3: 2.0}, "has 3"),
            ({"dog": -1.0}, "at least 0, got -1"),
            ("even", 'must be "balanced"'),
        ],
    )
    def test_wrong_ones(self, weights, message):
        with pytest.raises(ValueError, match=message):
            class_weights(weights, self.TASK, self.LABELS)

    def test_a_class_without_pictures_cannot_be_balanced(self):
        with pytest.raises(ValueError, match=r"no training picture is of \['owl'\]"):
            class_weights("balanced", self.TASK, self.LABELS[:6])

    def test_several_classes_have_no_weight_of_one(self):
        with pytest.raises(ValueError, match="this is multi-label"):
            class_weights("balanced", Task("multi-label", ("a", "b")), np.zeros((2, 2)))


def test_one_column_of_zeros_and_ones_is_yes_or_no():
    """As Keras' label_mode="binary" has it."""
    assert find_task(None, source_of([[0.0], [1.0], [1.0]])).name == "binary"


def test_text_is_no_label():
    with pytest.raises(ValueError, match=r"np\.unique\(labels, return_inverse=True\)"):
        find_task(None, source_of(["cat", "dog"]))
