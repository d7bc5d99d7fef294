"""A finished run, read back from its folder: the model, and what it says of a picture."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from ..engine import Policy
from .keras.run_folder import LABELS, MODEL, REPORT
from .keras.tasks import Task, TaskName


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A model that stands alone, and what is known of it.

    Attributes
    ----------
    model : keras.Model
        Takes raw RGB levels, 0-255, (n, height, width, 3).
    task : Task
        What it says, and the names of that.
    hyperparameters : dict
        Of its training; empty for a model without a report.json beside it.
    """

    model: keras.Model
    task: Task
    hyperparameters: dict[str, Any]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that the model takes."""
        height, width = self.model.input_shape[1:3]
        return height, width

    @property
    def policy(self) -> Policy | None:
        """The augmentation of its training, if that is known."""
        values = self.hyperparameters.get("policy")
        return None if values is None else Policy.from_dict(values)

    @property
    def seed(self) -> int:
        """The seed of its training; 0 if that is not known."""
        return int(self.hyperparameters.get("seed", 0))


def load_run(path: Path) -> SavedRun:
    """Load a model with what stands beside it.

    Parameters
    ----------
    path : Path
        A run folder, or a `.keras` file. The names are the lines of labels.txt beside the model;
        without that file they are the numbers of the outputs. What it says is in report.json;
        without that file, the last activation tells: softmax, sigmoid, or quantities.

    Raises
    ------
    FileNotFoundError
        If there is no model.
    ValueError
        If the file is no Keras model, takes no RGB pictures of a fixed size, or has another number
        of outputs than labels.txt has lines; if report.json cannot be read.
    """
    file = path / MODEL if path.is_dir() else path
    model = _load_model(file)
    report = _read_report(file.parent / REPORT)
    shape, outputs = model.input_shape, model.output_shape
    if len(shape) != 4 or shape[3] != 3 or None in shape[1:] or len(outputs) != 2:
        raise ValueError(
            f"{file} takes {shape} and gives {outputs}; a model of RGB pictures of a fixed size is "
            "needed, as `fusewarp train` writes."
        )
    name = report.get("task") or _guess_task(model)
    hyperparameters = report.get("hyperparameters", {})
    names = _read_labels(file.parent / LABELS, name, outputs[1])
    smoothing = float(hyperparameters.get("label_smoothing", 0.0))
    return SavedRun(model, Task(name, tuple(names), smoothing), hyperparameters)


def _load_model(file: Path) -> keras.Model:
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no model {file}; give a run folder of `fusewarp train` or a .keras file."
        )
    try:
        return keras.models.load_model(file, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be loaded as a Keras model: {error}") from error


def _read_report(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON file: {error}") from error
    return report


def _guess_task(model: keras.Model) -> TaskName:
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "linear")
    if activation == "softmax":
        return "single-label"
    if activation == "sigmoid":
        return "binary" if model.output_shape[1] == 1 else "multi-label"
    return "regression"


def _read_labels(file: Path, task: TaskName, num_outputs: int) -> list[str]:
    num_names = 2 if task == "binary" else num_outputs
    if not file.is_file():
        return [str(number) for number in range(num_names)]
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    labels = text.removesuffix("\n").split("\n")
    if len(labels) != num_names:
        raise ValueError(
            f"{file} has {len(labels)} lines, but the model beside it has {num_names} classes."
        )
    return labels
