"""The report: a result as Markdown, losses and missing rows included."""

from collections.abc import Iterator
from typing import Any

from .results import Check, Result, Row, TableResult

TITLES = {
    "warp": "1. Warp only",
    "arrays": "2. Arrays to batches",
    "jpeg": "3. JPEG folder to batches",
    "training": "4. Training",
    "scaling": "Scaling",
}
MARKS = {True: "met", False: "**not met**", None: "open"}


def write_markdown(result: Result, charts: dict[str, list[str]]) -> str:
    """Return the report.

    Parameters
    ----------
    result : Result
    charts : dict
        Of each table, the files that hold its charts.
    """
    lines = ["# fusewarp bench", "", *_machine(result), ""]
    for name, table in result.tables.items():
        lines += [f"## {TITLES[name]}", "", f"{table.title}.", ""]
        for group in dict.fromkeys(row.group for row in table.rows):
            lines += _rows(table, group)
        lines += _absent(table)
        lines += [f"![{name}]({chart})" for chart in charts.get(name, [])] + [""]
    lines += _probes(result.probes)
    lines += _checks(result.checks)
    return "\n".join(lines).rstrip() + "\n"


def _machine(result: Result) -> Iterator[str]:
    machine = result.machine
    yield (
        f"{machine['date']}, commit {machine['commit'] or 'unknown'}, {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}."
    )
    yield ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + "."
    if machine["load"]:
        load = ", ".join(f"{value:.1f}" for value in machine["load"])
        advice = " **Busy: trust ratios, not times.**" if machine["busy"] else ""
        yield f"Load before the run: {load}.{advice}"
    yield ""
    yield (
        "Medians (and quartiles) over rounds in which every row has its turn; the warm-up is not "
        "counted. Ratios are medians over rounds, of times, to the floor with as many threads."
    )
    if result.settings["quick"]:
        yield "**A quick run: few rounds, cheap rows only.**"


def _rows(table: TableResult, group: str) -> Iterator[str]:
    if group:
        yield from (f"### {group[0].upper()}{group[1:]}", "")
    yield "| | threads | images/s | quartiles | times the floor | work and remarks |"
    yield "|---|---|---|---|---|---|"
    rows = [row for row in table.rows if row.group == group]
    for row in sorted(rows, key=lambda row: (row.threads, row.x or 0, row.seconds)):
        yield _row(table, row)
    yield ""


def _row(table: TableResult, row: Row) -> str:
    low, high = row.quartiles
    floors = table.times_the_floor(row)
    ratio = "" if floors is None else f"{floors:.2f}"
    name = f"**{row.name}**" if row.kind == "ours" else row.name
    if row.x is not None:
        name += f", {row.x:g}"
    remarks = [row.note] if row.note else []
    remarks += [f"{key.replace('_', ' ')} {value:.3f}" for key, value in row.figures.items()]
    return (
        f"| {name} | {row.threads} | {row.rate:,.0f} | {low:,.0f} to {high:,.0f} | {ratio} | "
        f"{'; '.join(remarks)} |"
    )


def _absent(table: TableResult) -> Iterator[str]:
    left_out = [absent.name for absent in table.absent if absent.reason.startswith("left out")]
    for absent in table.absent:
        if absent.name not in left_out:
            yield f"- {absent.name}: {absent.reason}"
    if left_out:
        yield f"- left out by --quick: {', '.join(dict.fromkeys(left_out))}"
    yield ""


def _probes(probes: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not probes:
        return
    yield from ("## Single measurements", "")
    for name, figures in probes.items():
        shown = ", ".join(
            f"{key.replace('_', ' ')} {_number(value)}"
            for key, value in figures.items()
            if not isinstance(value, list)
        )
        yield f"- {name}: {shown}"
    yield ""


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _checks(checks: list[Check]) -> Iterator[str]:
    if not checks:
        return
    yield from ("## The seven figures", "")
    yield "| | figure | target | measured | |"
    yield "|---|---|---|---|---|"
    for check in checks:
        measured = check.measured
        yield f"| {check.point} | {check.what} | {check.target} | {measured} | {MARKS[check.met]} |"
