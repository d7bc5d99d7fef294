"""The demo runs as a whole, writes down what it measured, and deletes nothing of the user's."""

import json
import statistics

import keras
import numpy as np
import pytest
from rich.console import Console

from fusewarp.engine import FolderSource, Policy
from fusewarp.integrations import demo, demo_data, throughput

pytestmark = [
    # Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1, and its
    # own generator takes affine_transform from a namespace that SciPy deprecated.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*scipy.ndimage.interpolation.*:DeprecationWarning"),
]


@pytest.mark.slow
def test_demo_measures_all_it_promises(tmp_path):
    out = tmp_path / "demo"
    console = Console(record=True, width=120, quiet=True)

    result = demo.run_demo(out, demo.QUICK, console, seed=0)

    shares = {row.name[:3]: row.share for row in result.accuracies}
    photos = len(demo_data.TEXTURES) * demo.QUICK.held_out_per_class
    assert all(row.photos == photos for row in result.accuracies)
    assert len(result.accuracies) == 4
    assert shares["(a)"] > 2 * shares["(c)"]  # fine-tuned; chance is 1/8
    for row in result.accuracies:
        assert row.share * photos == pytest.approx(round(row.share * photos), abs=1e-3)

    written = json.loads((out / demo.RESULTS).read_text())
    assert [row["share"] for row in written["accuracy"]] == [r.share for r in result.accuracies]
    for row, speed in zip(written["images_per_second"], result.throughputs, strict=True):
        assert len(row["rounds"]) == demo.QUICK.rounds
        assert row["median"] == statistics.median(speed.rounds) > 0
    assert written["machine"]["keras"] == keras.__version__
    _check_run_folder(out, written)


def _check_run_folder(out, written):
    """The kept model is the fine-tuned (a): it scores what the table says."""
    source = FolderSource(out / "photos" / "held-out")
    report = json.loads((out / "run" / "report.json").read_text())
    share = np.trace(report["confusion_matrix"]) / len(source)
    assert share == pytest.approx(written["accuracy"][-1]["share"], abs=1e-6)
    assert report["hyperparameters"]["policy"] == demo.POLICY.to_dict()


def test_an_earlier_demo_is_cleared_and_nothing_else(tmp_path):
    for name in ("photos", "tiles", "run", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / demo.RESULTS).write_text("{}")

    demo._clear(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "mine"]
    assert (tmp_path / "mine" / "file").exists()


def test_a_folder_of_the_users_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").write_text("x")

    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="no demo wrote it"):
            demo._clear(folder)

    assert (tmp_path / "photos").exists()


def test_an_interrupted_demo_can_be_run_again(tmp_path):
    demo._clear(tmp_path / "new")
    (tmp_path / "new" / "photos").mkdir()

    demo._clear(tmp_path / "new")

    assert not (tmp_path / "new" / "photos").exists()


@pytest.mark.slow
def test_random_base_has_statistics_of_the_photos_and_random_filters(tmp_path):
    train, _ = demo_data.write_textures(tmp_path, 2, 0)
    source = FolderSource(train)

    path = demo.write_random_weights(tmp_path / "random.weights.h5", source, seed=0)

    base = demo.build_base(demo.BASE, weights=path, image_size=(demo.IMAGE_SIZE,) * 2)
    pixels = (np.stack([source.read(i) for i in range(0, 16, 2)])[:, :128, :128] - 127.0) / 128.0
    features = base.model.predict(pixels, verbose=0).mean(axis=(1, 2))
    assert features.std(axis=0).mean() > 0.01  # 1e-12 with statistics that saw nothing
    again = demo.write_random_weights(tmp_path / "again.weights.h5", source, seed=0)
    assert _filters(again).tobytes() == _filters(path).tobytes()
    other = demo.write_random_weights(tmp_path / "other.weights.h5", source, seed=1)
    assert _filters(other).tobytes() != _filters(path).tobytes()


def _filters(path):
    model = demo.build_base(demo.BASE, weights=path, image_size=(demo.IMAGE_SIZE,) * 2).model
    return model.get_layer("stem_conv").get_weights()[0]


@pytest.mark.parametrize("make", ["keras_epoch", "drop_in_epoch", "loader_epoch"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_loader_gives_every_photo_each_epoch(photo_folder, make, threads):
    epoch = getattr(throughput, make)(photo_folder, threads)

    assert [epoch(), epoch()] == [11, 11]


def test_loaders_are_timed_in_turn_after_a_warm_up(monkeypatch, tmp_path):
    called = []
    for name in ("keras_epoch", "drop_in_epoch", "loader_epoch"):

        def make(folder, threads, name=name):
            return lambda: called.append((name, threads)) or 10

        monkeypatch.setattr(throughput, name, make)

    results = throughput.measure_throughput(tmp_path, 2, 3, lambda text: None)

    one_round = [
        (name, threads)
        for threads in (1, 2)
        for name in ("keras_epoch", "drop_in_epoch", "loader_epoch")
    ]
    assert called == one_round * 4
    assert [len(result.rounds) for result in results] == [3] * 6
    assert [result.threads for result in results] == [1, 1, 1, 2, 2, 2]


def test_ranges_mean_the_same_to_policy_and_keras():
    assert Policy(**throughput.RANGES).to_dict().items() >= throughput.RANGES.items()
