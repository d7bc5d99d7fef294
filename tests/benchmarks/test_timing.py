"""Rows in processes: what fails, dies or hangs becomes a line, and the others go on."""

import os
import sys
import time
from pathlib import Path

import pytest

from fusewarp.benchmarks import process as process_module
from fusewarp.benchmarks.contract import Entry, NotAvailable, Runner
from fusewarp.benchmarks.process import Host, RowFailed, Rows, one_line
from fusewarp.benchmarks.results import TableResult
from fusewarp.benchmarks.timing import Pace, time_rows
from fusewarp.benchmarks.work import Work

PACE = Pace(3, 0.0, 0.0)


@pytest.fixture(autouse=True)
def importable_tests(monkeypatch):
    """Let a spawned process import the functions of this file."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])


class FakeHost:
    """Answers like a process, from a script: row 0 is good, others fail at their step."""

    def __init__(self, fails_at):
        self.fails_at, self.calls = fails_at, []

    def build(self, table, key, threads):
        self._note("build", key)
        return key

    def run(self, key, laps):
        self._note("run", key)
        return 10 * laps, 0.5 * laps

    def figures(self, key):
        return {"share": 0.25}

    def close_rows(self):
        self.calls.append("close")

    def _note(self, verb, key):
        self.calls.append((verb, key))
        if self.fails_at.get(key) == (verb, self.calls.count((verb, key))):
            raise RowFailed("failed: ValueError: broken")


def entry(key):
    return Entry("warp", key, f"name of {key}", lambda work, threads: Runner(lambda laps: laps))


def time_keys(host, *keys):
    table = TableResult("")
    time_rows([(entry(key), 1, "native") for key in keys], {"native": host}, PACE, table, str)
    return table


def test_rows_take_turns_and_the_warm_up_does_not_count():
    host = FakeHost({})

    table = time_keys(host, "a", "b")

    assert [call[1] for call in host.calls[-7:-1]] == ["a", "b"] * 3
    assert host.calls[-1] == "close"
    assert [row.rounds for row in table.rows] == [[0.05] * 3] * 2
    assert table.rows[0].figures == {"share": 0.25}


def test_fast_rows_do_several_laps():
    host = FakeHost({})
    laps = []
    host.run = lambda key, count: laps.append(count) or (count, 0.03 * count)

    time_rows(
        [(entry("a"), 1, "native")], {"native": host}, Pace(1, 0.1, 0.0), TableResult(""), str
    )

    assert laps == [1, 1, 4]


@pytest.mark.parametrize("step", [("build", 1), ("run", 1), ("run", 4)])
def test_a_row_that_fails_is_a_line_and_the_others_go_on(step):
    table = time_keys(FakeHost({"bad": step}), "good", "bad")

    assert [row.key for row in table.rows] == ["good"]
    assert len(table.rows[0].rounds) == 3
    (absent,) = table.absent
    assert (absent.name, absent.key) == ("name of bad, 1 thread", "bad")
    assert absent.reason == "failed: ValueError: broken"


def test_what_cannot_be_had_is_no_failure():
    assert one_line(NotAvailable("not available: too old")) == "not available: too old"
    assert one_line(ValueError("two\n lines")) == "failed: ValueError: two lines"


def test_rows_are_closed_once(tmp_path):
    closed = []
    rows = Rows(Work(64, 64, tmp_path))
    rows._runners = [Runner(lambda laps: laps, lambda: closed.append(1))]

    rows.close()
    rows.close()

    assert closed == [1]


@pytest.fixture
def host(tmp_path):
    made = Host("native", Work(64, 64, tmp_path))
    yield made
    made.stop()


def test_a_process_answers_and_fails_in_one_line(host):
    with pytest.raises(RowFailed, match="no row 'none' in the table 'warp'"):
        host.build("warp", "none", 1)

    number = host.build("warp", "convert", 1)

    assert host.run(number, 2)[0] == 128
    host.close_rows()


def test_a_process_that_dies_says_its_last_words(host, monkeypatch):
    monkeypatch.setattr(process_module, "serve", die_after_one)

    with pytest.raises(RowFailed, match="exit code 3: last words"):
        host.build("warp", "convert", 1)


def test_a_process_that_dies_at_once_is_a_failed_row(host, monkeypatch):
    monkeypatch.setattr(process_module, "serve", die_at_once)

    with pytest.raises(RowFailed, match="exit code 4"):
        host.build("warp", "convert", 1)


def test_a_process_that_hangs_is_given_up(host, monkeypatch):
    monkeypatch.setattr(process_module, "serve", hang_after_one)
    monkeypatch.setattr(process_module, "PATIENCE", 0.5)

    with pytest.raises(RowFailed, match="no answer"):
        host.build("warp", "convert", 1)

    assert host._process is None


def die_after_one(pipe, rows_type, work, log):
    process_module._write_to(log)
    pipe.recv()
    os.write(2, b"last words")
    os._exit(3)


def die_at_once(pipe, rows_type, work, log):
    os._exit(4)


def hang_after_one(pipe, rows_type, work, log):
    pipe.recv()
    time.sleep(60)
