"""Charts as PNG: bars with the floor drawn in, and lines over threads, size and batch."""

from pathlib import Path
from typing import Any

from .results import Result, Row, TableResult

COLOURS = {"ours": "#d1495b", "peer": "#8d99ae", "floor": "#2b2d42", "part": "#edae49"}
ROW_HEIGHT, MARGIN, WIDTH = 0.34, 0.5, 9.0  # inches


def write_charts(result: Result, folder: Path) -> dict[str, list[str]]:
    """Write the charts of all tables; return the names of the files of each table.

    Without Matplotlib there are none.
    """
    try:
        import matplotlib
    except ImportError:
        return {}
    matplotlib.use("Agg")
    written: dict[str, list[str]] = {}
    for name, table in result.tables.items():
        if name == "scaling":
            groups = list(dict.fromkeys(row.group for row in table.rows))
            written[name] = [_lines(table, group, folder) for group in groups]
        elif any(not row.group for row in table.rows):
            written[name] = [_bars(name, table, folder)]
    return written


def _bars(name: str, table: TableResult, folder: Path) -> str:
    """Draw images/s of the main rows: a panel for each number of threads, with its floor."""
    from matplotlib.figure import Figure

    rows = sorted((row for row in table.rows if not row.group), key=lambda row: row.rate)
    panels = [
        [row for row in rows if row.threads == count]
        for count in sorted({row.threads for row in rows})
    ]
    heights = [ROW_HEIGHT * len(panel) + MARGIN for panel in panels]
    figure = Figure((WIDTH, sum(heights) + MARGIN), layout="constrained")
    all_axes: Any = figure.subplots(
        len(panels), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, panel in zip(all_axes[:, 0], panels, strict=True):
        _panel(axes, panel, table)
    all_axes[-1, 0].set_xlabel("images/s; lines: quartiles; dashed: the floor")
    figure.savefig(folder / f"{name}.png", dpi=120)
    return f"{name}.png"


def _panel(axes: Any, rows: list[Row], table: TableResult) -> None:
    rates = [row.rate for row in rows]
    below = [max(0.0, row.rate - row.quartiles[0]) for row in rows]
    above = [max(0.0, row.quartiles[1] - row.rate) for row in rows]
    colours = [COLOURS[row.kind] for row in rows]
    bars = axes.barh([row.name for row in rows], rates, xerr=[below, above], color=colours)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3)
    floor = table.floor_of(rows[0])
    if floor is not None:
        axes.axvline(floor.rate, color=COLOURS["floor"], linestyle="--", linewidth=1)
    axes.set_title(f"{rows[0].threads} thread{'s' * (rows[0].threads > 1)}", loc="left")
    axes.margins(x=0.1, y=0.01)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(table: TableResult, group: str, folder: Path) -> str:
    """Draw the rows of one group over their x: pixels a second where sizes differ."""
    from matplotlib.figure import Figure

    rows = [row for row in table.rows if row.group == group]
    figure = Figure((WIDTH, 4.0), layout="constrained")
    axes: Any = figure.subplots()
    for name in dict.fromkeys(row.name for row in rows):
        points = sorted((_x(row), _y(row)) for row in rows if row.name == name)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    if group != "threads":
        axes.set_xscale("log", base=2)
    ticks = sorted({_x(row) for row in rows})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(group)
    axes.set_ylabel("megapixels/s" if rows[0].pixels else "images/s")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    file = f"scaling-{group.replace(' ', '-')}.png"
    figure.savefig(folder / file, dpi=120)
    return file


def _x(row: Row) -> float:
    return float(row.threads) if row.x is None else row.x


def _y(row: Row) -> float:
    return row.rate * row.pixels / 1e6 if row.pixels else row.rate
