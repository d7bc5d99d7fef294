import csv
import re

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from fusewarp import ArraySource
from fusewarp.integrations.copies import predict_source
from fusewarp.integrations.evaluate import evaluate_source, labelled_source
from fusewarp.integrations.saved_run import load_run
from oracles.saved_runs import noise_pictures, write_run

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PICTURES = noise_pictures(45)
CLASSES = np.arange(45) % 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "classes"
    write_run(folder, "single-label", ["ant", "bee", "cat"])
    return load_run(folder)


def run_of(folder, task, names, **hyperparameters):
    write_run(folder, task, names, **hyperparameters)
    return load_run(folder)


def test_loss_and_metrics_are_those_of_keras(run):
    found = evaluate_source(run, ArraySource(PICTURES, CLASSES))

    run.model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    expected = run.model.evaluate(PICTURES.astype(np.float32), CLASSES, verbose=0, return_dict=True)
    assert found.pictures == 45
    assert found.figures == pytest.approx(expected, rel=1e-4)
    predicted = predict_source(run, ArraySource(PICTURES)).argmax(axis=1)
    np.testing.assert_array_equal(
        found.confusion_matrix, metrics.confusion_matrix(CLASSES, predicted)
    )
    recalls = metrics.recall_score(CLASSES, predicted, average=None)
    np.testing.assert_allclose([row["recall"] for row in found.table], recalls)


def test_copies_are_measured_by_their_mean(run):
    source = ArraySource(PICTURES, CLASSES)

    found = evaluate_source(run, source, copies=3)

    mean = predict_source(run, source, copies=3)
    expected = -np.log(mean[np.arange(45), CLASSES]).mean()
    assert found.figures["loss"] == pytest.approx(expected, rel=1e-4)
    assert found.figures["loss"] != pytest.approx(evaluate_source(run, source).figures["loss"])


@pytest.mark.parametrize(
    ("task", "names", "labels"),
    [
        ("binary", ["no", "yes"], CLASSES == 1),
        ("multi-label", ["sun", "sea"], np.stack([CLASSES == 1, CLASSES != 2], axis=1)),
    ],
)
def test_other_classes(task, names, labels, tmp_path):
    run = run_of(tmp_path / "run", task, names)

    found = evaluate_source(run, ArraySource(PICTURES, labels.astype(np.int64)))

    scores = predict_source(run, ArraySource(PICTURES))
    flat = labels.reshape(scores.shape)
    assert found.figures["accuracy"] == pytest.approx(((scores > 0.5) == flat).mean())
    assert found.figures["loss"] == pytest.approx(metrics.log_loss(flat.ravel(), scores.ravel()))
    last = found.table[-1]
    assert last["auc"] == pytest.approx(metrics.roc_auc_score(flat[:, -1], scores[:, -1]))


def test_quantities_by_the_runs_own_loss_and_metrics(tmp_path):
    loss = keras.losses.serialize(keras.losses.MeanAbsoluteError())
    own = {"loss": loss, "metrics": ["mean_squared_error", "mae"]}
    run = run_of(tmp_path / "run", "regression", ["age", "weight"], **own)
    values = np.random.default_rng(0).normal(size=(45, 2))

    found = evaluate_source(run, ArraySource(PICTURES, values))

    errors = np.abs(predict_source(run, ArraySource(PICTURES)) - values)
    assert found.figures["loss"] == pytest.approx(errors.mean(), rel=1e-4)
    assert found.figures["mean_squared_error"] == pytest.approx((errors**2).mean(), rel=1e-4)
    assert found.figures["mae"] == pytest.approx(errors.mean(), rel=1e-4)
    assert [row["output"] for row in found.table] == ["age", "weight"]
    assert found.confusion_matrix is None


def test_label_smoothing_is_in_the_loss_as_in_training(tmp_path):
    run = run_of(tmp_path / "run", "single-label", ["a", "b", "c"], label_smoothing=0.2)

    found = evaluate_source(run, ArraySource(PICTURES, CLASSES))

    targets = np.eye(3)[CLASSES] * 0.8 + 0.2 / 3
    scores = predict_source(run, ArraySource(PICTURES))
    assert found.figures["loss"] == pytest.approx(
        -(targets * np.log(scores)).sum(axis=1).mean(), rel=1e-4
    )
    right = (scores.argmax(axis=1) == CLASSES).mean()
    assert found.figures["accuracy"] == pytest.approx(right)


