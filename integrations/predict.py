"""Predictions for single files with a saved model, decoded and resized as in training."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from ..engine import Augmenter, Policy
from ..engine.decode import decode_image

MODEL_FILE, LABELS_FILE = "model.keras", "labels.txt"
BATCH_SIZE = 32


@dataclass(frozen=True)
class Guess:
    """One class and its probability, 0 to 1."""

    label: str
    probability: float


def load_classifier(path: Path) -> tuple[keras.Model, list[str]]:
    """Load a model and the names of its classes.

    Parameters
    ----------
    path : Path
        A run folder, or a `.keras` file. The names are the lines of `labels.txt` beside the model;
        without that file they are the numbers of the outputs.

    Returns
    -------
    model : keras.Model
        Takes raw RGB levels, 0-255, (n, height, width, 3).
    labels : list of str

    Raises
    ------
    FileNotFoundError
        If there is no model.
    ValueError
        If the file is no Keras model, is no classifier of RGB pictures of a fixed size, or has
        another number of classes than `labels.txt` has lines.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    model = _load_model(file)
    shape, outputs = model.input_shape, model.output_shape
    if len(shape) != 4 or shape[3] != 3 or None in shape[1:] or len(outputs) != 2:
        raise ValueError(
            f"{file} takes {shape} and gives {outputs}; a classifier of RGB pictures of a fixed "
            "size is needed, as `fusewarp train` writes."
        )
    labels = _read_labels(file.parent / LABELS_FILE, outputs[1])
    return model, labels


def predict_files(
    model: keras.Model, labels: Sequence[str], paths: Sequence[Path], top: int
) -> list[list[Guess]]:
    """Name the likeliest classes of each picture.

    Parameters
    ----------
    model, labels
        From `load_classifier`.
    paths : sequence of Path
    top : int
        How many classes for each picture, at least 1.

    Returns
    -------
    list of lists of Guess
        The likeliest first.

    Raises
    ------
    FileNotFoundError, SampleError
        If a picture is not there or cannot be decoded; the message names it.
    """
    augmenter = Augmenter(Policy(), size=model.input_shape[1:3])
    rows: list[list[Guess]] = []
    for start in range(0, len(paths), BATCH_SIZE):
        images = [_read(path, augmenter) for path in paths[start : start + BATCH_SIZE]]
        pixels = augmenter.apply(images, np.arange(len(images)))
        rows += [_likeliest(row, labels, top) for row in model.predict_on_batch(pixels)]
    return rows


def _load_model(file: Path) -> keras.Model:
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no model {file}; give a run folder of `fusewarp train` or a .keras file."
        )
    try:
        return keras.models.load_model(file, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be loaded as a Keras model: {error}") from error


def _read_labels(file: Path, num_classes: int) -> list[str]:
    if not file.is_file():
        return [str(number) for number in range(num_classes)]
    labels = file.read_text(encoding="utf-8").splitlines()
    if len(labels) != num_classes:
        raise ValueError(
            f"{file} has {len(labels)} lines, but the model beside it has {num_classes} classes."
        )
    return labels


def _read(path: Path, augmenter: Augmenter) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"There is no picture {path}.")
    return decode_image(path.read_bytes(), str(path), min_size=augmenter.useful_size)


def _likeliest(probabilities: np.ndarray, labels: Sequence[str], top: int) -> list[Guess]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [Guess(labels[i], float(probabilities[i])) for i in order]
