"""Time the rows of a table in turn, round by round, so that a busy second hits all of them."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .contract import Entry, Process
from .process import Host, RowFailed
from .results import Absent, Row, TableResult

Hosts = dict[Process, Host]
Wanted = tuple[Entry, int, Process]  # an entry, a number of threads, and where it runs


@dataclass(frozen=True)
class Pace:
    """How long a table takes.

    Attributes
    ----------
    rounds : int
        After the warm-up.
    least_seconds : float
        Of a turn: a row that is faster does several laps.
    settle_seconds : float
        Before a turn, so that what the last row had begun ahead is over when the clock starts.
    """

    rounds: int
    least_seconds: float
    settle_seconds: float = 0.1


@dataclass
class _Turn:
    """A row in the making."""

    entry: Entry
    threads: int
    host: Host
    number: int
    laps: int = 1
    first_call_s: float = 0.0
    rounds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.entry.name}, {self.threads} thread{'s' * (self.threads > 1)}"


def time_rows(
    wanted: list[Wanted], hosts: Hosts, pace: Pace, table: TableResult, say: Callable[[str], None]
) -> None:
    """Time rows and add them to the table; what fails becomes a line of it.

    Parameters
    ----------
    wanted : list of (Entry, int, str)
        The rows, their numbers of threads, and the processes they run in.
    hosts : dict
        The processes, by name; their rows are closed at the end.
    pace : Pace
    table : TableResult
    say : callable
        Told what goes on.
    """
    say("warm-up")
    turns = [turn for row in wanted if (turn := _warm_up(row, hosts, pace, table)) is not None]

    def take(turn: _Turn, _: TableResult) -> None:
        time.sleep(pace.settle_seconds)
        pictures, seconds = turn.host.run(turn.number, turn.laps)
        turn.rounds.append(seconds / pictures)

    for number in range(pace.rounds):
        say(f"round {number + 1} of {pace.rounds}")
        turns = [turn for turn in turns if _succeeds(take, turn, table)]
    turns = [turn for turn in turns if _succeeds(_finish, turn, table)]
    for host in hosts.values():
        with contextlib.suppress(RowFailed):  # a process that ended has nothing left to close
            host.close_rows()


def _warm_up(row: Wanted, hosts: Hosts, pace: Pace, table: TableResult) -> _Turn | None:
    """Make a row ready and run it twice: the first compiles, the second tells its laps."""
    entry, threads, process = row
    turn = _Turn(entry, threads, hosts[process], -1)

    def prepare(turn: _Turn, _: TableResult) -> None:
        turn.number = turn.host.build(entry.table, entry.key, threads)
        turn.first_call_s = turn.host.run(turn.number, 1)[1]
        seconds = turn.host.run(turn.number, 1)[1]
        turn.laps = max(1, math.ceil(pace.least_seconds / max(seconds, 1e-6)))

    return turn if _succeeds(prepare, turn, table) else None


def _finish(turn: _Turn, table: TableResult) -> None:
    entry = turn.entry
    table.rows.append(
        Row(
            key=entry.key,
            name=entry.name,
            kind=entry.kind,
            threads=turn.threads,
            rounds=turn.rounds,
            group=entry.group,
            note=entry.note,
            pixels=entry.pixels,
            x=entry.x,
            first_call_s=turn.first_call_s,
            figures=turn.host.figures(turn.number),
        )
    )


def _succeeds(step: Callable[[_Turn, TableResult], None], turn: _Turn, table: TableResult) -> bool:
    try:
        step(turn, table)
    except RowFailed as error:
        table.absent.append(Absent(turn.name, str(error), turn.entry.key))
        return False
    return True
