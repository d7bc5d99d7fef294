"""`fusewarp predict`: what photos show, as a finished run says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_extras import require_tensorflow
from .cli_policy import load_policy

if TYPE_CHECKING:
    from .integrations.saved_run import SavedRun

EXAMPLES = """[bold]Examples[/bold]

fusewarp predict fusewarp-run-1 cat.jpg dog.jpg

fusewarp predict fusewarp-run-1 photos/*.jpg --tta 8

fusewarp predict fusewarp-run-1/model.keras photos/*.jpg --top 1 --json > predictions.json"""


def predict(
    model: Annotated[
        Path, typer.Argument(help="A run folder of `fusewarp train`, or a .keras file.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos to name.")],
    top: Annotated[int, typer.Option(min=1, help="Classes for each photo.")] = 5,
    threshold: Annotated[
        float, typer.Option(help="Labels above it are given, where a photo may have several.")
    ] = 0.5,
    tta: Annotated[
        int, typer.Option(min=1, help="Mean over so many copies: the photo, and augmented ones.")
    ] = 1,
    policy: Annotated[
        Path | None, typer.Option(help="Augmentation of the copies; default: the training's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Name the likeliest classes of photos, with probabilities; or their labels, or quantities.

    Photos are resized as they were in training. The names are the lines of labels.txt beside the
    model.
    """
    require_tensorflow()
    from .integrations.predict import predict_files
    from .integrations.saved_run import load_run

    copies_policy = None if policy is None else load_policy(policy)
    run = load_run(model)
    said = predict_files(
        run, images, top=top, threshold=threshold, copies=tta, policy=copies_policy
    )
    if as_json:
        typer.echo(as_text(images, said))
    else:
        _print_table(run, images, said)


def as_text(images: list[Path], said: list[Any]) -> str:
    """Write predictions as JSON: a list of {"image", "predictions": [{"label", "probability"}]}.

    Quantities have a "value" instead of a "probability".
    """
    records = [
        {"image": str(image), "predictions": [vars(guess) for guess in row]}
        for image, row in zip(images, said, strict=True)
    ]
    return json.dumps(records, indent=2, ensure_ascii=False)


def _print_table(run: "SavedRun", images: list[Path], said: list[Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    heads = ("quantity", "value") if run.task.name == "regression" else ("class", "probability")
    table = Table(Column("photo", overflow="fold"), *heads, "")
    for image, row in zip(images, said, strict=True):
        cells = [_cells(guess) for guess in row] or [("none", "", "")]
        for place, (label, number, bar) in enumerate(cells):
            name = str(image) if place == 0 else ""
            table.add_row(escape(name), escape(label), number, bar)
        table.add_section()
    Console().print(table)


def _cells(guess: Any) -> tuple[str, str, Any]:
    from rich.progress_bar import ProgressBar

    if hasattr(guess, "value"):
        return guess.label, f"{guess.value:.4g}", ""
    bar = ProgressBar(total=1.0, completed=guess.probability, width=20)
    return guess.label, f"{guess.probability:.3f}", bar
