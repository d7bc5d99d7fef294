"""What a training run leaves behind: the model, its labels, its history, a report and pictures."""

import contextlib
import csv
import datetime
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...engine.contact_sheet import contact_sheet
from .own_data import OwnData
from .trainer import Source, TransferTrainer

MODEL, LABELS, REPORT = "model.keras", "labels.txt", "report.json"
HISTORY, CURVES = "history.csv", "history.png"
CONFUSION_MATRIX, CONTACT_SHEET = "confusion_matrix.png", "contact_sheet.png"
NOT_CURVES = ("epoch", "stage", "learning_rate", "seconds", "images_per_second", "wait_share")
PACKAGES = ("fusewarp", "keras", "tensorflow", "numpy", "numba")
MOST_PRINTED_CLASSES = 20  # a larger confusion matrix is drawn without its numbers


def write_run_folder(
    folder: str | Path,
    trainer: TransferTrainer,
    train_source: Source,
    validation_source: Source | None = None,
    *,
    sheet_rows: int = 4,
    sheet_copies: int = 5,
) -> Path:
    """Write the run folder of a trainer that has been fitted, or stopped after an epoch.

    Everything is written into a temporary folder beside it, which gets its name at the very end:
    a folder of that name is complete.

    Parameters
    ----------
    folder : path
        Must not exist, or be empty.
    trainer : TransferTrainer
    train_source : FolderSource or ArraySource
        Counted in the report, and shown on the contact sheet as the model saw it.
    validation_source : FolderSource or ArraySource, optional
        Without it there is no confusion matrix and no validation in the report.
    sheet_rows, sheet_copies : int
        Photos on the contact sheet, and augmentations of each.

    Returns
    -------
    Path
        `folder`, with model.keras (raw RGB 0-255 in, probabilities out), labels.txt, history.csv,
        history.png, report.json, contact_sheet.png and confusion_matrix.png.

    Raises
    ------
    FileExistsError
        If `folder` is a file, or holds something.
    RuntimeError
        If the trainer has no finished epoch.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (folder / REPORT).exists()):
        raise FileExistsError(f"{folder} exists already. Give a new name, or delete it.")
    if not trainer.history:
        raise RuntimeError("The trainer has not finished an epoch; call `fit` first.")
    with _complete_or_nothing(folder) as unfinished:
        report = make_report(trainer, train_source, validation_source)
        write_history(unfinished / HISTORY, trainer.history)
        draw_history(trainer.history).savefig(unfinished / CURVES)
        (unfinished / LABELS).write_text("\n".join(trainer.class_names) + "\n", encoding="utf-8")
        if validation_source is not None:
            counts = confusion_counts(trainer, validation_source)
            draw_confusion_matrix(counts, trainer.class_names).savefig(
                unfinished / CONFUSION_MATRIX
            )
            report["confusion_matrix"] = counts.tolist()
        if not isinstance(train_source, OwnData):  # its pictures cannot be asked for one by one
            ids = _sheet_ids(len(train_source), sheet_rows)
            sheet = contact_sheet(train_source, trainer.augmenter(), ids, sheet_copies)
            sheet.save(unfinished / CONTACT_SHEET)
        (unfinished / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
        trainer.model.save(unfinished / MODEL)
    return folder


@contextlib.contextmanager
def _complete_or_nothing(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-unfinished-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp makes it readable for its owner alone
        folder.mkdir(exist_ok=True)
        names = sorted(path.name for path in unfinished.iterdir() if path.name != REPORT)
        for name in [*names, REPORT]:  # with the report the folder is complete
            (unfinished / name).replace(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def make_report(
    trainer: TransferTrainer, train_source: Source, validation_source: Source | None
) -> dict[str, Any]:
    """Return what the run was and what came out, as plain values.

    `validation` is measured anew with the weights that are saved; `images_per_second` and
    `wait_share` are medians over the epochs, of which the first of each stage has compiling in it.
    """
    report: dict[str, Any] = {
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "hyperparameters": trainer.hyperparameters(),
        "base": trainer.conv_base.name,
        "image_size": list(trainer.conv_base.image_size),
        "pixels": asdict(trainer.conv_base.pixels),
        "class_names": trainer.class_names,
        "train_counts": _counts(trainer, train_source),
        "stages": [asdict(stage) for stage in trainer.stages],
        "history": trainer.history,
        "images_per_second": _median(trainer.history, "images_per_second"),
        "wait_share": _median(trainer.history, "wait_share"),
        "versions": {"python": platform.python_version(), **_versions()},
    }
    if validation_source is not None:
        report["validation_counts"] = _counts(trainer, validation_source)
        report["validation"] = trainer.evaluate(validation_source)
    return report


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write one line per epoch; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def draw_history(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss and metrics over the epochs, with a line where fine-tuning begins."""
    names = [name for name in history[-1] if name not in NOT_CURVES and name[:4] != "val_"]
    names.sort(key=lambda name: name != "loss")
    figure = _figure(5.0 * len(names), 4.0)
    epochs = [row["epoch"] + 1 for row in history]
    starts = [row["epoch"] + 1 for row in history if row["stage"] == "fine-tuning"]
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        axes.plot(epochs, [row.get(name) for row in history], "o-", label="training")
        if f"val_{name}" in history[-1]:
            values = [row.get(f"val_{name}") for row in history]
            axes.plot(epochs, values, "s-", label="validation")
        if starts:
            axes.axvline(starts[0] - 0.5, color="grey", linestyle=":", label="fine-tuning begins")
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def confusion_counts(trainer: TransferTrainer, source: Source) -> NDArray[np.int64]:
    """Count (true class, predicted class) over a source that is labelled."""
    counts = np.zeros((len(trainer.class_names),) * 2, np.int64)
    predicted = trainer.predict(source).argmax(axis=1)
    np.add.at(counts, (np.asarray(source.labels), predicted), 1)
    return counts


def draw_confusion_matrix(counts: NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draw counts as a matrix: a row is what a photo shows, a column what the model said."""
    side = 3.0 + 0.45 * min(len(class_names), 40)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the class")
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(class_names) <= MOST_PRINTED_CLASSES:
        for (row, col), count in np.ndenumerate(counts):
            colour = "white" if shares[row, col] > 0.5 else "black"
            axes.text(col, row, str(count), ha="center", va="center", color=colour)
    return figure


def _figure(width: float, height: float) -> Figure:
    """Make a figure without pyplot, which would keep it and might look for a screen."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    return figure


def _counts(trainer: TransferTrainer, source: Source) -> dict[str, int]:
    counts = np.bincount(np.asarray(source.labels), minlength=len(trainer.class_names))
    return dict(zip(trainer.class_names, counts.tolist(), strict=True))


def _sheet_ids(count: int, rows: int) -> list[int]:
    """Spread evenly over a source, so that every class has its turn."""
    spread = np.linspace(0, count - 1, min(rows, count)).round()
    return [int(sample_id) for sample_id in np.unique(spread)]


def _median(history: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.median([row[name] for row in history if name in row]))


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
