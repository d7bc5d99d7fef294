"""`fusewarp demo`: the whole road on real photos, offline, with an honest table at the end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_extras import require_tensorflow

if TYPE_CHECKING:
    from rich.console import Console

    from .integrations.demo import Demo

EXAMPLES = """[bold]Examples[/bold]

fusewarp demo

fusewarp demo --quick --out quick-demo"""


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for all that is written; an earlier demo is replaced.")
    ] = Path("fusewarp-demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Few photos and epochs: shows that it runs, no more.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of photos, order and augmentation.")] = 0,
) -> None:
    """Train on real photos out of installed packages, and measure what each part gains.

    It takes a few minutes on two cores and needs no network.
    """
    require_tensorflow()
    from rich.console import Console

    from .integrations.demo import FULL, QUICK, run_demo

    console = Console()
    print_demo(run_demo(out, QUICK if quick else FULL, console, seed), console)


def print_demo(demo: "Demo", console: "Console") -> None:
    """Print the figures, where everything lies, and what to try next."""
    from rich.table import Table

    accuracies = Table("trained with", "held-out accuracy", "photos", title="Does it help?")
    for row in demo.accuracies:
        correct = f"{round(row.share * row.photos)} of {row.photos}"
        accuracies.add_row(row.name, f"{row.share:.3f}", correct)
    loaders = Table("loader", "threads", "images/s", title="How fast? (median; least to most)")
    for speed in demo.throughputs:
        spread = f"{speed.median:.0f} ({min(speed.rounds):.0f} to {max(speed.rounds):.0f})"
        loaders.add_row(speed.name, str(speed.threads), spread)
    console.print(accuracies, EXPLAINED, loaders, MEASURED, f"Took {demo.seconds:.0f} s.\n")
    _print_next_steps(demo, console)


EXPLAINED = (
    "Held-out photos are turned, scaled and lit differently, and come from the other half of each "
    "photo. (c): batch normalization was measured on the training photos, all else is random.\n"
)
MEASURED = (
    "Read, decoded and augmented to 224 x 224 float32, the same files and ranges for all: "
    "re-encoded 500 x 375 tiles of real photos. Taken in turn, after a warm-up round.\n"
)


def _print_next_steps(demo: "Demo", console: "Console") -> None:
    out = demo.out
    photo = next((out / "photos" / "held-out" / "brick").iterdir())
    lines = (
        f"Wrote {out}:",
        "  run/        the fine-tuned (a): model, labels, history, report, pictures",
        "  photos/     what was trained on and held out; tiles/ what was timed",
        "  demo.json   all figures",
        "Next:",
        f"  fusewarp predict {out / 'run'} {photo}",
        f"  fusewarp preview {out / 'photos' / 'train'} --rotation-range 90 --zoom-range 0.6,1.2",
        f"  fusewarp train {out / 'photos' / 'train'}",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
