"""`fusewarp export`: what it writes, what it says, what it compares on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fusewarp import Augmenter, FolderSource, cli_export
from fusewarp.cli import app
from fusewarp.engine.contact_sheet import contact_sheet
from fusewarp.integrations import export
from fusewarp.integrations.sheet_photos import pictures_of
from oracles.saved_runs import POLICY, SIZE, noise_pictures, write_run

pytestmark = [
    # Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]
RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path):
    """A run with a contact sheet, and its photo."""
    write_run(tmp_path / "run", "single-label", ["ant", "bee"])
    (tmp_path / "photos" / "ant").mkdir(parents=True)
    Image.fromarray(noise_pictures(1, size=(64, 64))[0]).save(tmp_path / "photos" / "ant" / "0.png")
    source = FolderSource(tmp_path / "photos", classes=["ant"])
    sheet = contact_sheet(source, Augmenter(POLICY, size=SIZE), [0], 3)
    sheet.save(tmp_path / "run" / "contact_sheet.png")
    return tmp_path


def test_writes_beside_the_run_and_says_how_far_apart_they_are(folder):
    result = run("export", folder / "run", "--format", "savedmodel")

    assert result.exit_code == 0, result.output
    made = folder / "run-savedmodel"
    assert f"Wrote {made}." in result.stdout
    assert "On 4 pictures it differs from the Keras model by" in result.stdout
    assert (made / "labels.txt").read_text() == "ant\nbee\n"


def test_takes_photos_and_a_place(folder):
    photo = folder / "photos" / "ant" / "0.png"

    result = run(
        *("export", folder / "run" / "model.keras", "--format", "tflite"),
        *("--photo", photo, "--photo", photo, "--out", folder / "deep" / "out"),
    )

    assert result.exit_code == 0, result.output
    assert "On 2 pictures" in result.stdout
    assert (folder / "deep" / "out" / "model.tflite").stat().st_size > 1000


def test_pictures_are_cut_out_of_the_contact_sheet(folder):
    original, *augmented = pictures_of(folder / "run")

    pixels = noise_pictures(1, size=(64, 64))[0]
    enlarged = Image.fromarray(pixels).resize((160, 160), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(original, np.asarray(enlarged))
    assert len(augmented) == 3
    assert all(picture.shape == (160, 160, 3) for picture in augmented)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_refuses_in_one_sentence(folder, kind, monkeypatch):
    (folder / "run" / "contact_sheet.png").unlink()
    monkeypatch.setattr(export, "NEEDED", {"tflite": ("no_such_library",), "onnx": ()})

    without = run("export", folder / "run", "--format", kind)
    missing = run("export", folder / "run", "--photo", folder / "x.png", "--format", kind)
    library = run(
        *("export", folder / "run", "--format", "tflite"),
        *("--photo", folder / "photos" / "ant" / "0.png"),
    )

    for result, words in (
        (without, "give some with --photo FILE"),
        (missing, "x.png"),
        (library, "no_such_library cannot be imported; write: pip install"),
    ):
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert not list(folder.glob("run-*"))


def test_formats_are_those_that_can_be_written():
    assert {item.value for item in cli_export.ExportFormat} == set(export.MODELS)


def test_where_an_export_goes_by_default(tmp_path, monkeypatch):
    (tmp_path / "ml.v2").mkdir()
    (tmp_path / "model.keras").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert cli_export._beside(Path("ml.v2"), "tflite") == Path("ml.v2-tflite")
    assert cli_export._beside(Path("model.keras"), "onnx") == Path("model-onnx")
    monkeypatch.chdir(tmp_path / "ml.v2")
    assert cli_export._beside(Path("."), "onnx") == tmp_path / "ml.v2-onnx"
