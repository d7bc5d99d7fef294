"""The table over seeds: what it computes of known results, and that it runs as a program."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fusewarp.benchmarks.scripts import transfer_seeds as script

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_means_spreads_and_gains_of_the_same_seeds():
    accuracies = [(0.5, 0.1), (0.5, 0.2), (0.9, 0.4), (0.9, 0.5), (0.8, 0.6), (1.0, 0.7)]
    results = [
        script.Result(way.name, seed, 1.0, like + seed / 10, turned - seed / 10 * (k % 2), 0.0)
        for seed in (0, 1)
        for k, (way, (like, turned)) in enumerate(zip(script.WAYS, accuracies, strict=True))
    ]
    table = script.as_markdown(results)
    assert "| pretrained base, head only | 100.0 ± 0.0 | 95.0 ± 7.1 | 40.0 ± 0.0 |" in table
    assert "| pretrained against random, plain | +40.0 ± 0.0 | +30.0 ± 0.0 |" in table
    assert "| augmentation against none, head only | +0.0 ± 0.0 | +5.0 ± 7.1 |" in table
    assert "| fine-tuning against head only, plain | -10.0 ± 0.0 | +20.0 ± 0.0 |" in table


def test_crops_are_of_the_seed_and_each_set_has_its_own():
    train, held_out = script.make_crops(2, 3, seed=1)
    again, _ = script.make_crops(2, 3, seed=1)
    other, _ = script.make_crops(2, 3, seed=2)
    np.testing.assert_array_equal(train.images, again.images)
    assert not np.array_equal(train.images, other.images)
    assert len(train) == 16
    assert {name: len(source) for name, source in held_out.items()} == dict.fromkeys(
        script.HELD_OUT, 24
    )


@pytest.mark.slow
def test_the_program_prints_the_table_and_writes_every_result(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "WAYS", script.WAYS[0:3:2])
    monkeypatch.setattr(script, "QUESTIONS", (("both", 1, 0),))
    out = tmp_path / "results.json"
    small = ["--seeds", "2", "--train-per-class", "2", "--held-out-per-class", "2"]
    epochs = ["--head-epochs", "1", "--fine-tuning-epochs", "1"]
    ran = CliRunner().invoke(script.app, ["--out", str(out), *small, *epochs])
    assert ran.exit_code == 0, ran.output
    rows = json.loads(out.read_text())["results"]
    assert [(row["way"], row["seed"]) for row in rows] == [
        (way.name, seed) for seed in (0, 1) for way in script.WAYS
    ]
    assert "| both | " in ran.output
