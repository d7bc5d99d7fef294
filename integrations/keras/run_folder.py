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
from PIL import Image

from ...engine.contact_sheet import contact_sheet
from .figures import draw_confusion_matrix, draw_history, draw_scatter, save_figure, svg_uri
from .mistakes import draw_mistakes, find_mistakes, read_tiles
from .outcome import Outcome
from .own_data import OwnData, is_own_data
from .page import jpeg_uri
from .report_page import Pictures, report_page
from .trainer import Source, TransferTrainer

MODEL, LABELS, REPORT, PAGE = "model.keras", "labels.txt", "report.json", "report.html"
HISTORY, CURVES, TABLE = "history.csv", "history.png", "classes.csv"
CONFUSION_MATRIX, SCATTER = "confusion_matrix.png", "predicted_true.png"
CONTACT_SHEET, MISTAKES = "contact_sheet.png", "mistakes.png"
PACKAGES = ("fusewarp", "keras", "tensorflow", "numpy", "numba")


def write_run_folder(
    folder: str | Path,
    trainer: TransferTrainer,
    train_source: Any,
    validation_source: Any = None,
    *,
    sheet_rows: int = 4,
    sheet_copies: int = 5,
) -> Path:
    """Write the run folder of a trainer that has been fitted, or stopped after an epoch.

    Everything is written into a temporary folder beside it and moved in at the end, report.json
    last: a folder that holds report.json is complete. What training has put there, config.yaml and
    checkpoint/, stays.

    Parameters
    ----------
    folder : path
        Must not exist, or hold no report.json.
    trainer : TransferTrainer
    train_source : source, tf.data.Dataset or keras.utils.PyDataset
        Counted in the report, and shown on the contact sheet as the model saw it.
    validation_source : the same, optional
        Without it there are no table, no confusion matrix and no mistakes.
    sheet_rows, sheet_copies : int
        Photos on the contact sheet, and augmentations of each.

    Returns
    -------
    Path
        `folder`, with model.keras (raw RGB 0-255 in, predictions out), labels.txt, report.html,
        report.json, history.csv and .png; of the validation data classes.csv, confusion_matrix.png
        where a picture has one class, predicted_true.png of quantities, and mistakes.png. Of a
        pipeline of your own there are no photos: contact_sheet.png and mistakes.png are left out.

    Raises
    ------
    FileExistsError
        If `folder` is a file, or a finished run.
    RuntimeError
        If the trainer has no finished epoch.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (folder / REPORT).exists()):
        raise FileExistsError(f"{folder} exists already. Give a new name, or delete it.")
    if not trainer.history:
        raise RuntimeError("The trainer has not finished an epoch; call `fit` first.")
    train = _as_source("train_source", train_source)
    validation = _as_source("validation_source", validation_source)
    with _moved_in_at_the_end(folder) as unfinished:
        outcome = None if validation is None else outcome_of(trainer, validation)
        report = make_report(trainer, train, validation, outcome)
        write_rows(unfinished / HISTORY, trainer.history)
        _write_lines(unfinished / LABELS, trainer.class_names)
        if outcome is not None:
            write_rows(unfinished / TABLE, report["table"])
        pictures = _draw(unfinished, trainer, train, validation, outcome, sheet_rows, sheet_copies)
        page = report_page(report, folder, pictures)
        (unfinished / PAGE).write_text(page, encoding="utf-8")
        (unfinished / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
        trainer.model.save(unfinished / MODEL)
    return folder


@contextlib.contextmanager
def _moved_in_at_the_end(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-unfinished-", dir=folder.parent))
    try:
        yield unfinished
        folder.mkdir(exist_ok=True)
        names = sorted(path.name for path in unfinished.iterdir() if path.name != REPORT)
        for name in [*names, REPORT]:  # with the report the folder is complete
            (unfinished / name).replace(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def outcome_of(trainer: TransferTrainer, source: Source) -> Outcome:
    """Predict a labelled source, and put the labels of this very reading beside it."""
    predictions, labels = trainer.predict_labelled(source)
    return Outcome(trainer.resolved_task, predictions, np.asarray(labels))


def make_report(
    trainer: TransferTrainer,
    train_source: Source,
    validation_source: Source | None,
    outcome: Outcome | None,
) -> dict[str, Any]:
    """Return what the run was and what came out, as plain values.

    `validation` is measured anew with the weights that are saved; `images_per_second` and
    `wait_share` are medians over the epochs, of which the first of each stage has compiling in it.
    """
    report: dict[str, Any] = {
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "task": trainer.resolved_task.name,
        "class_names": trainer.class_names,
        "hyperparameters": trainer.hyperparameters(),
        "base": trainer.conv_base.name,
        "image_size": list(trainer.conv_base.image_size),
        "pixels": asdict(trainer.conv_base.pixels),
        "train_pictures": len(train_source),
        "train_counts": _counts(trainer, train_source),
        "stages": [asdict(stage) for stage in trainer.stages],
        "history": trainer.history,
        "images_per_second": _median(trainer.history, "images_per_second"),
        "wait_share": _median(trainer.history, "wait_share"),
        "versions": {"python": platform.python_version(), **_versions()},
    }
    if validation_source is not None and outcome is not None:
        report["validation_pictures"] = len(outcome)
        report["validation_counts"] = _counts(trainer, validation_source)
        report["validation"] = trainer.evaluate(validation_source)
        report["table"] = outcome.table()
        counts = outcome.confusion()
        if counts is not None:
            report["confusion_matrix"] = counts.tolist()
    return report


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one line per row as CSV; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _draw(
    folder: Path,
    trainer: TransferTrainer,
    train: Source,
    validation: Source | None,
    outcome: Outcome | None,
    sheet_rows: int,
    sheet_copies: int,
) -> Pictures:
    """Write the drawings and photos, and return them for the page."""
    curves = draw_history(trainer.history)
    save_figure(curves, folder / CURVES)
    shown: dict[str, Any] = {"curves": svg_uri(curves)}
    if not isinstance(train, OwnData):  # its pictures cannot be asked for one by one
        ids = _sheet_ids(len(train), sheet_rows)
        sheet = contact_sheet(train, trainer.augmenter(), ids, sheet_copies)
        sheet.save(folder / CONTACT_SHEET)
        shown["augmented"] = jpeg_uri(sheet)
    if outcome is not None:
        shown.update(_draw_outcome(folder, outcome))
        if not isinstance(validation, OwnData):
            shown["mistakes"] = _show_mistakes(folder, outcome, validation)
    return Pictures(**shown)


def _draw_outcome(folder: Path, outcome: Outcome) -> dict[str, str]:
    names, counts = outcome.task.outputs, outcome.confusion()
    if counts is not None:
        matrix = draw_confusion_matrix(counts, names)
        save_figure(matrix, folder / CONFUSION_MATRIX)
        return {"confusion": svg_uri(matrix)}
    if outcome.task.name == "regression":
        scatter = draw_scatter(*outcome.values(), names)
        save_figure(scatter, folder / SCATTER)
        return {"scatter": svg_uri(scatter)}
    return {}


def _show_mistakes(folder: Path, outcome: Outcome, source: Any) -> list[Any]:
    mistakes = find_mistakes(outcome)
    if not mistakes:
        return []
    tiles: list[Image.Image] = read_tiles(source, mistakes)
    names = [str(source.names[mistake.sample_id]) for mistake in mistakes]
    draw_mistakes(mistakes, tiles, names).save(folder / MISTAKES)
    return list(zip(mistakes, names, map(jpeg_uri, tiles), strict=True))


def _as_source(name: str, data: Any) -> Any:
    return OwnData(name, data) if is_own_data(data) else data


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _counts(trainer: TransferTrainer, source: Source) -> dict[str, int]:
    """Count the pictures of each class or label; there is nothing to count of quantities."""
    labels, names = np.asarray(source.labels), trainer.class_names
    if trainer.resolved_task.name == "regression":
        return {}
    if trainer.resolved_task.name == "multi-label":
        counts = labels.astype(np.int64).sum(axis=0)
    else:
        counts = np.bincount(labels.reshape(-1).astype(np.int64), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


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
