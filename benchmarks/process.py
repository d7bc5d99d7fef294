"""A process of its own for each family of libraries; rows are timed in it, one at a time.

PyTorch's and TensorFlow's libraries crash each other within one process, and a peer that hangs or
dies must not take the report with it. The clock runs inside the process, around the work alone.
"""

import multiprocessing
import os
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any

from .contract import NotAvailable, Process, Runner
from .work import Work

LAST_WORDS = 200  # characters of what a process printed before it died
PATIENCE = 300.0  # seconds for one answer, after which the process is given up


class RowFailed(Exception):
    """A row could not be made or run; the message says why."""


class Host:
    """Talks to one process, which is started on first use.

    Raises
    ------
    RowFailed
        By every method, if the row raised an error, or the process ended or is silent.
    """

    def __init__(self, process: Process, work: Work) -> None:
        self.name, self._work = process, work
        self._log = work.folder / f"{process}.log"
        self._process: Any = None
        self._pipe: Connection | None = None

    def build(self, table: str, key: str, threads: int) -> int:
        """Make a row ready; return its number."""
        return int(self._ask("build", table, key, threads))

    def run(self, number: int, laps: int) -> tuple[int, float]:
        """Run a row; return how many pictures it made, in how many seconds."""
        pictures, seconds = self._ask("run", number, laps)
        return pictures, seconds

    def figures(self, number: int) -> dict[str, float]:
        """Return what else a row knows."""
        return dict(self._ask("figures", number))

    def probe(self, name: str) -> dict[str, Any]:
        """Take a measurement that is no row."""
        return dict(self._ask("probe", name))

    def close_rows(self) -> None:
        """End all rows; the process stays, with what it has imported and compiled."""
        if self._pipe is not None:
            self._ask("close")

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        if self._pipe is not None:
            self._pipe.close()  # it ends when it has nothing more to read
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process, self._pipe = None, None

    def _ask(self, *question: Any) -> Any:
        pipe = self._pipe or self._start()
        try:
            pipe.send(question)
            if not pipe.poll(PATIENCE):
                self._process.kill()
                self.stop()
                raise RowFailed(f"no answer within {PATIENCE:.0f} s")
            is_good, answer = pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(10)
            code = self._process.exitcode
            self.stop()
            said = self._log.read_text(errors="replace")[-LAST_WORDS:].strip()
            raise RowFailed(f"its process ended with exit code {code}: {said}") from error
        if not is_good:
            raise RowFailed(answer)
        return answer

    def _rows_type(self) -> "type[Rows]":
        return Rows

    def _start(self) -> Connection:
        self._log.touch()  # a process may end before it writes
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self._rows_type(), self._work, str(self._log))
        self._process = context.Process(target=serve, args=arguments, name=self.name)
        self._process.start()
        theirs.close()
        return self._pipe


def serve(pipe: Connection, rows_type: "type[Rows]", work: Work, log: str) -> None:
    """Answer questions until the other end closes; the process's main function."""
    _write_to(log)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network
    warnings.simplefilter("ignore")  # of peers: what is wrong comes as an exception
    rows = rows_type(work)
    while True:
        try:
            verb, *arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            rows.close()
            return
        try:
            answer = (True, getattr(rows, verb)(*arguments))
        except KeyboardInterrupt:
            rows.close()
            return
        except Exception as error:
            answer = (False, one_line(error))
        pipe.send(answer)


def _write_to(log: str) -> None:
    """Send all that libraries print, native code too, to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def one_line(error: Exception) -> str:
    """Say what went wrong, for a row of a table."""
    text = " ".join(str(error).split())
    return text if isinstance(error, NotAvailable) else f"failed: {type(error).__name__}: {text}"


class Rows:
    """The rows of this process that are ready."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._runners: list[Runner] = []

    def build(self, table: str, key: str, threads: int) -> int:
        """Make a row ready; return its number."""
        from .peers import find_entry

        self._runners.append(find_entry(table, key).build(self._work, threads))
        return len(self._runners) - 1

    def run(self, number: int, laps: int) -> tuple[int, float]:
        """Run a row; return how many pictures it made, in how many seconds."""
        runner = self._runners[number]
        began = time.perf_counter()
        pictures = runner.run(laps)
        return pictures, time.perf_counter() - began

    def figures(self, number: int) -> dict[str, float]:
        """Return what else a row knows."""
        return self._runners[number].figures()

    def probe(self, name: str) -> dict[str, Any]:
        """Take a measurement that is no row."""
        from .probes import PROBES

        return PROBES[name].measure(self._work)

    def close(self) -> None:
        """End all rows."""
        runners, self._runners = self._runners, []
        for runner in runners:
            runner.close()
