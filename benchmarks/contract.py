"""What a row of a table is: who does the work, in which process, and what it cannot do alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .work import Floats, Images, Maps

Table = Literal[
    "warp", "arrays", "jpeg", "training", "scaling", "kernel", "device", "upload", "loader"
]
Kind = Literal["ours", "peer", "floor", "part"]
Process = Literal["native", "tensorflow", "torch", "dali"]

TABLES: tuple[Table, ...] = ("warp", "arrays", "jpeg", "training")
ALL_THREADS = 0  # in an entry: as many as the run may use


class NotAvailable(Exception):
    """A row cannot be timed here; the message says why, and how it could be."""


def nothing() -> None:
    """Do nothing."""


def no_figures() -> dict[str, float]:
    """Return no figures."""
    return {}


@dataclass(frozen=True)
class Runner:
    """A row made ready: everything that is not timed has been done.

    Attributes
    ----------
    run : callable
        Does so many laps of the work and returns how many pictures that were. This is timed.
    close : callable
        Ends what the row started: processes, files.
    figures : callable
        What else the row knows after its rounds, by name.
    """

    run: Callable[[int], int]
    close: Callable[[], None] = nothing
    figures: Callable[[], dict[str, float]] = no_figures


Builder = Callable[[Any, int], Runner]  # of the `Work`, or a GPU's, and a number of threads


@dataclass(frozen=True)
class Entry:
    """One row of one table, for each number of threads.

    Attributes
    ----------
    key : str
        Names the row in the JSON and in the checks; unique in its table.
    build : callable
        Makes the row ready. It raises `NotAvailable` where the row cannot be had.
    note : str
        What was used, and where the work is not the same as everyone's.
    quick : bool
        Whether the row is cheap enough for `--quick`.
    group : str
        "" for the main table; else the name of a smaller table below it, or of a chart.
    threads : int or None
        None: once for each number of threads that the run asks for.
    pixels : int
        Of one output picture: where rows differ in size they are compared per pixel.
    x : float or None
        Place on the chart's axis, in `group`s of the table "scaling".
    """

    table: Table
    key: str
    name: str
    build: Builder
    kind: Kind = "peer"
    note: str = ""
    quick: bool = False
    group: str = ""
    threads: int | None = None
    pixels: int = 0
    x: float | None = None


@dataclass(frozen=True)
class Peer:
    """A library under test, ours and the floors among them.

    Attributes
    ----------
    packages : tuple of str
        Distributions that must be installed.
    install : str
        How a user gets them; part of the line that stands for a missing peer.
    process : str
        Rows of one process share its imports: TensorFlow and PyTorch crash each other.
    entries : tuple of Entry
    absent : tuple of (table, reason)
        Tables this peer has no row in, and why.
    warp : callable, optional
        Where the peer accepts our maps: warps (n, SIDE, SIDE, 3) uint8 by (n, 2, 3) inverse maps to
        (n, SIDE, SIDE, 3) float32 in 0..1. The tests hold it against ours.
    augment : callable, optional
        Draws parameters as its rows do, and returns as `warp`. The tests fit maps to its output.
    """

    name: str
    packages: tuple[str, ...]
    install: str
    process: Process
    entries: tuple[Entry, ...]
    absent: tuple[tuple[Table, str], ...] = ()
    warp: Callable[[Images, Maps], Floats] | None = None
    augment: Callable[[Images], Floats] | None = None
