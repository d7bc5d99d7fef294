"""The drawings of a run: curves, the confusion matrix, predicted against true values."""

import base64
import functools
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .mistakes import showable

NOT_CURVES = ("epoch", "stage", "learning_rate", "seconds", "images_per_second", "wait_share")
MOST_PRINTED_CLASSES = 20  # a larger confusion matrix is drawn without its numbers
MOST_NAMED_CLASSES = 100  # and an even larger one without names
FONTS = (  # the second and later ones for what the first lacks, where they are installed
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)
P = ParamSpec("P")


def _look() -> Any:
    known = set(font_manager.get_font_names())
    fonts = [name for name in FONTS if name in known]
    return matplotlib.rc_context({"font.family": fonts or ["sans-serif"], "svg.fonttype": "path"})


def _drawing(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in our fonts, whatever the user's settings."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _look():
            return draw(*args, **kwargs)

    return drawn


@_drawing
def draw_history(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss and metrics over the epochs, with a line where fine-tuning begins."""
    names = [name for name in history[-1] if name not in NOT_CURVES and name[:4] != "val_"]
    names.sort(key=lambda name: name != "loss")
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(5.0 * columns, 3.6 * rows)
    places = np.ravel(figure.subplots(rows, columns))
    for axes, name in zip(places, names, strict=False):
        _draw_curve(axes, history, name)
    for axes in places[len(names) :]:
        axes.set_axis_off()
    return figure


def _draw_curve(axes: Any, history: Sequence[dict[str, Any]], name: str) -> None:
    epochs = [row["epoch"] + 1 for row in history]
    starts = [row["epoch"] + 1 for row in history if row["stage"] == "fine-tuning"]
    axes.plot(epochs, [row.get(name) for row in history], "o-", label="training")
    if f"val_{name}" in history[-1]:
        values = [row.get(f"val_{name}") for row in history]
        axes.plot(epochs, values, "s-", label="validation")
    if starts:
        axes.axvline(starts[0] - 0.5, color="grey", linestyle=":", label="fine-tuning begins")
    axes.set_xlabel("epoch")
    axes.set_title(name, parse_math=False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()


@_drawing
def draw_confusion_matrix(counts: NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draw counts as a matrix: a row is what a photo shows, a column what the model said."""
    num_classes = len(class_names)
    side = 2.5 + (0.5 if num_classes <= MOST_PRINTED_CLASSES else 0.24) * min(num_classes, 60)
    figure = _figure(side + 1.2, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the class", shrink=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if num_classes <= MOST_NAMED_CLASSES:
        _name_ticks(axes, class_names)
    if num_classes <= MOST_PRINTED_CLASSES:
        for (row, col), count in np.ndenumerate(counts):
            colour = "white" if shares[row, col] > 0.5 else "black"
            axes.text(col, row, str(count), ha="center", va="center", color=colour)
    return figure


def _name_ticks(axes: Any, class_names: Sequence[str]) -> None:
    ticks, size = range(len(class_names)), 10 if len(class_names) <= MOST_PRINTED_CLASSES else 8
    names = [_cut(showable(name)) for name in class_names]
    look = {"fontsize": size, "parse_math": False}  # a $ in a name is no formula
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", **look)
    axes.set_yticks(ticks, names, **look)


@_drawing
def draw_scatter(
    values: NDArray[np.float64], predicted: NDArray[np.float64], names: Sequence[str]
) -> Figure:
    """Draw predicted against true values, (n, k) both: on the line all would be right."""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(4.0 * columns, 4.0 * rows)
    places = np.ravel(figure.subplots(rows, columns))
    for k, (axes, name) in enumerate(zip(places, names, strict=False)):
        both = np.concatenate([values[:, k], predicted[:, k]])
        ends = [both.min(), both.max()]
        axes.plot(ends, ends, color="grey", linestyle=":")
        axes.scatter(values[:, k], predicted[:, k], s=14, alpha=0.6, rasterized=True)
        axes.set_title(_cut(showable(name)), parse_math=False)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
        axes.set_aspect("equal", adjustable="datalim")
    for axes in places[len(names) :]:
        axes.set_axis_off()
    return figure


def save_figure(figure: Figure, file: Any, kind: str = "png") -> None:
    """Save a figure; a letter that no font has becomes a box, without a word about it."""
    with _look(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, format=kind)


def svg_uri(figure: Figure) -> str:
    """Return a figure as a data URI, sharp at any size."""
    file = io.BytesIO()
    save_figure(figure, file, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def _cut(name: str, length: int = 24) -> str:
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 + 1 :]}"


def _figure(width: float, height: float) -> Figure:
    """Make a figure without pyplot, which would keep it and might look for a screen."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    return figure
