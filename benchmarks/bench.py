"""Run the tables: choose rows, start processes, time, judge, and give all of it back."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.threads import available_threads
from ..integrations.demo_data import write_tiles
from .checks import check_all
from .contract import ALL_THREADS, TABLES, Entry, Peer, Process, Table
from .machine import describe_machine
from .peers import PEERS, missing_packages
from .probes import PROBES
from .process import Host, RowFailed
from .results import Absent, Result, TableResult
from .timing import Hosts, Pace, Wanted, time_rows
from .training import BATCH_SIZE as TRAINING_BATCH
from .training import SIDE as TRAINING_SIDE
from .training import base_name
from .work import BATCH_SIZE, RANGES, SIDE, WARP_PICTURES, Work

LEFT_OUT = "left out by --quick"
PROCESSES: tuple[Process, ...] = ("native", "tensorflow", "torch", "dali")


@dataclass(frozen=True)
class Scale:
    """How much a run does."""

    pace: dict[Table, Pace]
    pictures: int
    peer_pictures: int
    tiles: int
    trained_pictures: int
    quick: bool = False


FULL = Scale(
    pace={
        "warp": Pace(11, 0.1),
        "arrays": Pace(7, 0.3),
        "jpeg": Pace(7, 0.3),
        "training": Pace(11, 0.5),
        "scaling": Pace(7, 0.15),
    },
    pictures=512,
    peer_pictures=128,
    tiles=192,
    trained_pictures=256,
)
QUICK = Scale(
    pace={
        "warp": Pace(7, 0.02, 0.01),
        "arrays": Pace(5, 0.05, 0.03),
        "jpeg": Pace(3, 0.05, 0.03),
        "training": Pace(3, 0.05, 0.03),
    },
    pictures=128,
    peer_pictures=64,
    tiles=64,
    trained_pictures=32,
    quick=True,
)


def run_bench(
    only: Sequence[Table] = TABLES,
    scale: Scale = FULL,
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> Result:
    """Time ours, the peers that are installed, and the floors.

    Parameters
    ----------
    only : sequence of str
        The tables to make.
    scale : Scale
        `FULL` takes minutes, `QUICK` half a minute.
    threads : int, optional
        The most that a row uses; default: all that the process may use.
    say : callable
        Told what goes on.

    Returns
    -------
    Result

    Raises
    ------
    ModuleNotFoundError
        If the packages that hold the photos are not installed.
    """
    began = time.perf_counter()
    most = threads or available_threads()
    counts = tuple(sorted({1, min(2, most), most}))
    result = Result(describe_machine(), _settings(scale, counts))
    with tempfile.TemporaryDirectory(prefix="fusewarp-bench-") as folder:
        work = Work(
            scale.pictures,
            scale.peer_pictures,
            Path(folder),
            scale.trained_pictures,
            counts,
            scale.quick,
        )
        work.tiles.mkdir()
        write_tiles(work.tiles, scale.tiles)
        hosts = {process: Host(process, work) for process in PROCESSES}
        try:
            for table in only:
                _make_table(table, scale, work, hosts, result, say)
            if not scale.quick and "arrays" in only:
                _make_table("scaling", scale, work, hosts, result, say)
        finally:
            for host in hosts.values():
                host.stop()
    result.checks = check_all(result)
    result.seconds = time.perf_counter() - began
    return result


def _make_table(
    table: Table,
    scale: Scale,
    work: Work,
    hosts: Hosts,
    result: Result,
    say: Callable[[str], None],
) -> None:
    made = TableResult(title(table, scale), floor=FLOORS[table])
    result.tables[table] = made
    wanted = choose_rows(table, PEERS, work.threads, scale.quick, made)
    used = {process: hosts[process] for process in {process for *_, process in wanted}}
    time_rows(wanted, used, scale.pace[table], made, lambda text: say(f"{table}: {text}"))
    _measure(table, scale, hosts, result, say)


def choose_rows(
    table: Table, peers: Sequence[Peer], threads: Sequence[int], quick: bool, made: TableResult
) -> list[Wanted]:
    """Return the rows to time; every other one becomes a line of the table that says why.

    Parameters
    ----------
    table : str
    peers : sequence of Peer
    threads : sequence of int
        Rising, from 1 to all.
    quick : bool
        Leave out what is not cheap.
    made : TableResult
        Gets the lines.
    """
    wanted: list[Wanted] = []
    for peer in peers:
        entries = [entry for entry in peer.entries if entry.table == table]
        reasons = [reason for name, reason in peer.absent if name == table]
        made.absent += [Absent(peer.name, reason) for reason in reasons]
        missing = missing_packages(peer)
        if entries and missing:
            reason = f"not installed ({', '.join(missing)}): {peer.install}"
            made.absent.append(Absent(peer.name, reason))
            continue
        for entry in entries:
            if quick and not entry.quick:
                made.absent.append(Absent(entry.name, LEFT_OUT, entry.key))
                continue
            wanted += [(entry, count, peer.process) for count in thread_counts(entry, threads)]
    return wanted


def thread_counts(entry: Entry, threads: Sequence[int]) -> Sequence[int]:
    """Return the numbers of threads that a row is timed with."""
    if entry.threads is None:
        return threads
    return [threads[-1] if entry.threads == ALL_THREADS else entry.threads]


def _measure(
    table: Table, scale: Scale, hosts: Hosts, result: Result, say: Callable[[str], None]
) -> None:
    for name, probe in PROBES.items():
        if probe.table != table or (scale.quick and not probe.quick):
            continue
        say(f"{table}: {name}")
        try:
            result.probes[name] = hosts[probe.process].probe(name)
        except RowFailed as error:
            result.probes[name] = {"reason": str(error)}


FLOORS = {
    "warp": "convert",
    "arrays": "convert",
    "jpeg": "decode",
    "training": "ready",
    "scaling": "",
}


def title(table: Table, scale: Scale) -> str:
    """Say what every row of a table does."""
    size = f"{SIDE} x {SIDE} x 3"
    return {
        "warp": f"{WARP_PICTURES} pictures of {size}, uint8 to float32 in 0..1, one thread; "
        f"{RANGES}",
        "arrays": f"{scale.pictures} uint8 arrays of {size} (peers: the first "
        f"{scale.peer_pictures}) to float32 batches of {BATCH_SIZE}; {RANGES}",
        "jpeg": f"{scale.tiles} JPEGs of 500 x 375, re-encoded tiles of real photos, to float32 "
        f"batches of {BATCH_SIZE} x {size}; {RANGES}",
        "training": f"a head on {base_name(scale.quick)}, frozen, {scale.trained_pictures} "
        f"pictures of {TRAINING_SIDE} x {TRAINING_SIDE}, batches of {TRAINING_BATCH}; {RANGES}",
        "scaling": "how the figures change with threads, size of pictures and of batches",
    }[table]


def _settings(scale: Scale, threads: tuple[int, ...]) -> dict[str, Any]:
    return {
        "quick": scale.quick,
        "threads": list(threads),
        "rounds": {table: pace.rounds for table, pace in scale.pace.items()},
        "pictures": scale.pictures,
        "peer_pictures": scale.peer_pictures,
        "tiles": scale.tiles,
        "trained_pictures": scale.trained_pictures,
    }
