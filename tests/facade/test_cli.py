"""The command line: what it writes, what it says, and that no mistake ends in a traceback."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import fusewarp
from fusewarp import Augmenter, Policy, cli_extras, cli_policy, cli_preview, cli_train
from fusewarp.cli import app
from fusewarp.engine.contact_sheet import GAP, HEADING, MARGIN
from fusewarp.engine.devices import DeviceError

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def in_one_sentence(result, *words):
    """Check that a command ended in one line that holds all `words`, and in no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr


def save_photos(folder, counts, size=(32, 32)):
    """Write noise photos, brighter from class to class; `counts` is {class: number}."""
    rng = np.random.default_rng(3)
    for level, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (size[1], size[0], 3)) + 120 * level
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{name}-{i}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    return save_photos(tmp_path / "photos", {"dark": 3, "light": 3}, size=(30, 20))


# --- the whole


def test_version_is_the_packages():
    result = run("--version")

    assert (result.exit_code, result.output) == (0, f"fusewarp {fusewarp.__version__}\n")


@pytest.mark.parametrize(
    "command",
    [
        *((), ("train",), ("predict",), ("evaluate",), ("export",)),
        *(("preview",), ("demo",), ("warmup",)),
    ],
)
def test_help_has_examples_and_stays_away_from_frameworks(command):
    result = run(*command, "--help")

    assert result.exit_code == 0
    expected = f"fusewarp {command[0]}" if command else "preview"
    assert expected in result.output.split("Examples")[-1]


