import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusewarp.engine import ArraySource
from fusewarp.integrations.keras import run_folder
from fusewarp.integrations.keras.run_folder import write_rows, write_run_folder
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.small_training import coloured_pictures, small_base

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FILES = {
    *("model.keras", "labels.txt", "history.csv", "history.png", "report.json", "report.html"),
    *("classes.csv", "confusion_matrix.png", "contact_sheet.png", "mistakes.png"),
}
OF_VALIDATION = {"classes.csv", "confusion_matrix.png", "mistakes.png"}


@pytest.fixture(scope="module")
def sources():
    return ArraySource(*coloured_pictures(19)), ArraySource(*coloured_pictures(11, seed=1))


@pytest.fixture(scope="module")
def trainer(sources):
    trainer = TransferTrainer(
        small_base(), pixels="tf", epochs=(2, 1), trainable_layers=2, batch_size=8, threads=1
    )
    trainer.fit(*sources, verbose=0)
    return trainer


@pytest.fixture(scope="module")
def written(trainer, sources, tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("runs") / "deep" / "first", trainer, *sources)


def test_holds_every_file_and_nothing_is_left_beside_it(written):
    assert {path.name for path in written.iterdir()} == FILES
    assert [path.name for path in written.parent.iterdir()] == ["first"]


def test_history_has_a_line_for_each_epoch(written, trainer):
    with open(written / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["head", "head", "fine-tuning"]
    for row, expected in zip(rows, trainer.history, strict=True):
        assert float(row["val_loss"]) == expected["val_loss"]
        assert float(row["images_per_second"]) == expected["images_per_second"]


def test_report(written, trainer, sources):
    report = json.loads((written / "report.json").read_text())
    assert report["hyperparameters"]["epochs"] == [2, 1]
    assert report["hyperparameters"]["base"] == "small_base"
    assert report["class_names"] == ["0", "1", "2"]
    assert report["task"] == "single-label"
    assert (report["train_pictures"], report["validation_pictures"]) == (19, 11)
    assert report["train_counts"] == {"0": 7, "1": 6, "2": 6}
    assert report["validation_counts"] == {"0": 4, "1": 4, "2": 3}
    assert report["validation"] == pytest.approx(trainer.evaluate(sources[1]))
    assert [stage["trainable_parameters"] for stage in report["stages"]] == [39, 915]
    speeds = sorted(row["images_per_second"] for row in trainer.history)
    assert report["images_per_second"] == speeds[1]
    assert {"python", "keras", "numpy", "tensorflow"} <= set(report["versions"])


def test_labels_and_model_belong_together(written, trainer, sources):
    import keras

    assert (written / "labels.txt").read_text().splitlines() == ["0", "1", "2"]
    model = keras.models.load_model(written / "model.keras")
    np.testing.assert_allclose(
        model.predict(sources[1].images, verbose=0), trainer.predict(sources[1]), atol=1e-5
    )


def test_what_was_predicted_is_what_is_shown(trainer, sources, monkeypatch, tmp_path):
    predicted = np.array([2, 1, 1, 0, 1, 2, 0, 1, 2, 2, 1])  # true: 0 1 2 0 1 2 0 1 2 0 1
    surer = np.linspace(0.5, 1.0, 11)[:, np.newaxis]
    scores = (np.eye(3)[predicted] * surer).astype(np.float32)
    monkeypatch.setattr(trainer, "predict_labelled", lambda source: (scores, source.labels))

    folder = write_run_folder(tmp_path / "run", trainer, *sources)

    report = json.loads((folder / "report.json").read_text())
    assert report["confusion_matrix"] == [[2, 0, 2], [0, 4, 0], [0, 1, 2]]
    with open(folder / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["0", "1", "2"]
    assert [row["recall"] for row in rows] == ["0.5", "1.0", str(2 / 3)]
    assert [row["precision"] for row in rows] == ["1.0", "0.8", "0.5"]
    page = (folder / "report.html").read_text()
    said = re.findall(r"<strong>(.)</strong><br><span class=\"said\">said (.) \((.....?)\)", page)
    assert said == [("0", "2", "0.95"), ("2", "1", "0.60"), ("0", "2", "0.50")]


def test_report_has_the_same_confusion_matrix(written, trainer, sources):
    report = json.loads((written / "report.json").read_text())
    right = np.trace(report["confusion_matrix"]) / 11
    assert right == pytest.approx(report["validation"]["accuracy"])


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".png")))
def test_pictures_are_not_blank(written, name):
    with Image.open(written / name) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=2**24)
    assert len(colours) > 20


def test_history_rows_of_different_columns(tmp_path):
    write_rows(tmp_path / "h.csv", [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "val_loss": 2.5}])
    assert (tmp_path / "h.csv").read_text().splitlines() == [
        "epoch,loss,val_loss",
        "0,1.5,",
        "1,,2.5",
    ]


