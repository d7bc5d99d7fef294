"""`fusewarp predict` and `evaluate` on runs of every task: what they print, what they refuse."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fusewarp import ArraySource, Policy
from fusewarp.cli import app
from fusewarp.cli_policy import save_policy
from fusewarp.integrations.copies import predict_source
from fusewarp.integrations.saved_run import load_run
from oracles.saved_runs import noise_pictures, write_run

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RUNNER = CliRunner()
PICTURES = noise_pictures(6)
NAMES = {"single-label": ["[b]ant[/b]", "bee"], "binary": ["no", "yes"], "regression": ["age"]}


def run(*arguments):
    return RUNNER.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def json_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result):
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs by task, and photos of two classes, three of each, with a table of them."""
    root = tmp_path_factory.mktemp("evaluate")
    for task, names in NAMES.items():
        write_run(root / task, task, names)
    write_run(root / "multi-label", "multi-label", ["sun", "sea", "sky"])
    (root / "photos").mkdir()
    for number, pixels in enumerate(PICTURES):
        Image.fromarray(pixels).save(root / "photos" / f"{number}.png")
    lines = [f"{number}.png,{number % 2},{number * 1.5}" for number in range(6)]
    (root / "photos" / "t.csv").write_text("\n".join(["path,label,age", *lines]) + "\n")
    for label, name in enumerate(["no", "yes"]):
        (root / "classes" / name).mkdir(parents=True)
        for number in range(label, 6, 2):
            Image.fromarray(PICTURES[number]).save(root / "classes" / name / f"{number}.png")
    return root


def test_evaluate_a_folder_as_json(folder):
    values = json_of(run("evaluate", folder / "binary", folder / "classes", "--json"))

    scores = predict_source(load_run(folder / "binary"), ArraySource(PICTURES))[:, 0]
    right = ((scores > 0.5) == np.arange(6) % 2).mean()
    assert values["pictures"] == 6
    assert values["accuracy"] == pytest.approx(right)
    assert np.trace(values["confusion_matrix"]) == right * 6
    assert [row["class"] for row in values["table"]] == ["no", "yes"]
    assert "NaN" not in json.dumps(values)


def test_evaluate_prints_figures_and_a_table(folder):
    result = run("evaluate", folder / "regression", folder / "photos" / "t.csv")

    assert result.exit_code == 0, result.output
    assert re.search(r"6 photos: .*loss [\d.]+  mean_absolute_error [\d.]+", result.stdout)
    assert re.search(r"│ age +│ +[\d.]+ │ +[\d.]+ │ +-?[\d.]+ │", result.stdout)


def test_evaluate_takes_a_column_and_copies(folder, tmp_path):
    save_policy(Policy(vertical_flip=True, horizontal_flip=True), tmp_path / "policy.json")
    table = (folder / "regression", folder / "photos" / "t.csv", "--label", "label", "--json")

    plain = json_of(run("evaluate", *table))
    mean = json_of(run("evaluate", *table, "--tta", 3))
    other = json_of(run("evaluate", *table, "--tta", 3, "--policy", tmp_path / "policy.json"))

    values = np.arange(6) % 2
    said = predict_source(load_run(folder / "regression"), ArraySource(PICTURES), copies=3)
    assert mean["loss"] == pytest.approx(np.square(said[:, 0] - values).mean(), rel=1e-4)
    assert len({plain["loss"], mean["loss"], other["loss"]}) == 3


def test_evaluate_refuses_in_one_sentence(folder, tmp_path):
    assert "sub-folders" in refused(run("evaluate", folder / "single-label", folder / "classes"))
    assert "CSV" in refused(run("evaluate", folder / "regression", folder / "classes"))
    assert "none" in refused(run("evaluate", tmp_path / "none", folder / "classes"))


def test_predict_gives_quantities_as_json(folder):
    photo = folder / "photos" / "0.png"

    (record,) = json_of(run("predict", folder / "regression", photo, "--json"))

    (said,) = record["predictions"]
    expected = predict_source(load_run(folder / "regression"), ArraySource(PICTURES[:1]))
    assert said == {"label": "age", "value": pytest.approx(float(expected[0, 0]), abs=1e-4)}


def test_predict_gives_the_labels_above_a_threshold(folder):
    photos = [folder / "photos" / f"{number}.png" for number in range(6)]
    scores = predict_source(load_run(folder / "multi-label"), ArraySource(PICTURES))

    none = run("predict", folder / "multi-label", *photos, "--threshold", 1)
    some = run("predict", folder / "multi-label", *photos, "--threshold", 0.5, "--json")

    assert none.stdout.count("│ none ") == 6
    said = [len(record["predictions"]) for record in json_of(some)]
    assert said == (scores > 0.5).sum(axis=1).tolist()


def test_predict_of_yes_or_no_with_copies(folder):
    photo = folder / "photos" / "1.png"

    (record,) = json_of(run("predict", folder / "binary", photo, "--tta", 5, "--json"))

    mean = predict_source(load_run(folder / "binary"), ArraySource(PICTURES[1:2]), copies=5)
    assert record["predictions"] == [
        {"label": "yes", "probability": pytest.approx(float(mean[0, 0]), abs=1e-5)}
    ]


def test_names_are_printed_as_they_are(folder):
    result = run("predict", folder / "single-label", folder / "photos" / "0.png")

    assert "[b]ant[/b]" in result.stdout
    assert len(re.findall(r"0\.\d{3}", result.stdout)) == 2
