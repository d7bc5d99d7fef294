"""`fusewarp evaluate`: how good a finished run is on labelled photos."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_extras import require_tensorflow
from .cli_policy import load_policy

if TYPE_CHECKING:
    from .integrations.evaluate import Evaluation

EXAMPLES = """[bold]Examples[/bold]

fusewarp evaluate fusewarp-run-1 test-photos/

fusewarp evaluate fusewarp-run-1 test-photos/ --tta 8

fusewarp evaluate fusewarp-run-1 test.csv --path-column file --label species --json > test.json"""


def evaluate(
    model: Annotated[
        Path, typer.Argument(help="A run folder of `fusewarp train`, or a .keras file.")
    ],
    photos: Annotated[
        Path, typer.Argument(help="A folder whose sub-folders are the classes, or a CSV file.")
    ],
    path_column: Annotated[
        str, typer.Option(help="Column of the CSV file with the photos; relative to it.")
    ] = "path",
    label: Annotated[
        list[str] | None,
        typer.Option(help="Column of the labels, may be repeated; default: label, or the run's."),
    ] = None,
    label_separator: Annotated[
        str | None, typer.Option(help="What stands between several labels in one column.")
    ] = None,
    tta: Annotated[
        int, typer.Option(min=1, help="Mean over so many copies: the photo, and augmented ones.")
    ] = 1,
    policy: Annotated[
        Path | None, typer.Option(help="Augmentation of the copies; default: the training's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Measure a finished run on labelled photos: loss, metrics, and a table of the classes.

    Photos are resized as they were in training. Sub-folders must be classes of the run; they need
    not be all of them.
    """
    require_tensorflow()
    from .integrations.evaluate import evaluate_source, labelled_source
    from .integrations.saved_run import load_run

    copies_policy = None if policy is None else load_policy(policy)
    run = load_run(model)
    source = labelled_source(
        run,
        photos,
        label=label or (),
        path_column=path_column,
        label_separator=label_separator,
    )
    found = evaluate_source(run, source, copies=tta, policy=copies_policy)
    if as_json:
        typer.echo(as_text(found))
    else:
        _print(found)


def as_text(found: "Evaluation") -> str:
    """Write an evaluation as JSON; a figure that is not defined is null."""
    matrix = found.confusion_matrix
    values = {
        "pictures": found.pictures,
        **found.figures,
        "table": found.table,
        "confusion_matrix": None if matrix is None else matrix.tolist(),
    }
    return json.dumps(values, indent=2, ensure_ascii=False)


def _print(found: "Evaluation") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    columns = list(found.table[0])
    others = [Column(name.replace("_", " "), justify="right") for name in columns[1:]]
    table = Table(Column(columns[0], overflow="fold"), *others)
    for row in found.table:
        table.add_row(*(escape(_cell(row[name])) for name in columns))
    figures = "  ".join(f"{name} {value:.4g}" for name, value in found.figures.items())
    console = Console()
    console.print(f"{found.pictures} photos: {figures}", highlight=False)
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
