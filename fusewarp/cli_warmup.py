"""`fusewarp warmup`: compile the kernels ahead, so that no batch has to wait for it."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from .engine.threads import available_threads
from .kernels.cache import kernel_folder, why_off
from .kernels.compiling import Tally
from .kernels.usual import GROUPS, missing_calls, warm_up

EXAMPLES = """[bold]Examples[/bold]

fusewarp warmup

fusewarp warmup --check || echo "the first batch will compile"

FUSEWARP_CACHE_DIR=/opt/kernels fusewarp warmup"""

MEGABYTE = 1e6


def warmup(
    check: Annotated[
        bool, typer.Option("--check", help="Compile nothing; exit with 1 if something is missing.")
    ] = False,
) -> None:
    """Compile the usual kernels and keep them on disk.

    What is there already is not compiled again. The kernels belong to this version of fusewarp,
    Python, NumPy and Numba, and to this processor; with another one, run it again.
    """
    folder = kernel_folder()
    if folder is None:
        raise ValueError(f"Compiled kernels are not kept. {why_off()}")
    if check:
        _check(folder)
    else:
        _compile(folder)


def _check(folder: Path) -> None:
    missing = missing_calls()
    typer.echo(describe(folder))
    for name in missing:
        typer.echo(f"missing: {name}")
    if missing:
        raise ValueError(f"{len(missing)} usual calls would have to compile: fusewarp warmup")
    typer.echo("No usual call has to compile.")


def _compile(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)  # said before half a minute of compiling, if not
    start = time.perf_counter()
    total = Tally()
    for group, tally in _warm_up_groups():
        seconds = time.perf_counter() - start
        typer.echo(f"{seconds:5.1f} s  {group}: {tally.compiled} compiled, {tally.loaded} there")
        total.compiled += tally.compiled
        total.lost += tally.lost
        total.problem = tally.problem or total.problem
    if total.lost:
        raise OSError(f"{total.lost} kernels could not be kept: {total.problem}")
    seconds = time.perf_counter() - start
    typer.echo(f"{total.compiled} kernels compiled in {seconds:.1f} s.")
    typer.echo(describe(folder))


def _warm_up_groups() -> Iterator[tuple[str, Tally]]:
    """Warm up each group in a process; yield those that are finished."""
    processes = min(available_threads(), len(GROUPS))
    with ProcessPoolExecutor(processes, get_context("spawn"), _be_quiet) as pool:
        groups = {pool.submit(warm_up, group): group for group in GROUPS}
        for future in as_completed(groups):
            yield groups[future], future.result()


def _be_quiet() -> None:
    logging.getLogger("fusewarp").setLevel(logging.ERROR)  # it would say: use `fusewarp warmup`


def describe(folder: Path) -> str:
    """Say what lies in a folder of compiled kernels."""
    sizes = [file.stat().st_size for file in folder.glob("*.kernel")]
    return f"{len(sizes)} kernels, {sum(sizes) / MEGABYTE:.1f} MB, in {folder}"
