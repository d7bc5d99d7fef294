"""A training run's whole state in one file: weights, optimizer, seeds, metrics, position."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

STATE = "state.npz"
FORMAT = 1


@dataclass(frozen=True)
class Position:
    """What is trained on next: a stage, an epoch (counted through both) and a step in it."""

    stage: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class State:
    """A checkpoint as it was read.

    Attributes
    ----------
    position : Position
    history : list of dict
        A row for each finished epoch.
    digest : str
        Of the weights that the stage does not change, and of the configuration.
    arrays : dict
        The values of what `variables_of` lists, by their place there.
    """

    position: Position
    history: list[dict[str, Any]]
    digest: str
    arrays: dict[str, NDArray[Any]]


def variables_of(network: keras.Model) -> list[Any]:
    """List what a training step changes: weights, seeds, the optimizer's, the metrics'.

    The order is that of the network, so it is the same whenever the same network is built.
    """
    frozen = {id(weight) for weight in network.non_trainable_weights}
    metrics = [variable for metric in network.metrics for variable in metric.variables]
    every = [*network.variables, *network.optimizer.variables, *metrics]
    kept = {id(variable): variable for variable in every if id(variable) not in frozen}
    return list(kept.values())


def build_variables(network: keras.Model, targets: NDArray[Any]) -> None:
    """Make the optimizer's and the metrics' variables, which Keras makes in the first step.

    Parameters
    ----------
    network : keras.Model
        Compiled.
    targets : (n, ...) array
        One batch of what the loss compares with.
    """
    network.optimizer.build(network.trainable_variables)
    outputs = keras.ops.zeros((len(targets), *network.output_shape[1:]))
    network.compute_metrics(None, keras.ops.convert_to_tensor(targets), outputs, None)
    network.reset_metrics()


def digest_of(weights: Iterable[Any], words: Sequence[str] = ()) -> str:
    """Return a hash of weights, to tell whether a run goes on with what it began with."""
    total = hashlib.blake2b(digest_size=16)
    for word in words:
        total.update(word.encode())
    for weight in weights:
        total.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return total.hexdigest()


def save_state(
    folder: Path,
    network: keras.Model,
    position: Position,
    history: list[dict[str, Any]],
    digest: str,
) -> None:
    """Write the state of a run; whatever happens, the folder holds a whole one, old or new.

    Raises
    ------
    OSError
        If it cannot be written; the state before it stays.
    """
    values = {
        str(place): keras.ops.convert_to_numpy(variable)
        for place, variable in enumerate(variables_of(network))
    }
    about = {"format": FORMAT, "position": asdict(position), "history": history, "digest": digest}
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / (STATE + ".unfinished")
    try:
        with open(unfinished, "wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **values)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / STATE)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"The checkpoint could not be written ({error.strerror}); the one before it is whole. "
            "Make room and go on with resume",
            str(folder / STATE),
        ) from error


def load_state(folder: Path) -> State | None:
    """Read the state of a run; None if it has none yet.

    Raises
    ------
    ValueError
        If the file is no checkpoint of this version.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}, this version reads {FORMAT}")
        position = Position(**about["position"])
        return State(position, about["history"], about["digest"], arrays)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no checkpoint that can be read: {error}") from error


def restore(network: keras.Model, state: State) -> None:
    """Give a network, built and compiled as it was, the values of a state.

    Raises
    ------
    ValueError
        If the network has other variables than the state.
    """
    variables = variables_of(network)
    shapes = [tuple(variable.shape) for variable in variables]
    saved = [state.arrays.get(str(place)) for place in range(len(variables))]
    fits = len(state.arrays) == len(variables) and all(
        values is not None and values.shape == shape
        for values, shape in zip(saved, shapes, strict=True)
    )
    if not fits:
        raise ValueError(
            f"The checkpoint holds {len(state.arrays)} variables that do not fit the "
            f"{len(variables)} of this network: it is of another configuration."
        )
    for variable, values in zip(variables, saved, strict=True):
        variable.assign(values)
