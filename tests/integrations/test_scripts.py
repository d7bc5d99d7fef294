"""Usual tutorial scripts, run as they are for Keras and with only the import changed for us."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from oracles.keras_generator import as_keras

SCRIPTS = Path(__file__).parent / "scripts"
THEIR_IMPORT = "from tensorflow.keras.preprocessing.image import "
OUR_IMPORT = "from fusewarp.keras import "
EXPECTED = {
    "arrays": {"epochs": 2, "seen": 100},
    "folders": {"epochs": 2, "classes": {"cats": 0, "dogs": 1}, "scores": 2},
    "vgg16": {"features": 12, "guesses": 6},
    "masks": {"alike": True},
    "preview": {"shape": (1, 40, 60, 3), "files": True},
    "frame": {"rows": 12, "first": "cats/0.jpg", "samples": (9, 3)},
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Lay out the photos and the table that the scripts read, and go there."""
    rng = np.random.default_rng(0)
    rows = ["id,label"]
    for part, count in (("train", 6), ("validation", 3)):
        for name, photo in (("cats", data.chelsea()), ("dogs", data.coffee())):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                top, left = rng.integers(0, 200, 2)
                crop = photo[top : top + 80, left : left + 100]
                Image.fromarray(crop).save(folder / f"{number}.jpg")
                if part == "train":
                    rows.append(f"{name}/{number}.jpg,{name}")
    (tmp_path / "data" / "train.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name, imports):
    text = (SCRIPTS / f"{name}.py").read_text()
    assert text.count(THEIR_IMPORT) == 1
    names = {"__name__": "__main__"}
    exec(compile(text.replace(THEIR_IMPORT, imports), f"{name}.py", "exec"), names)
    return names["result"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The images of `subset=:UserWarning")
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # TensorFlow
@pytest.mark.parametrize("name", EXPECTED)
def test_the_script_runs_with_only_the_import_changed(place, name):
    with as_keras():
        theirs = run(name, THEIR_IMPORT)
    for path in place.glob("preview/*"):
        path.unlink()
    ours = run(name, OUR_IMPORT)
    assert ours == theirs
    assert {key: ours[key] for key in EXPECTED[name]} == EXPECTED[name]


def test_every_script_is_run():
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(EXPECTED)
