"""`fusewarp pack`: decode and resize a folder once, for training that reads arrays."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from .engine import FolderSource, PackedSource

EXAMPLES = """[bold]Examples[/bold]

fusewarp pack photos/ photos-256

fusewarp pack photos/ photos-224 --size 224,224 --resize crop --on-error skip

fusewarp pack scans/ scans-512 --size 512 --color-mode grayscale --unlabelled"""


def pack(
    folder: Annotated[Path, typer.Argument(help="Photos; each sub-folder is a class.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    size: Annotated[
        str, typer.Option(metavar="N|H,W", help="Of every packed picture, in pixels.")
    ] = "256",
    color_mode: Annotated[
        Literal["rgb", "grayscale", "rgba"], typer.Option(help="What pixels are made of.")
    ] = "rgb",
    resize: Annotated[
        Literal["stretch", "crop"],
        typer.Option(help="Squeeze the whole picture, or its largest centred part of that shape."),
    ] = "stretch",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take every picture below FOLDER, no classes.")
    ] = False,
    on_error: Annotated[
        Literal["raise", "skip"],
        typer.Option(help="Stop at a file that cannot be read, or leave it out."),
    ] = "raise",
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all.")] = None,
) -> None:
    """Decode and resize the pictures of a folder once, into a folder of arrays.

    Open it with fusewarp.PackedSource: nothing is decoded any more, and it need not fit in memory.
    Interrupted, it leaves OUT.partial; the same command goes on from there.
    """
    from .engine.packing import pack as pack_source

    sides = sides_of(size)
    source = FolderSource(folder, color_mode=color_mode, labelled=not unlabelled)
    with progress_bar("packing", len(source)) as progress:
        packed = pack_source(
            source,
            out,
            size=sides,
            resize=resize,
            threads=threads,
            on_error=on_error,
            progress=progress,
        )
    print_packed(packed, out)


def sides_of(size: str) -> tuple[int, int]:
    """Turn the text ``256`` or ``256,320`` of --size into height and width."""
    sides = size.split(",")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() for side in sides):
        raise ValueError(f"--size must be a number or H,W (for example 240,320), got {size}.")
    return (int(sides[0]), int(sides[-1]))


def print_packed(packed: PackedSource, out: Path) -> None:
    """Say what was written, what was left out, and what to do with it."""
    height, width, channels = packed.images.shape[1:]
    classes = f" of {len(packed.class_names)} classes" if packed.class_names else ""
    typer.echo(
        f"Wrote {out}: {len(packed)} pictures{classes}, {height} x {width} x {channels}, "
        f"{packed.images.nbytes / 1e9:.2f} GB."
    )
    if packed.skipped:
        name, message = packed.skipped[0]
        others = f" and {len(packed.skipped) - 1} more" if packed.skipped[1:] else ""
        typer.echo(f"Left out {name}{others}; meta.json lists them. {message}")
    typer.echo(f'Use it: fusewarp.Loader(fusewarp.PackedSource("{out}"), augmenter)')


@contextmanager
def progress_bar(about: str, total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar on standard error; what is given may be called from any thread."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(about, *columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(about, total=total)
        yield lambda count: progress.advance(task, count)
