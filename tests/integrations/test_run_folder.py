import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from fusewarp.engine import ArraySource
from fusewarp.integrations.keras import run_folder
from fusewarp.integrations.keras.run_folder import (
    confusion_counts,
    draw_confusion_matrix,
    draw_history,
    write_history,
    write_run_folder,
)
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.small_training import coloured_pictures, small_base

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FILES = {
    "model.keras",
    "labels.txt",
    "history.csv",
    "history.png",
    "report.json",
    "confusion_matrix.png",
    "contact_sheet.png",
}


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


def test_confusion_matrix_counts_true_rows_and_predicted_columns(trainer, sources, monkeypatch):
    predicted = np.array([2, 1, 1, 0, 1, 2, 0, 1, 2, 2, 1])  # true: 0 1 2 0 1 2 0 1 2 0 1
    monkeypatch.setattr(trainer, "predict", lambda source: np.eye(3, dtype=np.float32)[predicted])
    expected = [[2, 0, 2], [0, 4, 0], [0, 1, 2]]
    np.testing.assert_array_equal(confusion_counts(trainer, sources[1]), expected)


def test_report_has_the_same_confusion_matrix(written, trainer, sources):
    report = json.loads((written / "report.json").read_text())
    right = np.trace(report["confusion_matrix"]) / 11
    assert right == pytest.approx(report["validation"]["accuracy"])


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".png")))
def test_pictures_are_not_blank(written, name):
    with Image.open(written / name) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=2**24)
    assert len(colours) > 20


def test_many_classes_and_a_class_without_samples():
    counts = np.zeros((25, 25), np.int64)
    counts[3, 4] = 2
    figure = draw_confusion_matrix(counts, [f"class {number}" for number in range(25)])
    assert len(figure.axes[0].texts) == 0
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array())[3, 4], 1.0)


def test_curves_start_at_epoch_one_and_mark_fine_tuning(trainer):
    loss = draw_history(trainer.history).axes[0]
    assert loss.get_title() == "loss"
    training, validation, mark = loss.get_lines()
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(
        validation.get_ydata(), [row["val_loss"] for row in trainer.history]
    )
    assert mark.get_xdata()[0] == 2.5


def test_history_rows_of_different_columns(tmp_path):
    write_history(tmp_path / "h.csv", [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "val_loss": 2.5}])
    assert (tmp_path / "h.csv").read_text().splitlines() == [
        "epoch,loss,val_loss",
        "0,1.5,",
        "1,,2.5",
    ]


def test_without_validation(trainer, sources, tmp_path):
    folder = write_run_folder(tmp_path / "run", trainer, sources[0])
    assert {path.name for path in folder.iterdir()} == FILES - {"confusion_matrix.png"}
    assert "validation" not in json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("step", ["draw_history", "contact_sheet", "confusion_counts"])
def test_a_failure_leaves_nothing_behind(trainer, sources, tmp_path, monkeypatch, step):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(run_folder, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_run_folder(tmp_path / "run", trainer, *sources)
    assert list(tmp_path.iterdir()) == []


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
