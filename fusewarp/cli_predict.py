"""`fusewarp predict`: the likeliest classes of photos."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_extras import require_tensorflow

if TYPE_CHECKING:
    from .integrations.predict import Guess

EXAMPLES = """[bold]Examples[/bold]

fusewarp predict fusewarp-run-1 cat.jpg dog.jpg

fusewarp predict fusewarp-run-1/model.keras photos/*.jpg --top 1 --json > predictions.json"""


def predict(
    model: Annotated[
        Path, typer.Argument(help="A run folder of `fusewarp train`, or a .keras file.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos to name.")],
    top: Annotated[int, typer.Option(min=1, help="Classes for each photo.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Name the likeliest classes of photos, with probabilities.

    Photos are resized as they were in training. The class names are the lines of labels.txt beside
    the model.
    """
    require_tensorflow()
    from .integrations.predict import load_classifier, predict_files

    classifier, labels = load_classifier(model)
    guesses = predict_files(classifier, labels, images, top)
    if as_json:
        typer.echo(as_text(images, guesses))
    else:
        _print_table(images, guesses)


def as_text(images: list[Path], guesses: list[list["Guess"]]) -> str:
    """Write predictions as JSON: a list of {"image", "predictions": [{"label", "probability"}]}."""
    records = [
        {"image": str(image), "predictions": [vars(guess) for guess in row]}
        for image, row in zip(images, guesses, strict=True)
    ]
    return json.dumps(records, indent=2, ensure_ascii=False)


def _print_table(images: list[Path], guesses: list[list["Guess"]]) -> None:
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Column, Table

    table = Table(Column("photo", overflow="fold"), "class", "probability", "")
    for image, row in zip(images, guesses, strict=True):
        for place, guess in enumerate(row):
            name = str(image) if place == 0 else ""
            bar = ProgressBar(total=1.0, completed=guess.probability, width=20)
            table.add_row(name, guess.label, f"{guess.probability:.3f}", bar)
        table.add_section()
    Console().print(table)
