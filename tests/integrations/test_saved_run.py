import json
import re

import numpy as np
import pytest

from fusewarp import ArraySource, Policy
from fusewarp.integrations.copies import predict_source
from fusewarp.integrations.predict import Guess, Quantity, predict_files
from fusewarp.integrations.saved_run import load_run
from oracles.saved_runs import POLICY, SIZE, noise_pictures, tiny_model, write_run

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = {
    "single-label": ["ant", "bee", "cat"],
    "binary": ["no", "yes"],
    "multi-label": ["sun", "sea", "sky"],
    "regression": ["age", "weight"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run folder of each task, and its model."""
    root = tmp_path_factory.mktemp("runs")
    return {task: (root / task, write_run(root / task, task, NAMES[task])) for task in NAMES}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(noise_pictures(3)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(3)]


# --- loading


@pytest.mark.parametrize("task", list(NAMES))
@pytest.mark.parametrize("with_report", [True, False])
def test_knows_its_task_and_names(folders, task, with_report, tmp_path):
    folder, model = folders[task]
    if not with_report:  # the last activation tells
        model.save(tmp_path / "model.keras")
        (tmp_path / "labels.txt").write_bytes((folder / "labels.txt").read_bytes())

    run = load_run(folder if with_report else tmp_path / "model.keras")

    assert (run.task.name, list(run.task.outputs)) == (task, NAMES[task])
    assert run.image_size == SIZE
    assert (run.policy, run.seed) == ((POLICY, 5) if with_report else (None, 0))


@pytest.mark.parametrize(("task", "names"), [("binary", ("0", "1")), ("regression", ("0",))])
def test_without_labels_the_outputs_are_numbered(task, names, tmp_path):
    tiny_model(task, 1).save(tmp_path / "model.keras")

    assert load_run(tmp_path).task.outputs == names


def test_label_smoothing_is_part_of_the_task(tmp_path):
    write_run(tmp_path / "run", "single-label", ["a", "b"], label_smoothing=0.1)

    assert load_run(tmp_path / "run").task.label_smoothing == 0.1


def test_refuses_labels_and_reports_that_do_not_fit(tmp_path):
    write_run(tmp_path / "run", "binary", ["no", "yes"])
    (tmp_path / "run" / "labels.txt").write_text("yes\n")
    with pytest.raises(ValueError, match=re.escape("1 lines, but the model beside it has 2")):
        load_run(tmp_path / "run")

    (tmp_path / "run" / "report.json").write_text("{")
    with pytest.raises(ValueError, match=r"report\.json is no JSON file"):
        load_run(tmp_path / "run")


def test_names_are_lines_and_nothing_else(tmp_path):
    names = ["a\x85b", "c\u2028d", "e f"]  # what str.splitlines would cut
    write_run(tmp_path / "run", "single-label", names)

    assert list(load_run(tmp_path / "run").task.outputs) == names


# --- what is said of files


def test_one_class_of_many(folders, photos):
    folder, model = folders["single-label"]

    said = predict_files(load_run(folder), photos, top=2)

    expected = model.predict(noise_pictures(3).astype(np.float32), verbose=0)
    for row, guesses in zip(expected, said, strict=True):
        order = np.argsort(-row)[:2]
        assert [guess.label for guess in guesses] == [NAMES["single-label"][i] for i in order]
        np.testing.assert_allclose([guess.probability for guess in guesses], row[order], atol=1e-5)


def test_yes_or_no_is_one_probability_of_the_second_class(folders, photos):
    folder, model = folders["binary"]

    said = predict_files(load_run(folder), photos)

    expected = model.predict(noise_pictures(3).astype(np.float32), verbose=0)[:, 0]
    assert said == [[Guess("yes", pytest.approx(p, abs=1e-5))] for p in expected]


def test_labels_above_the_threshold(folders, photos):
    folder, model = folders["multi-label"]
    expected = model.predict(noise_pictures(3).astype(np.float32), verbose=0)
    threshold = float(np.median(expected))

    said = predict_files(load_run(folder), photos, threshold=threshold)

    for row, guesses in zip(expected, said, strict=True):
        order = [i for i in np.argsort(-row) if row[i] > threshold]
        assert [guess.label for guess in guesses] == [NAMES["multi-label"][i] for i in order]
    assert 0 < sum(map(len, said)) < 9
    with pytest.raises(ValueError, match=re.escape("`threshold` must be from 0 to 1, got 50")):
        predict_files(load_run(folder), photos, threshold=50)


def test_quantities(folders, photos):
    folder, model = folders["regression"]

    said = predict_files(load_run(folder), photos)

    expected = model.predict(noise_pictures(3).astype(np.float32), verbose=0)
    assert said == [
        [
            Quantity("age", pytest.approx(age, abs=1e-4)),
            Quantity("weight", pytest.approx(kg, abs=1e-4)),
        ]
        for age, kg in expected
    ]


# --- test-time augmentation


def test_copies_are_the_photo_and_what_training_would_show(folders):
    folder, model = folders["single-label"]
    pictures = noise_pictures(40)  # more than a batch

    mean = predict_source(load_run(folder), ArraySource(pictures), copies=4)

    from fusewarp import Augmenter

    plain, chance = (Augmenter(policy, size=SIZE, seed=5) for policy in (Policy(), POLICY))
    shown = [plain.apply(pictures, np.zeros(40, int))]
    shown += [chance.apply(pictures, np.zeros(40, int), epoch) for epoch in (1, 2, 3)]
    expected = np.mean([model.predict(pixels, verbose=0) for pixels in shown], axis=0)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    np.testing.assert_array_equal(shown[0], pictures)
    assert len({pixels.tobytes() for pixels in shown}) == 4


def test_copies_repeat_and_what_is_said_of_a_photo_does_not_depend_on_the_others(folders):
    run, pictures = load_run(folders["single-label"][0]), noise_pictures(5)

    first = predict_source(run, ArraySource(pictures), copies=3)
    again = predict_source(run, ArraySource(pictures), copies=3, threads=1)
    alone = predict_source(run, ArraySource(pictures[3:4]), copies=3)
    single = predict_source(run, ArraySource(pictures))

    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first[3:4], alone, atol=1e-6)
    assert np.abs(first - single).max() > 1e-3


def test_copies_by_another_policy_and_without_chance(folders, tmp_path):
    run, source = load_run(folders["single-label"][0]), ArraySource(noise_pictures(2))
    flips = Policy(horizontal_flip=True)

    flipped = predict_source(run, source, copies=6, policy=flips)

    both = [run.model.predict(s.astype(np.float32), verbose=0) for s in _flips(source.images)]
    shares = (flipped - both[1]) / (both[0] - both[1])  # of the copies that were not flipped
    np.testing.assert_allclose(shares, shares[0, 0], atol=1e-3)
    assert round(float(shares[0, 0]) * 6, 2) in (1, 2, 3, 4, 5)
    with pytest.raises(ValueError, match="leaves nothing to chance"):
        predict_source(run, source, copies=2, policy=Policy())
    with pytest.raises(ValueError, match=re.escape("`copies` must be at least 1, got 0")):
        predict_source(run, source, copies=0)
    tiny_model("regression", 1).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"no report\.json beside it"):
        predict_source(load_run(tmp_path), source, copies=2)


def _flips(images):
    return images, images[:, :, ::-1]


def test_large_photos_are_read_at_the_size_that_a_zoom_can_use(folders):
    run, asked = load_run(folders["single-label"][0]), []

    class Source(ArraySource):
        def read(self, sample_id, min_size=(0, 0)):
            asked.append(min_size)
            return super().read(sample_id, min_size)

    source = Source(noise_pictures(1))
    predict_source(run, source)
    predict_source(run, source, copies=2, policy=Policy(zoom_range=(0.5, 1.0)))
    predict_source(run, source, copies=2, policy=Policy(zoom_range=0.1, interpolation="nearest"))

    assert asked == [(16, 20), (32, 40), (0, 0)]


def test_report_values_reach_the_run(folders):
    report = json.loads((folders["binary"][0] / "report.json").read_text())

    assert load_run(folders["binary"][0]).hyperparameters == report["hyperparameters"]
