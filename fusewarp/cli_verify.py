"""`fusewarp verify`: tell whether a packed folder is still what was packed."""

from pathlib import Path
from typing import Annotated

import typer

from .cli_pack import progress_bar
from .engine import PackedSource

EXAMPLES = """[bold]Examples[/bold]

fusewarp verify photos-256"""


def verify(
    pack: Annotated[Path, typer.Argument(help="A folder that `fusewarp pack` made.")],
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all.")] = None,
) -> None:
    """Read every byte of a packed folder and compare it with the checksums taken while packing."""
    packed = PackedSource(pack)
    with progress_bar("verifying", len(packed)) as progress:
        packed.verify(threads=threads, progress=progress)
    typer.echo(f"{pack} is whole: {len(packed)} pictures.")
