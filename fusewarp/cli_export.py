"""`fusewarp export`: a finished run for other runtimes."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .cli_extras import quiet_stderr, require_tensorflow

EXAMPLES = """[bold]Examples[/bold]

fusewarp export fusewarp-run-1 --format tflite

fusewarp export fusewarp-run-1 --format onnx --out model-for-the-web

fusewarp export fusewarp-run-1 --format savedmodel --photo cat.jpg --photo dog.jpg"""


class ExportFormat(str, Enum):
    """What can be written."""

    savedmodel = "savedmodel"
    tflite = "tflite"
    onnx = "onnx"


def export(
    model: Annotated[
        Path, typer.Argument(help="A run folder of `fusewarp train`, or a .keras file.")
    ],
    kind: Annotated[ExportFormat, typer.Option("--format", help="Of the model to write.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to make; default: the run's name and the format.")
    ] = None,
    photo: Annotated[
        list[Path] | None,
        typer.Option(help="Photo to compare on, may be repeated; default: the contact sheet's."),
    ] = None,
) -> None:
    """Write a finished run's model as SavedModel, TFLite or ONNX, with labels.txt beside it.

    It takes raw RGB 0-255, as the Keras model. Both are asked about some photos, and nothing is
    kept if they disagree.
    """
    require_tensorflow()
    from .integrations.export import TOLERANCE, export_run
    from .integrations.saved_run import load_run
    from .integrations.sheet_photos import pictures_of

    run, pictures = load_run(model), pictures_of(model, photo or ())
    folder = out or _beside(model, kind.value)
    with quiet_stderr():  # converters tell how they are getting on
        difference = export_run(run, folder, kind.value, pictures)
    typer.echo(f"Wrote {folder}.")
    if difference is None:
        typer.echo("It was not compared with the Keras model: onnxruntime is not installed.")
    else:
        typer.echo(
            f"On {len(pictures)} pictures it differs from the Keras model by {difference:.1g} at "
            f"most ({TOLERANCE:g} would be refused)."
        )


def _beside(model: Path, kind: str) -> Path:
    """Name a folder after a run folder or a model file."""
    whole = model.resolve()
    name = whole.name if whole.is_dir() else whole.stem
    return model.parent / f"{name}-{kind}" if model.name else whole.parent / f"{name}-{kind}"