def test_labels_of_another_task_are_refused(run):
    with pytest.raises(ValueError, match=re.escape("There is a label 3, but training had 3")):
        evaluate_source(run, ArraySource(PICTURES, CLASSES + 1))


# --- where labelled photos come from


def save_classes(folder, names, count=2):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(PICTURES[3 * k + number]).save(folder / name / f"{k}.png")
    return folder


@pytest.mark.parametrize("names", [["ant", "bee", "cat"], ["cat", "bee"], ["cat"]])
def test_sub_folders_are_classes_of_the_run(run, names, tmp_path):
    source = labelled_source(run, save_classes(tmp_path / "photos", names))

    pairs = zip(source.names, source.labels, strict=True)
    places = {name.split("/")[0]: int(label) for name, label in pairs}
    assert places == {name: ["ant", "bee", "cat"].index(name) for name in names}
    assert evaluate_source(run, source).pictures == 2 * len(names)


def test_classes_that_the_run_does_not_know_are_refused(run, tmp_path):
    folder = save_classes(tmp_path / "photos", ["ant", "dog"])

    with pytest.raises(ValueError, match=re.escape("['dog'], but the run's classes are ['ant'")):
        labelled_source(run, folder)


def test_folders_and_files_that_are_not_there(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        labelled_source(run, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        labelled_source(run, tmp_path / "none.csv")


def write_table(folder, columns):
    folder.mkdir(exist_ok=True)
    rows = list(zip(*columns.values(), strict=True))
    for number in range(len(rows)):
        Image.fromarray(PICTURES[number]).save(folder / f"{number}.png")
    with open(folder / "table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *columns])
        writer.writerows([f"{number}.png", *row] for number, row in enumerate(rows))
    return folder / "table.csv"


def test_a_table_of_classes_in_the_runs_order(run, tmp_path):
    table = write_table(tmp_path, {"label": ["cat", "ant", "cat"]})

    source = labelled_source(run, table)

    assert source.labels.tolist() == [2, 0, 2]
    assert evaluate_source(run, source).confusion_matrix.sum(axis=1).tolist() == [1, 0, 2]


def test_a_table_with_a_class_of_its_own_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="dog"):
        labelled_source(run, write_table(tmp_path, {"label": ["cat", "dog"]}))


def test_a_table_of_other_columns(run, tmp_path):
    table = write_table(tmp_path, {"species": ["bee", "ant"]})

    with pytest.raises(ValueError, match="no column 'label'"):
        labelled_source(run, table)
    assert labelled_source(run, table, label=["species"]).labels.tolist() == [1, 0]


@pytest.mark.parametrize("separator", [None, ";"])
def test_a_table_of_several_labels(separator, tmp_path):
    run = run_of(tmp_path / "run", "multi-label", ["sun", "sea", "sky"])
    columns = {"sky": [1, 0, 0], "sun": [1, 1, 0], "sea": [0, 1, 0]}
    if separator:
        columns = {"label": ["sun;sky", "sea;sun", ""]}

    source = labelled_source(
        run, write_table(tmp_path / "photos", columns), label_separator=separator
    )

    assert source.labels.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert evaluate_source(run, source).pictures == 3


@pytest.mark.parametrize("names", [["age"], ["age", "weight"]])
def test_a_table_of_whole_numbers_is_still_of_quantities(names, tmp_path):
    run = run_of(tmp_path / "run", "regression", names)
    columns = {"weight": [50, 60, 70], "age": [3, 4, 5]}

    source = labelled_source(run, write_table(tmp_path / "photos", columns))

    expected = np.stack([columns[name] for name in names], axis=1)
    np.testing.assert_array_equal(np.reshape(source.labels, expected.shape), expected)
    assert evaluate_source(run, source).figures["mean_absolute_error"] > 1


def test_folders_cannot_say_several_labels(tmp_path):
    run = run_of(tmp_path / "run", "multi-label", ["sun", "sea"])

    with pytest.raises(ValueError, match="This run is multi-label"):
        labelled_source(run, tmp_path)