def test_without_validation(trainer, sources, tmp_path):
    folder = write_run_folder(tmp_path / "run", trainer, sources[0])
    assert {path.name for path in folder.iterdir()} == FILES - OF_VALIDATION
    assert "validation" not in json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("step", ["draw_history", "contact_sheet", "outcome_of", "report_page"])
def test_a_failure_leaves_nothing_behind(trainer, sources, tmp_path, monkeypatch, step):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(run_folder, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_run_folder(tmp_path / "run", trainer, *sources)
    assert list(tmp_path.iterdir()) == []


def test_what_training_keeps_stays_and_the_report_comes_last(
    trainer, sources, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "config.yaml").write_text("trainer: {}")
    moved = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda path, to: (moved.append(path.name), replace(path, to))[1]
    )

    write_run_folder(folder, trainer, *sources)

    assert {path.name for path in folder.iterdir()} == FILES | {"checkpoint", "config.yaml"}
    assert moved[-1] == "report.json"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_is_filled_but_nothing_is_written_over(trainer, sources, tmp_path):
    (tmp_path / "run").mkdir()
    folder = write_run_folder(tmp_path / "run", trainer, *sources)
    before = (folder / "report.json").read_bytes()
    with pytest.raises(FileExistsError, match=re.escape(f"{folder} exists already")):
        write_run_folder(folder, trainer, *sources)
    with pytest.raises(FileExistsError):
        write_run_folder(folder / "report.json", trainer, *sources)
    assert (folder / "report.json").read_bytes() == before


def test_a_trainer_without_an_epoch_is_refused(sources, tmp_path):
    with pytest.raises(RuntimeError, match="call `fit` first"):
        write_run_folder(tmp_path / "run", TransferTrainer(), *sources)
    assert list(tmp_path.iterdir()) == []


def other_source(task, seed):
    pictures, classes = coloured_pictures(18, seed=seed)
    labels = {
        "binary": np.arange(18) % 2,  # has nothing to do with the colours: some are missed
        "multi-label": np.eye(3, dtype=np.int64)[classes] | (np.arange(18)[:, None] % 4 == 0),
        "regression": np.stack([classes * 1.5, np.arange(18) / 7], axis=1),
    }[task]
    return ArraySource(pictures, labels.astype(float if task == "regression" else np.int64))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "drawing", "first_column"),
    [
        ("binary", {"confusion_matrix.png"}, "class"),
        ("multi-label", set(), "class"),
        ("regression", {"predicted_true.png"}, "output"),
    ],
)
def test_other_tasks(task, drawing, first_column, tmp_path):
    sources = other_source(task, seed=0), other_source(task, seed=1)
    trainer = TransferTrainer(
        small_base(), pixels="tf", task=task, epochs=(1, 0), batch_size=9, threads=1
    )
    trainer.fit(*sources, verbose=0)

    folder = write_run_folder(tmp_path / "run", trainer, *sources)

    written = {path.name for path in folder.iterdir()}
    assert written == FILES - {"confusion_matrix.png"} | drawing
    report = json.loads((folder / "report.json").read_text())
    assert report["task"] == task
    assert next(iter(report["table"][0])) == first_column
    assert [row[first_column] for row in report["table"]] == report["class_names"]
    if task == "regression":
        errors = [row["mean_absolute_error"] for row in report["table"]]
        assert np.mean(errors) == pytest.approx(report["validation"]["mean_absolute_error"])
    elif task == "binary":
        right = np.trace(report["confusion_matrix"]) / 18
        assert right == pytest.approx(report["validation"]["accuracy"])
    else:
        assert report["validation_counts"] == {"0": 9, "1": 9, "2": 10}


@pytest.mark.slow
def test_a_pipeline_that_shuffles_is_counted_with_its_own_labels(tmp_path):
    import tensorflow as tf

    pictures, labels = coloured_pictures(18)
    pipeline = tf.data.Dataset.from_tensor_slices((pictures, labels)).shuffle(18).batch(6)
    trainer = TransferTrainer(
        small_base(), pixels="tf", epochs=(1, 0), learning_rate=0.05, batch_size=6, threads=1
    )
    trainer.fit(pipeline, pipeline, verbose=0)

    folder = write_run_folder(tmp_path / "run", trainer, pipeline, pipeline)

    names = {path.name for path in folder.iterdir()}
    assert names == FILES - {"contact_sheet.png", "mistakes.png"}
    report = json.loads((folder / "report.json").read_text())
    right = np.trace(report["confusion_matrix"]) / 18
    assert right == pytest.approx(report["validation"]["accuracy"])
