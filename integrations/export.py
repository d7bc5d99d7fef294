"""A saved run for other runtimes: SavedModel, TFLite, ONNX; kept if it agrees with Keras."""

import importlib
import importlib.util
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from ..engine import Augmenter, Policy
from .keras.run_folder import LABELS
from .saved_run import SavedRun

Format = Literal["savedmodel", "tflite", "onnx"]
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
MODELS = {"savedmodel": "saved_model.pb", "tflite": "model.tflite", "onnx": "model.onnx"}
NEEDED = {"savedmodel": (), "tflite": (), "onnx": ("onnx", "tf2onnx")}
TOLERANCE = 1e-3  # of probabilities; of quantities relative to the largest


class Disagreement(ValueError):
    """An exported model says something else than the Keras model."""


def export_run(
    run: SavedRun, out: Path, kind: Format, pictures: list[NDArray[np.uint8]]
) -> float | None:
    """Write a run's model for another runtime, with its labels beside it.

    Parameters
    ----------
    run : SavedRun
    out : Path
        A folder that must not exist. It gets labels.txt and model.tflite, model.onnx, or a
        SavedModel. They take raw RGB levels 0-255, (n, height, width, 3) float32.
    kind : {"savedmodel", "tflite", "onnx"}
    pictures : list of (height, width, 3) uint8
        A few, of any sizes, which both models are asked about.

    Returns
    -------
    float or None
        The largest difference, see `TOLERANCE`; None where the runtime (onnxruntime) is not
        installed, so that nothing was compared.

    Raises
    ------
    FileExistsError
        If `out` exists.
    ModuleNotFoundError
        If a library is not installed; the message says how to.
    Disagreement
        If the two differ by more than `TOLERANCE`; nothing is left at `out`.
    ValueError
        If the format is unknown, or has no way to write something in the model.
    """
    if kind not in get_args(Format):
        raise ValueError(f"`kind` must be one of {list(get_args(Format))}, got {kind!r}.")
    if out.exists():
        raise FileExistsError(f"{out} exists already. Give --out a new name, or delete it.")
    _require(kind)
    pixels = Augmenter(Policy(), size=run.image_size).apply(pictures, np.arange(len(pictures)))
    expected = np.asarray(run.model.predict_on_batch(pixels))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        _write(kind, run.model, made)
        exported, difference = _LOADERS[kind](made), None
        if exported is not None:
            difference = _compare(run, exported(pixels), expected)
        with open(made / LABELS, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{name}\n" for name in run.task.outputs)
        made.rename(out)
    return difference


def _require(kind: Format) -> None:
    missing = [name for name in NEEDED[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"{' and '.join(missing)} cannot be imported; write: pip install "
            f"{' '.join(NEEDED[kind])} onnxruntime"
        )


def _write(kind: Format, model: keras.Model, folder: Path) -> None:
    try:
        _WRITERS[kind](model, folder)
    except Exception as error:  # each converter has errors of its own
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"This model cannot be written as {kind}: {reason}") from error


def _compare(run: SavedRun, exported: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    scale = 1.0 if run.task.name != "regression" else max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(exported - expected).max()) / scale
    if not difference <= TOLERANCE:  # NaN too
        raise Disagreement(
            f"The exported model differs from the Keras model by {difference:.2g}, more than "
            f"{TOLERANCE:g}, and was not kept. Try another --format."
        )
    return difference


def _write_saved_model(model: keras.Model, folder: Path) -> None:
    model.export(str(folder), format="tf_saved_model", verbose=False)


def _write_tflite(model: keras.Model, folder: Path) -> None:
    import tensorflow

    with tempfile.TemporaryDirectory(dir=folder.parent) as saved:
        _write_saved_model(model, Path(saved))
        converted = tensorflow.lite.TFLiteConverter.from_saved_model(saved).convert()
    (folder / MODELS["tflite"]).write_bytes(converted)


def _write_onnx(model: keras.Model, folder: Path) -> None:
    """Convert a SavedModel with tf2onnx's own command.

    Keras' `export(format="onnx")` makes inputs of the constants of a Normalization layer, so that
    no runtime can run the model.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as saved:
        _write_saved_model(model, Path(saved))
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", saved]
        command += ["--output", str(folder / MODELS["onnx"])]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError((done.stderr.strip() or "tf2onnx failed").splitlines()[-1])


def _load_saved_model(folder: Path) -> Predict:
    import tensorflow

    loaded = tensorflow.saved_model.load(str(folder))
    return lambda pixels: np.asarray(loaded.serve(pixels))


def _load_tflite(folder: Path) -> Predict:
    interpreter = _interpreter(folder / MODELS["tflite"])
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.resize_tensor_input(taken["index"], pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], pixels)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(given["index"]))

    return predict


def _interpreter(file: Path) -> Any:
    if importlib.util.find_spec("ai_edge_litert") is not None:
        litert = importlib.import_module("ai_edge_litert.interpreter")
        return litert.Interpreter(model_path=str(file))
    import tensorflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is to move into ai_edge_litert
        return tensorflow.lite.Interpreter(model_path=str(file))


def _load_onnx(folder: Path) -> Predict | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(
        str(folder / MODELS["onnx"]), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda pixels: np.asarray(session.run(None, {name: pixels})[0])


_WRITERS = {"savedmodel": _write_saved_model, "tflite": _write_tflite, "onnx": _write_onnx}
_LOADERS: dict[str, Callable[[Path], Predict | None]] = {
    "savedmodel": _load_saved_model,
    "tflite": _load_tflite,
    "onnx": _load_onnx,
}
