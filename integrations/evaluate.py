"""How good a saved run is on labelled photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..engine import FolderSource, Policy
from ..engine.table import TableSource
from .copies import predict_source
from .keras.outcome import Outcome, Row
from .keras.tasks import METRICS, Task, check_labels
from .saved_run import SavedRun


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out.

    Attributes
    ----------
    pictures : int
    figures : dict
        The run's loss and metrics.
    table : list of dict
        A row for each class, label or quantity, see `Outcome.table`.
    confusion_matrix : (classes, classes) int64 or None
        A row is a true class, a column a predicted one.
    """

    pictures: int
    figures: dict[str, float]
    table: list[Row]
    confusion_matrix: NDArray[np.int64] | None


def evaluate_source(
    run: SavedRun, source: Any, *, copies: int = 1, policy: Policy | None = None
) -> Evaluation:
    """Measure a run on a labelled source.

    Parameters
    ----------
    run : SavedRun
    source : FolderSource, ArraySource, TableSource or the like
        uint8 RGB with labels of the run's task, see `labelled_source`.
    copies, policy
        Test-time augmentation, see `predict_source`; what is measured is then the mean prediction.

    Raises
    ------
    ValueError
        If the labels are not of the task.
    SampleError
        If a picture cannot be decoded.
    """
    check_labels(run.task, "source", source)
    predictions = predict_source(run, source, copies=copies, policy=policy)
    outcome = Outcome(run.task, predictions, np.asarray(source.labels))
    figures = _figures(run, outcome)
    return Evaluation(len(outcome), figures, outcome.table(), outcome.confusion())


def labelled_source(
    run: SavedRun,
    path: Path,
    *,
    label: Sequence[str] = (),
    path_column: str = "path",
    label_separator: str | None = None,
) -> Any:
    """Find the labelled photos of a folder or a table, in the run's order of classes.

    Parameters
    ----------
    run : SavedRun
    path : Path
        A folder whose sub-folders are classes of the run, not necessarily all of them; or a CSV
        file.
    label : sequence of str
        The table's columns of labels. Default: "label" of classes; the names of the run's labels
        or quantities.
    path_column : str
    label_separator : str, optional
        What stands between several labels in one column.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If it is not there.
    ValueError
        If it has classes that the run does not know, or none that it does.
    """
    if not path.is_dir() and path.suffix.lower() in (".csv", ".tsv"):
        return _table(run.task, path, label, path_column, label_separator)
    if run.task.name not in ("single-label", "binary"):
        raise ValueError(
            f"This run is {run.task.name}, and folders say one class for each photo. Give a CSV "
            "file of photos and labels."
        )
    return _folder(run.task, path)


def _folder(task: Task, path: Path) -> FolderSource:
    known = FolderSource(path, classes=_present(task, path))
    places = np.array([task.outputs.index(name) for name in known.class_names])
    known.labels = places[np.asarray(known.labels)]
    known.class_names = list(task.outputs)
    return known


def _present(task: Task, path: Path) -> list[str] | None:
    """Return the classes that have a folder; None lets FolderSource say what is wrong."""
    if not path.is_dir():
        return None
    found = {item.name for item in path.iterdir() if item.is_dir() and item.name[0] != "."}
    unknown = sorted(found - set(task.outputs))
    if unknown:
        raise ValueError(
            f"{path} has the sub-folders {unknown[:5]}, but the run's classes are "
            f"{list(task.outputs)[:20]}. Rename or move them."
        )
    return [name for name in task.outputs if name in found] or None


def _table(
    task: Task, path: Path, label: Sequence[str], path_column: str, separator: str | None
) -> TableSource:
    in_one_column = task.name in ("single-label", "binary") or separator is not None
    columns = list(label) or (["label"] if in_one_column else list(task.outputs))
    options: dict[str, Any] = {"path": path_column, "label_separator": separator}
    if in_one_column:
        options["class_names"] = list(task.outputs)
    if task.name == "regression":
        options["task"] = "regression"
    if path.suffix.lower() == ".tsv":
        options["delimiter"] = "\t"
    one_or_more = columns if len(columns) > 1 else columns[0]
    source = TableSource.from_csv(path, label=one_or_more, **options)
    if len(columns) == len(task.outputs):
        source.class_names = list(task.outputs)
    return source


def _figures(run: SavedRun, outcome: Outcome) -> dict[str, float]:
    """Let Keras compute the run's loss and metrics of predictions that are there already."""
    task, values = run.task, run.hyperparameters
    loss, metrics = values.get("loss"), values.get("metrics")
    measure = keras.Sequential([keras.Input((task.num_outputs,)), keras.layers.Identity()])
    measure.compile(
        loss=task.loss() if loss is None else keras.losses.get(loss),
        metrics=[
            task.metric(metric if isinstance(metric, str) else keras.metrics.get(metric))
            for metric in (METRICS[task.name] if metrics is None else metrics)
        ],
    )
    logs = measure.evaluate(
        outcome.predictions, task.targets(outcome.labels), verbose=0, return_dict=True
    )
    return {name: float(value) for name, value in logs.items()}
