"""`fusewarp train`: configurations, and runs that go on."""

import re

import pytest
import yaml
from typer.testing import CliRunner

from fusewarp import cli_train
from fusewarp.cli import app

pytest.importorskip("tensorflow")
from fusewarp.integrations.keras.checkpoint import load_state
from fusewarp.integrations.keras.stages import Keeper
from oracles.small_training import write_coloured_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SMALL = ("--image-size", 32, "--batch-size", 8, "--epochs", 2, "--fine-tune-epochs", 1)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_coloured_folder(tmp_path_factory.mktemp("photos"), 8)


@pytest.fixture(scope="module")
def first(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    more = ("--trainable-layers", "block7", "--units", 8, "--class-weight", "balanced")
    result = run("train", photos, "--out", out, *SMALL, *more)
    assert result.exit_code == 0, result.output
    return out, result.output


def config_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.mark.slow
def test_a_run_says_what_it_is(first, photos):
    out, output = first
    values = config_of(out)
    assert values["data"] == {"folder": str(photos), "validation_split": 0.2}
    assert values["trainer"]["epochs"] == [2, 1]
    assert values["trainer"]["trainable_layers"] == "block7"
    assert values["trainer"]["head"] == {"dropout": 0.2, "units": [8], "pooling": "avg"}
    assert values["trainer"]["class_weight"] == "balanced"
    assert re.search(r"Stage head: 2 epochs .* parameters trainable, [\d,]+ frozen", output)
    assert "Stage fine-tuning: 1 epochs" in output
    assert "Validation accuracy" in output


def test_tensorboard_is_refused_where_it_is_not_installed(photos, tmp_path, monkeypatch):
    find = cli_train.importlib.util.find_spec
    monkeypatch.setattr(
        cli_train.importlib.util,
        "find_spec",
        lambda name: None if name == "tensorboard" else find(name),
    )
    result = run("train", photos, "--out", tmp_path / "run", *SMALL, "--tensorboard")
    assert result.exit_code == 1
    assert "pip install tensorboard" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_configuration_makes_the_run_again_and_options_win(first, tmp_path):
    out, _ = first
    again = tmp_path / "again"
    result = run("train", "--config", out / "config.yaml", "--out", again, "--epochs", 1)
    assert result.exit_code == 0, result.output
    expected, values = config_of(out), config_of(again)
    assert values["trainer"].pop("epochs") == [1, 1]
    expected["trainer"].pop("epochs")
    assert values == expected


@pytest.mark.slow
def test_a_stopped_run_goes_on(photos, tmp_path, monkeypatch):
    out, step_ends = tmp_path / "run", Keeper.on_train_batch_end

    def wish_in_the_second_epoch(self, batch, logs=None):
        if self._epoch == 1 and batch == 0:
            self._wish.name = "SIGINT"
        step_ends(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", wish_in_the_second_epoch)
        stopped = run("train", photos, "--out", out, *SMALL)
    assert stopped.exit_code == 130
    assert f"fusewarp train --resume {out}" in stopped.output
    position = load_state(out / "checkpoint").position
    assert (position.epoch, position.step) == (1, 1)
    assert not (out / "report.json").exists()

    result = run("train", "--resume", out)
    assert result.exit_code == 0, result.output
    assert (out / "report.json").exists()
    finished = run("train", "--resume", out)
    assert finished.exit_code == 1
    assert "is finished" in finished.output


@pytest.mark.slow
def test_a_table_of_several_labels(photos, tmp_path):
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    lines = ["file,warm,cold", *(f"{p},{int('red' in p)},{int('red' not in p)}" for p in paths)]
    lines[1] = lines[1][:-3] + "1,1"
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    columns = ("--path-column", "file", "--label-column", "warm", "--label-column", "cold")
    table = ("--table", tmp_path / "labels.csv")
    result = run("train", photos, *table, *columns, "--out", tmp_path / "run", *SMALL)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "labels.txt").read_text() == "warm\ncold\n"
    assert config_of(tmp_path / "run")["data"]["label_column"] == ["warm", "cold"]


@pytest.mark.slow
def test_a_table_of_whole_numbers_to_be_predicted(photos, tmp_path):
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    lines = ["path,age", *(f"{path},{20 + number}" for number, path in enumerate(paths))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    table = ("--table", tmp_path / "labels.csv", "--label-column", "age")
    result = run("train", photos, *table, "--task", "regression", "--out", tmp_path / "run", *SMALL)
    assert result.exit_code == 0, result.output
    assert "mean_absolute_error" in result.output
    assert (tmp_path / "run" / "labels.txt").read_text() == "age\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume", "nowhere"), "no run folder"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
        ((".", "--group-column", "who"), "--group-column is of a --table"),
        ((), "Give the FOLDER"),
    ],
)
def test_what_cannot_be_begun(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("train", *arguments)
    assert result.exit_code == 1
    assert words in result.output


def test_resuming_takes_no_other_options(tmp_path):
    result = run("train", "--resume", tmp_path, "--epochs", 9, "--seed", 1)
    assert result.exit_code == 1
    assert "leave --epochs, --seed out" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {epoch: 3}\ndata: {folder: .}", "['epoch']"),
        ("model: {}", "['model']"),
        ("trainer: {epochs: 0}\ndata: {folder: .}", "at least 1"),
        ("trainer: {}\ndata: {folder: ., split: 0.2}", "['split'] under data"),
    ],
)
def test_a_configuration_that_makes_no_sense(photos, tmp_path, text, words):
    (tmp_path / "run.yaml").write_text(text.replace("folder: .", f"folder: {photos}"))
    result = run("train", "--config", tmp_path / "run.yaml", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


def test_one_number_of_a_configuration_stands_for_both_stages():
    values = cli_train._kept("epochs", {"epochs": 4})
    assert values == [4, 4]
    assert cli_train._kept("learning_rate", {"learning_rate": 0.5}) == [0.5, pytest.approx(0.05)]
    assert cli_train._kept("epochs", {}) == [3, 3]