def test_help_in_a_fresh_process_imports_no_framework():
    code = (
        "import sys; sys.argv = ['fusewarp', '--help']\n"
        "from fusewarp.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('LOADED', {'tensorflow', 'keras', 'torch'} & set(sys.modules))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "LOADED set()" in done.stdout
    assert done.stderr == ""


def test_module_runs_as_a_command():
    command = [sys.executable, "-m", "fusewarp", "preview", "no-such-folder"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.strip() == "The folder no-such-folder does not exist."


def test_missing_tensorflow_says_how_to_install_it(photos):
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        f"sys.argv = ['fusewarp', 'train', {str(photos)!r}]\n"
        "from fusewarp.cli import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert 'pip install "fusewarp[tensorflow]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_traceback_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEWARP_TRACEBACK", "1")

    result = run("preview", tmp_path / "none")

    assert isinstance(result.exception, FileNotFoundError)


def test_an_error_that_is_not_the_users_keeps_its_traceback(photos, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(cli_preview, "_draw", fail)

    assert isinstance(run("preview", photos).exception, RuntimeError)


def test_a_device_that_cannot_be_used_is_the_users_error(photos, monkeypatch):
    def fail(*_, **__):
        raise DeviceError("There is no NVIDIA driver.", "Install it.")

    monkeypatch.setattr(cli_preview, "_draw", fail)

    in_one_sentence(run("preview", photos), "There is no NVIDIA driver. Install it.")


def test_quiet_stderr_drops_native_noise_but_not_before_an_error(capfd):
    def speak(text, error=None):
        with cli_extras.quiet_stderr():
            os.write(2, text)
            if error is not None:
                raise error

    speak(b"noise")
    with pytest.raises(ValueError, match="why"):
        speak(b"a clue", ValueError("why"))

    assert capfd.readouterr().err == "a clue"


# --- preview


def test_preview_shows_photos_of_every_class(photos, tmp_path):
    out = tmp_path / "made" / "sheet.png"

    result = run("preview", photos, "--rows", 2, "--copies", 3, "--tile", 60, "--out", out)

    assert result.exit_code == 0, result.output
    assert "2 of 6 photos" in result.output
    sheet = np.asarray(Image.open(out))
    assert sheet.shape[1] == 2 * MARGIN + 4 * 60 + 3 * GAP
    upper = MARGIN + HEADING
    dark = np.asarray(Image.open(photos / "dark" / "dark-0.png"))
    shown = sheet[upper : upper + 40, MARGIN : MARGIN + 60]
    np.testing.assert_array_equal(shown, np.repeat(np.repeat(dark, 2, 0), 2, 1))


def test_preview_of_one_image_applies_exactly_the_options(photos, tmp_path):
    photo, out = photos / "light" / "light-1.png", tmp_path / "sheet.png"

    result = run(
        *("preview", photo, "--out", out, "--tile", 48, "--image-size", 48, "--copies", 2),
        *("--rotation-range", 40, "--brightness-range", "0.5,0.9", "--seed", 7),
    )

    assert result.exit_code == 0, result.output
    policy = Policy(rotation_range=40, brightness_range=(0.5, 0.9))
    augmenter = Augmenter(policy, size=48, dtype="uint8", seed=7)
    pixels = np.asarray(Image.open(photo))
    sheet = np.asarray(Image.open(out))
    for epoch in range(2):
        left = MARGIN + (epoch + 1) * (48 + GAP)
        shown = sheet[MARGIN + HEADING :, left : left + 48][:48]
        np.testing.assert_array_equal(shown, augmenter.apply([pixels], [0], epoch)[0])


def test_preview_saves_the_policy_it_showed(photos, tmp_path):
    saved, again = tmp_path / "policy.json", tmp_path / "again.json"
    sheet = ("--out", tmp_path / "sheet.png", "--rows", 1, "--copies", 1)

    first = run("preview", photos, *sheet, "--zoom-range", "0.7,1.2", "--save-policy", saved)
    second = run(
        "preview", photos, *sheet, "--policy", saved, "--horizontal-flip", "--save-policy", again
    )

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert cli_policy.load_policy(saved) == Policy(zoom_range=(0.7, 1.2))
    assert cli_policy.load_policy(again) == Policy(zoom_range=(0.7, 1.2), horizontal_flip=True)


def test_preview_without_options_shows_the_policy_of_train(photos, tmp_path):
    saved = tmp_path / "policy.json"

    run("preview", photos, "--out", tmp_path / "s.png", "--rows", 1, "--save-policy", saved)

    assert cli_policy.load_policy(saved) == cli_policy.TRAIN_POLICY


def test_every_field_of_the_policy_that_draws_has_an_option():
    result = run("preview", "--help")

    constants = {"rescale", "mean", "std"}  # of the model, not of the picture
    for name in set(Policy().to_dict()) - constants:
        assert "--" + name.replace("_", "-") in result.output, name


def test_spread_takes_ids_from_all_over():
    assert cli_preview.spread(10, 4) == [0, 2, 5, 7]
    assert cli_preview.spread(3, 6) == [0, 1, 2]


# --- bad input


def test_missing_folder(tmp_path):
    for command in ("preview", "train"):
        in_one_sentence(run(command, tmp_path / "none"), "none", "does not exist")


def test_empty_folder(tmp_path):
    in_one_sentence(run("preview", tmp_path), str(tmp_path), "no pictures")
    in_one_sentence(run("train", tmp_path), str(tmp_path), "sub-folder")


def test_folder_with_one_class(tmp_path):
    save_photos(tmp_path, {"only": 2})

    in_one_sentence(run("train", tmp_path), "only the class 'only'")


def test_class_without_photos(photos):
    (photos / "nothing").mkdir()

    in_one_sentence(run("train", photos), "nothing", "no pictures")


def test_train_on_a_file(photos):
    in_one_sentence(run("train", photos / "dark" / "dark-0.png"), "is a file")


def bad_picture(path, kind):
    """Turn a good file into a bad one."""
    if kind == "truncated":
        whole = path.with_suffix(".whole.jpg")
        Image.effect_noise((64, 64), 60).save(whole)
        path.write_bytes(whole.read_bytes()[:700])
        whole.unlink()
    else:
        path.write_bytes({"empty": b"", "text": b"no picture at all\n"}[kind])


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_preview_of_a_bad_picture_names_it(tmp_path, kind):
    path = tmp_path / "bad.jpg"
    bad_picture(path, kind)

    in_one_sentence(run("preview", path, "--out", tmp_path / "s.png"), "bad.jpg")
    in_one_sentence(run("preview", tmp_path, "--out", tmp_path / "s.png"), "bad.jpg")
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--rotation-range", "-5", ("rotation_range", "-5")),
        ("--rotation-range", "nan", ("rotation_range", "nan")),
        ("--zoom-range", "2", ("zoom_range", "2.0")),
        ("--zoom-range", "1,2,3", ("--zoom-range", "LOW,HIGH", "1,2,3")),
        ("--zoom-range", "wide", ("--zoom-range", "wide")),
        ("--brightness-range", "1.2,0.8", ("brightness_range", "1.2")),
        ("--brightness-range", "0.5", ("brightness_range", "pair")),
        ("--fill-mode", "blur", ("fill_mode", "blur", "reflect")),
        ("--policy", "no-such.json", ("no-such.json",)),
    ],
)
def test_ranges_that_make_no_sense(photos, option, value, words):
    in_one_sentence(run("preview", photos, option, value), *words)


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '{"rotation": 3}', '{"cval": "x"}'])
def test_policy_file_that_is_none(photos, tmp_path, text):
    (tmp_path / "policy.json").write_text(text)

    result = run("train", photos, "--policy", tmp_path / "policy.json")

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "arguments",
    [
        ("preview", "x", "--image-size", 0),
        ("preview", "x", "--rows", 0),
        ("train", "x", "--batch-size", 0),
        ("train", "x", "--epochs", 0),
        ("train", "x", "--learning-rate", "fast"),
        ("predict", "x"),
        ("nothing",),
    ],
)
def test_impossible_options_are_usage_errors(arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("split", ["0", "1", "-0.5"])
def test_validation_split_outside_0_and_1(photos, split):
    in_one_sentence(run("train", photos, "--validation-split", split), "between 0 and 1", split)


def test_train_never_writes_over_a_run_folder(photos, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "model.keras").write_text("precious")

    in_one_sentence(run("train", photos, "--out", out), "exists already", "--out")
    assert (out / "model.keras").read_text() == "precious"


def test_run_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli_train.new_run_folder(None) == Path("fusewarp-run-1")
    Path("fusewarp-run-1").mkdir()
    Path("fusewarp-run-3").mkdir()
    assert cli_train.new_run_folder(None) == Path("fusewarp-run-2")


# --- with TensorFlow


def test_default_policy_is_the_trainers():
    trainer = pytest.importorskip("fusewarp.integrations.keras.trainer")

    assert cli_policy.TRAIN_POLICY == trainer.DEFAULT_POLICY


def test_predict_without_a_model(tmp_path, photos):
    photo = photos / "dark" / "dark-0.png"
    in_one_sentence(run("predict", tmp_path / "none", photo), "none", "run folder")
    in_one_sentence(run("predict", photos, photo), "model.keras", "run folder")
    in_one_sentence(run("predict", photo, photo), "dark-0.png", "Keras model")


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--base", "no-such-net", "no-such-net"),
        ("--weights", "none.h5", "none.h5"),
        ("--optimizer", "magic", "magic"),
        ("--dropout", "2", "dropout"),
        ("--learning-rate", "-1", "learning_rate"),
        ("--image-size", "5", "5"),
    ],
)
def test_train_with_hyper_parameters_that_make_no_sense(photos, tmp_path, option, value, word):
    result = run("train", photos, "--out", tmp_path / "run", option, value)

    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert word in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of a tiny training, and its photos."""
    folder = tmp_path_factory.mktemp("trained")
    photos = save_photos(folder / "photos", {"dark": 6, "light": 6})
    result = run(
        *("train", photos, "--out", folder / "run", "--weights", "none", "--image-size", 32),
        *("--epochs", 2, "--fine-tune-epochs", 1, "--batch-size", 4, "--threads", 1),
    )
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.mark.slow
def test_train_writes_a_run_folder_and_says_how_fast(trained):
    folder, result = trained

    names = {path.name for path in (folder / "run").iterdir()}
    assert names - {"mistakes.png"} == {  # if there were any
        *("model.keras", "labels.txt", "history.csv", "history.png", "report.json", "report.html"),
        *("confusion_matrix.png", "contact_sheet.png", "classes.csv", "config.yaml", "checkpoint"),
    }
    assert (folder / "run" / "labels.txt").read_text() == "dark\nlight\n"
    assert "12 photos of 2 classes: 10 to train on, 2 for validation" in result.output
    for epoch in (1, 2, 3):
        assert re.search(rf"{epoch}/3 +\d+ images/s +wait +\d+% .*val_accuracy", result.output)
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["hyperparameters"]["policy"] == cli_policy.TRAIN_POLICY.to_dict()
    assert report["hyperparameters"]["batch_size"] == 4


@pytest.mark.slow
def test_predict_gives_the_models_probabilities(trained):
    import keras

    folder, _ = trained
    paths = [folder / "photos" / "light" / f"light-{i}.png" for i in range(2)]

    result = run("predict", folder / "run", *paths, "--json")

    model = keras.models.load_model(folder / "run" / "model.keras")
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])  # already 32 x 32
    expected = model.predict(pixels.astype(np.float32), verbose=0)
    records = json.loads(result.stdout)
    assert [record["image"] for record in records] == [str(path) for path in paths]
    for record, row in zip(records, expected, strict=True):
        guesses = record["predictions"]
        assert [g["label"] for g in guesses] == [("dark", "light")[i] for i in np.argsort(-row)]
        probabilities = [guess["probability"] for guess in guesses]
        np.testing.assert_allclose(probabilities, np.sort(row)[::-1], atol=1e-5)


@pytest.mark.slow
def test_predict_prints_a_table_of_the_top_classes(trained):
    folder, _ = trained
    photo = folder / "photos" / "dark" / "dark-0.png"

    result = run("predict", folder / "run" / "model.keras", photo, "--top", 1)

    assert result.exit_code == 0, result.output
    assert "dark-0.png" in result.stdout
    assert len(re.findall(r"│ (dark|light) ", result.stdout)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_predict_names_a_bad_picture(trained, tmp_path, kind):
    folder, _ = trained
    path = tmp_path / "bad.jpg"
    bad_picture(path, kind)

    in_one_sentence(run("predict", folder / "run", path), "bad.jpg")


@pytest.mark.slow
def test_predict_refuses_labels_that_do_not_fit(trained, tmp_path):
    folder, _ = trained
    shutil.copy(folder / "run" / "model.keras", tmp_path)
    photo = folder / "photos" / "dark" / "dark-0.png"

    unnamed = run("predict", tmp_path / "model.keras", photo, "--json")
    labels = {guess["label"] for guess in json.loads(unnamed.stdout)[0]["predictions"]}
    assert labels == {"0", "1"}

    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\n")
    in_one_sentence(run("predict", tmp_path, photo), "3 lines", "2 classes")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_train_names_a_bad_picture_and_leaves_a_run_that_can_go_on(photos, tmp_path, kind):
    bad_picture(photos / "dark" / "bad.jpg", kind)

    result = run(
        *("train", photos, "--out", tmp_path / "run", "--weights", "none", "--image-size", 32),
        *("--epochs", 1, "--fine-tune-epochs", 0),
    )

    in_one_sentence(result, "bad.jpg")
    assert not (tmp_path / "run" / "report.json").exists()
    (photos / "dark" / "bad.jpg").unlink()
    gone = run("train", "--resume", tmp_path / "run")
    in_one_sentence(gone, "other pictures or labels")
    Image.new("RGB", (32, 32)).save(photos / "dark" / "bad.jpg")
    assert run("train", "--resume", tmp_path / "run").exit_code == 0
