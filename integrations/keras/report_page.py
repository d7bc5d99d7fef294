"""report.html: one page about a run, complete in itself, with no script and no request."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree

from .figures import NOT_CURVES
from .mistakes import Mistake
from .outcome import column_means
from .page import as_html, picture, table, tag
from .page_style import STYLE

Element = ElementTree.Element
HEADINGS = {
    "class": "class",
    "output": "quantity",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "support": "photos",
    "average_precision": "average precision",
    "auc": "AUC",
    "mean_absolute_error": "mean absolute error",
    "root_mean_squared_error": "RMSE",
    "r2": "R²",
}
EXPLAINED = {
    "single-label": "Precision: of the photos that were said to be of a class, the share that is. "
    "Recall: of the photos of a class, the share that was found. F1 is the harmonic mean of both.",
    "binary": "A photo counts as the second class where its probability is above 0.5. Average "
    "precision and AUC look at all thresholds.",
    "multi-label": "A label counts as given where its probability is above 0.5. Average precision "
    "and AUC look at all thresholds.",
    "regression": "R² is 1 where all is right, and 0 where the mean would do as well.",
}
SAID = {
    "multi-label": "The wrong yes or no that the model was surest of, one for each photo.",
    "regression": "The photos whose value was missed the most.",
}
UNDEFINED = "-"
SAID_CLASS = "Photos taken for another class, the ones the model was surest of first."


@dataclass(frozen=True)
class Pictures:
    """What a page shows, as data URIs.

    Attributes
    ----------
    curves : str
    confusion : str or None
    scatter : str or None
    augmented : str or None
        Photos beside what the model was shown of them.
    mistakes : list of (Mistake, name, uri)
    """

    curves: str
    confusion: str | None = None
    scatter: str | None = None
    augmented: str | None = None
    mistakes: list[tuple[Mistake, str, str]] = field(default_factory=list)


def report_page(report: dict[str, Any], folder: Path, pictures: Pictures) -> str:
    """Return the page.

    Parameters
    ----------
    report : dict
        What report.json holds.
    folder : Path
        The run folder, for the commands.
    pictures : Pictures

    Returns
    -------
    str
        HTML; texts of the user's are escaped.
    """
    sections = [
        _head(report, folder),
        *_figures(report),
        *_curves(pictures),
        *_class_table(report),
        *_matrix(report, pictures),
        *_scatter(pictures),
        *_mistakes(report, pictures),
        *_augmented(pictures),
        *_use(report, folder),
        *_stages(report),
        *_counts(report),
        *_configuration(report),
        *_versions(report),
    ]
    title = f"{folder.name}: a training run of {report['base']}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),  # or a browser asks the server for one
        tag("style", STYLE),
    )
    return as_html(tag("html", head, tag("body", tag("main", *sections)), lang="en"))


def _head(report: dict[str, Any], folder: Path) -> Element:
    names = report["class_names"]
    what = "quantity" if report["task"] == "regression" else "class"
    plural = {"quantity": "quantities", "class": "classes"}[what] if len(names) != 1 else what
    height, width = report["image_size"]
    pictures = f"{_whole(report['train_pictures'])} photos to train on"
    if "validation_pictures" in report:
        pictures += f", {_whole(report['validation_pictures'])} for validation"
    return tag(
        "header",
        tag("h1", folder.name),
        tag(
            "p",
            f"{report['base']}, {report['task']}, {len(names)} {plural}; {pictures}; photos of "
            f"{height} x {width} pixels. Finished {report['finished']}.",
        ),
    )


def _figures(report: dict[str, Any]) -> list[Element]:
    last = report["history"][-1]
    measured = report.get("validation")
    figures = measured or {name: value for name, value in last.items() if name not in NOT_CURVES}
    where = "On the validation photos" if measured else "Of the last epoch, on the training photos"
    tiles = [_tile(name.replace("_", " "), _figure(value)) for name, value in figures.items()]
    tiles.append(_tile("photos per second", f"{report['images_per_second']:.0f}"))
    tiles.append(_tile("waited for data", f"{report['wait_share']:.0%}"))
    note = (
        "Speed and waiting are medians over the epochs: the share of the time in which the model "
        "had nothing to do because no batch was ready. Near 0 % the model sets the pace, near "
        "100 % the photos do."
    )
    return _section(
        "Figures", tag("p", where + "."), tag("dl", *tiles, class_="tiles"), _note(note)
    )


def _curves(pictures: Pictures) -> list[Element]:
    alt = "Loss and metrics over the epochs, training and validation; the numbers are history.csv."
    return _section("Curves", _sheet(picture(pictures.curves, alt, class_="wide")))


def _class_table(report: dict[str, Any]) -> list[Element]:
    rows = report.get("table")
    if not rows:
        return []
    columns = list(rows[0])
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    foot, title = None, "Quantities"
    if report["task"] != "regression":  # quantities have units of their own
        means, title = column_means(rows), "Classes"
        foot = ["mean", *(_cell(means[name]) if name in means else "" for name in columns[1:])]
    made = table("On the validation photos", [HEADINGS[name] for name in columns], cells, foot)
    return _section(title, made, _note(EXPLAINED[report["task"]]))


def _matrix(report: dict[str, Any], pictures: Pictures) -> list[Element]:
    if pictures.confusion is None:
        return []
    counts = report["confusion_matrix"]
    right = sum(counts[k][k] for k in range(len(counts)))
    alt = (
        f"Confusion matrix: {right} of {sum(map(sum, counts))} photos on the diagonal; the counts "
        "are in report.json."
    )
    size = "fit" if len(counts) <= 20 else "wide"
    note = "A row is what a photo shows, a column what the model said; the diagonal is right."
    matrix = _sheet(picture(pictures.confusion, alt, class_=size))
    return _section("Confusion matrix", matrix, _note(note))


def _scatter(pictures: Pictures) -> list[Element]:
    if pictures.scatter is None:
        return []
    alt = "Predicted against true values on the validation photos, with the line of equality."
    return _section("Predicted against true", _sheet(picture(pictures.scatter, alt, class_="fit")))


def _mistakes(report: dict[str, Any], pictures: Pictures) -> list[Element]:
    if not pictures.mistakes:
        return []
    photos = [_photo(*mistake) for mistake in pictures.mistakes]
    note = SAID.get(report["task"], SAID_CLASS)
    title = "Largest errors" if report["task"] == "regression" else "Most confident mistakes"
    return _section(title, _note(note), tag("div", *photos, class_="photos"))


def _photo(mistake: Mistake, name: str, uri: str) -> Element:
    sure = "" if mistake.probability is None else f" ({mistake.probability:.2f})"
    return tag(
        "figure",
        picture(uri, f"Photo {PurePath(name).name}: {mistake.true}"),
        tag(
            "figcaption",
            tag("strong", mistake.true),
            tag("br"),
            tag("span", f"said {mistake.predicted}{sure}", class_="said"),
            tag("br"),
            tag("span", name, class_="faint"),
        ),
    )


def _augmented(pictures: Pictures) -> list[Element]:
    if pictures.augmented is None:
        return []
    alt = "Training photos, each beside what the model was shown of it in the first epochs."
    return _section(
        "What the model was shown", _sheet(picture(pictures.augmented, alt, class_="wide"))
    )


def _use(report: dict[str, Any], folder: Path) -> list[Element]:
    run = shlex.quote(str(folder))
    commands = (
        f"fusewarp predict {run} photo.jpg\n"
        f"fusewarp evaluate {run} photos/\n"
        f"fusewarp export {run} --format tflite"
    )
    height, width = report["image_size"]
    python = (
        "import keras\n"
        f"model = keras.models.load_model({str(folder / 'model.keras')!r})\n"
        f"model.predict(photos)  # (n, {height}, {width}, 3), raw RGB levels 0-255"
    )
    return _section("Use it", tag("pre", commands), tag("pre", python))


def _stages(report: dict[str, Any]) -> list[Element]:
    rows = [
        [
            stage["name"],
            str(stage["epochs"]),
            f"{stage['learning_rate']:g}",
            _whole(stage["trainable_parameters"]),
            _whole(stage["frozen_parameters"]),
        ]
        for stage in report["stages"]
    ]
    headings = ["stage", "epochs", "learning rate", "trainable", "frozen"]
    return _section("Stages", table("Parameters that could change, and the others", headings, rows))


def _counts(report: dict[str, Any]) -> list[Element]:
    train = report.get("train_counts")
    if not train:
        return []
    held_out = report.get("validation_counts")
    headings = ["class", "training", *(["validation"] if held_out else [])]
    rows = [
        [name, _whole(count), *([_whole(held_out[name])] if held_out else [])]
        for name, count in train.items()
    ]
    return _section("Photos", table("Photos of each class", headings, rows))


def _configuration(report: dict[str, Any]) -> list[Element]:
    values = dict(report["hyperparameters"])
    policy = values.pop("policy", None) or {}
    rows = [[name, _plain(value)] for name, value in values.items()]
    rows += [[f"policy: {name}", _plain(value)] for name, value in policy.items() if value]
    made = table("The trainer's arguments; zeros of the policy left out", ["name", "value"], rows)
    made[0].set("class", "text")
    return _section("Configuration", made)


def _versions(report: dict[str, Any]) -> list[Element]:
    text = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return _section("Versions", tag("p", text))


def _section(title: str, *children: Element) -> list[Element]:
    return [tag("section", tag("h2", title), *children)]


def _sheet(image: Element) -> Element:
    return tag("div", image, class_="sheet", tabindex="0")


def _note(text: str) -> Element:
    return tag("p", text, class_="faint")


def _tile(name: str, value: str) -> Element:
    return tag("div", tag("dt", name), tag("dd", value))


def _cell(value: Any) -> str:
    if value is None:
        return UNDEFINED
    return _figure(value) if isinstance(value, float) else str(value)


def _figure(value: float) -> str:
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"


def _whole(value: int) -> str:
    return f"{value:,}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_plain(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(item) for item in value)
    return UNDEFINED if value is None else str(value)
