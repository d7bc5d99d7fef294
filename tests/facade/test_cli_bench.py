"""`fusewarp bench`: its options, and what it prints of a result."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fusewarp import cli_bench
from fusewarp.benchmarks import bench as bench_module
from fusewarp.benchmarks import report as report_module
from fusewarp.benchmarks.results import Absent, Check, Result, Row, TableResult
from fusewarp.cli import app

RUNNER = CliRunner()


def made_up():
    rows = [
        Row("convert", "the floor", "floor", 1, [0.001] * 3),
        Row("kernel", "our kernel", "ours", 1, [0.002] * 3),
        Row("kernel.2", "another", "ours", 1, [0.004] * 3, group="others"),
    ]
    table = TableResult("some work", rows, [Absent("Some peer", "not installed")], "convert")
    checks = [
        Check(1, "fast", "at most 2.5", "2", True),
        Check(7, "small", "at most 1", "2", False),
    ]
    return Result({}, {"quick": True}, {"warp": table}, {}, checks, seconds=12.0)


def test_tables_come_in_their_order():
    assert cli_bench.as_tables("jpeg, warp") == ["warp", "jpeg"]


@pytest.mark.parametrize("only", ["", "warp,none", ","])
def test_a_table_that_is_none_is_refused_before_anything_runs(only):
    done = RUNNER.invoke(app, ["bench", "--only", only])

    assert done.exit_code == 1
    assert "warp,arrays,jpeg,training" in done.stderr


def test_every_row_and_line_and_figure_is_printed():
    console = Console(file=io.StringIO(), width=120)

    cli_bench.print_result(made_up(), console)

    text = console.file.getvalue()
    for words in ("our kernel", "500", "2.00", "another", "4.00", "Some peer: not installed"):
        assert words in text
    assert "met" in text
    assert "not met" in text


def test_the_options_reach_the_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bench_module, "run_bench", lambda *args: asked.append(args) or made_up())
    monkeypatch.setattr(report_module, "write_report", lambda result, out: out / "report.md")

    done = RUNNER.invoke(
        app, ["bench", "--quick", "--only", "warp", "--threads", "3", "--out", str(tmp_path)]
    )

    assert done.exit_code == 0, done.output
    (tables, scale, threads, _) = asked[0]
    assert (tables, scale, threads) == (["warp"], bench_module.QUICK, 3)
    assert "report.md" in done.output.replace("\n", "")
