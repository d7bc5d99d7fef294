"""`fusewarp bench`: ours, the peers that are installed, and the floors, on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from .benchmarks.contract import Table
    from .benchmarks.results import Result, TableResult

EXAMPLES = """[bold]Examples[/bold]

fusewarp bench --quick

fusewarp bench --only warp,jpeg --out report"""


def bench(
    out: Annotated[
        Path, typer.Option(help="Folder for the report; an earlier one is replaced.")
    ] = Path("bench-report"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute: few rounds, the cheap rows only.")
    ] = False,
    only: Annotated[
        str, typer.Option(help="Tables to make, with commas between.")
    ] = "warp,arrays,jpeg,training",
    threads: Annotated[
        int | None, typer.Option(min=1, help="The most that a row uses; default: all.")
    ] = None,
) -> None:
    """Time augmentation here: the warp, batches from arrays and JPEGs, and training.

    Every library is given the same work; those that are not installed are a line that says how to
    get them. The floor, which no library can pass, stands in every table. A full run takes some
    minutes, on a machine that does nothing else.
    """
    tables = as_tables(only)
    from rich.console import Console

    from .benchmarks.bench import FULL, QUICK, run_bench
    from .benchmarks.report import write_report

    console = Console()
    with console.status("Writing the photos") as status:
        result = run_bench(tables, QUICK if quick else FULL, threads, status.update)
    report = write_report(result, out)
    print_result(result, console)
    console.print(f"Took {result.seconds:.0f} s. All figures and remarks: {report}")


def as_tables(only: str) -> list["Table"]:
    """Split and check the names of tables.

    Raises
    ------
    ValueError
        For a name that is none.
    """
    from .benchmarks.contract import TABLES

    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in TABLES]
    if unknown or not names:
        raise ValueError(f"--only takes some of {','.join(TABLES)}, got {only!r}.")
    return [table for table in TABLES if table in names]


def print_result(result: "Result", console: "Console") -> None:
    """Print every table, what is missing in it, and the figures that were to be reached."""
    from rich.table import Table as Grid

    from .benchmarks.markdown import TITLES

    for name, table in result.tables.items():
        console.print(f"\n[bold]{TITLES[name]}[/bold]: {table.title}.", highlight=False)
        console.print(_grid(table))
        for absent in table.absent:
            console.print(f"  {absent.name}: {absent.reason}", style="dim", markup=False)
    checks = Grid("", "figure", "target", "measured", "", title="The seven figures")
    words = {True: "met", False: "[red]not met[/red]", None: "open"}
    for check in result.checks:
        checks.add_row(str(check.point), check.what, check.target, check.measured, words[check.met])
    console.print(checks)


def _grid(table: "TableResult") -> object:
    from rich.table import Table as Grid

    grid = Grid("", "threads", "images/s", "quartiles", "x floor")
    groups = list(dict.fromkeys(row.group for row in table.rows))
    ordered = sorted(table.rows, key=lambda row: (groups.index(row.group), row.threads))
    for row in ordered:
        low, high = row.quartiles
        floors = table.times_the_floor(row)
        grid.add_row(
            row.name if row.x is None else f"{row.name}, {row.x:g}",
            str(row.threads),
            f"{row.rate:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            "" if floors is None else f"{floors:.2f}",
            style="bold" if row.kind == "ours" else None,
            end_section=row is ordered[-1] or row.group != ordered[ordered.index(row) + 1].group,
        )
    return grid
