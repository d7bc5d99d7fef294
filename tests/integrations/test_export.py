import importlib.util
import re
import sys
import types

import numpy as np
import pytest
from skimage import data

from fusewarp.integrations import export
from fusewarp.integrations.export import Disagreement, export_run
from fusewarp.integrations.saved_run import load_run
from oracles.saved_runs import SIZE, noise_pictures, write_run

pytestmark = [
    # Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]
PHOTOS = [data.chelsea(), data.astronaut()[:300]]
HAS_ONNX = all(map(importlib.util.find_spec, ("onnx", "tf2onnx", "onnxruntime")))


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / "run", "single-label", ["ant", "bee", "cat"])
    return load_run(tmp_path / "run")


def expected_of(run, pictures):
    return run.model.predict(pictures.astype(np.float32), verbose=0)


@pytest.mark.parametrize("kind", ["savedmodel", "tflite"])
def test_says_what_the_keras_model_says(run, kind, tmp_path):
    import tensorflow as tf

    difference = export_run(run, tmp_path / "made" / "out", kind, PHOTOS)

    folder, pictures = tmp_path / "made" / "out", noise_pictures(3)
    assert 0 <= difference < 1e-5
    assert (folder / "labels.txt").read_text() == "ant\nbee\ncat\n"
    assert (folder / export.MODELS[kind]).is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    if kind == "savedmodel":
        loaded = tf.saved_model.load(str(folder))
        said = loaded.serve(pictures.astype(np.float32)).numpy()
    else:
        said = export._LOADERS[kind](folder)(pictures.astype(np.float32))
    np.testing.assert_allclose(said, expected_of(run, pictures), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="onnx, tf2onnx or onnxruntime is not installed")
def test_onnx_says_what_the_keras_model_says(run, tmp_path):
    import onnxruntime

    assert export_run(run, tmp_path / "out", "onnx", PHOTOS) < 1e-5

    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (taken,) = session.get_inputs()
    assert (taken.name, taken.shape[1:]) == ("rgb_levels", [*SIZE, 3])
    pictures = noise_pictures(3)
    (said,) = session.run(None, {taken.name: pictures.astype(np.float32)})
    np.testing.assert_allclose(said, expected_of(run, pictures), atol=1e-5)


@pytest.mark.parametrize("wrong", [lambda said: said[:, ::-1], lambda said: said * np.nan])
def test_an_export_that_disagrees_is_not_kept(run, wrong, tmp_path, monkeypatch):
    load = export._LOADERS["savedmodel"]
    monkeypatch.setitem(
        export._LOADERS, "savedmodel", lambda folder: lambda pixels: wrong(load(folder)(pixels))
    )

    with pytest.raises(Disagreement, match="differs from the Keras model"):
        export_run(run, tmp_path / "out", "savedmodel", PHOTOS)

    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_quantities_are_compared_in_their_own_size(tmp_path, monkeypatch):
    write_run(tmp_path / "run", "regression", ["metres"])
    run = load_run(tmp_path / "run")
    kernel, bias = run.model.layers[-1].get_weights()
    run.model.layers[-1].set_weights([kernel * 1e6, bias])
    load = export._LOADERS["savedmodel"]
    monkeypatch.setitem(
        export._LOADERS, "savedmodel", lambda folder: lambda pixels: load(folder)(pixels) * 1.00001
    )

    assert export_run(run, tmp_path / "out", "savedmodel", PHOTOS) < 1e-4


def test_nothing_is_written_over(run, tmp_path):
    (tmp_path / "out").mkdir()

    with pytest.raises(FileExistsError, match="exists already"):
        export_run(run, tmp_path / "out", "tflite", PHOTOS)


def test_a_missing_library_is_named_with_the_command(run, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found("json")
    )

    words = "tf2onnx cannot be imported; write: pip install onnx tf2onnx onnxruntime"
    with pytest.raises(ModuleNotFoundError, match=re.escape(words)):
        export_run(run, tmp_path / "out", "onnx", PHOTOS)


def test_without_a_runtime_nothing_is_compared(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "NEEDED", dict.fromkeys(export.NEEDED, ()))
    monkeypatch.setitem(
        export._WRITERS, "onnx", lambda model, folder: (folder / "model.onnx").write_bytes(b"x")
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert export_run(run, tmp_path / "out", "onnx", PHOTOS) is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"labels.txt", "model.onnx"}


def test_a_newer_interpreter_is_preferred(run, tmp_path, monkeypatch):
    asked = []

    class Interpreter:
        def __init__(self, model_path):
            asked.append(model_path)
            raise RuntimeError("enough")

    package, module = types.ModuleType("ai_edge_litert"), types.ModuleType("interpreter")
    package.__spec__ = importlib.util.spec_from_loader("ai_edge_litert", None)
    module.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)

    with pytest.raises(RuntimeError, match="enough"):
        export_run(run, tmp_path / "out", "tflite", PHOTOS)
    assert len(asked) == 1


def test_what_a_converter_cannot_do_is_said_in_a_sentence(run, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such op: Foo\nat 0x123")

    monkeypatch.setitem(export._WRITERS, "tflite", fail)

    with pytest.raises(ValueError, match=r"cannot be written as tflite: no such op: Foo$"):
        export_run(run, tmp_path / "out", "tflite", PHOTOS)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_unknown_formats_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match=re.escape("must be one of ['savedmodel', 'tflite'")):
        export_run(run, tmp_path / "out", "pickle", PHOTOS)
