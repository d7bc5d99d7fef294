"""The report of made-up figures: medians, ratios, missing rows, and what was met."""

import json

import pytest

from fusewarp.benchmarks import bench
from fusewarp.benchmarks.checks import check_all
from fusewarp.benchmarks.contract import Entry, NotAvailable, Peer, Runner
from fusewarp.benchmarks.peers import PEERS, find_entry, missing_packages
from fusewarp.benchmarks.report import write_report
from fusewarp.benchmarks.results import Absent, Result, Row, TableResult

MACHINE = {
    "cpu": "Some CPU (TM) 3000",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux",
    "python": "3.11",
    "versions": {"numpy": "2.0"},
    "commit": "abc123",
    "load": [3.0, 2.0, 1.0],
    "busy": True,
    "date": "2026-01-01 00:00:00",
}


def row(key, milliseconds, threads=1, kind="peer", **more):
    return Row(key, f"name of {key}", kind, threads, [ms / 1e3 for ms in milliseconds], **more)


def result(tables, probes=None):
    return Result(MACHINE, {"quick": False}, tables, probes or {})


def warp_table(kernel=(2.0, 2.2, 2.4), **others):
    rows = [row("convert", (1.0, 1.0, 1.0), kind="floor", pixels=100)]
    rows += [row("kernel", kernel, kind="ours", pixels=100)]
    rows += [row(key.replace("_", "."), ms, pixels=100) for key, ms in others.items()]
    return TableResult("some work", rows, floor="convert")


def checked(table_result, what):
    (check,) = [check for check in check_all(table_result) if what in check.what]
    return check


def test_a_row_is_a_median_of_rounds_and_its_ratio_one_of_pairs():
    floor, own = row("a", (1, 2, 10)), row("b", (2, 4, 5))

    assert own.seconds == 0.004
    assert own.rate == pytest.approx(250)
    assert own.quartiles == pytest.approx((225, 375))
    assert own.times(floor) == 2.0  # of 2, 2 and 0.5: not 4 / 2 of the medians by chance


def test_ratios_are_of_the_same_round():
    assert row("b", (3, 30, 4)).times(row("a", (1, 10, 8))) == 3.0


@pytest.mark.parametrize(("kernel", "met"), [((2.5, 2.5, 2.5), True), ((2.6, 2.6, 2.6), False)])
def test_a_target_is_met_or_not_by_the_figures(kernel, met):
    check = checked(result({"warp": warp_table(kernel)}), "times the convert floor")

    assert (check.met, check.measured, check.target) == (met, f"{kernel[0]:g}", "at most 2.5")


@pytest.mark.parametrize(("opencv", "met"), [((8.0, 8.8, 9.6), True), ((7.9, 8.7, 9.5), False)])
def test_at_least_is_the_other_way_round(opencv, met):
    table = warp_table(opencv=opencv)

    assert checked(result({"warp": table}), "cv2.warpAffine + multiply").met is met


def test_large_pictures_are_compared_per_pixel_at_the_worst_angle():
    table = warp_table(kernel=(2.0, 2.0, 2.0))
    table.rows += [row("kernel.large.0", (200, 200, 200), pixels=10_000)]
    assert checked(result({"warp": table}), "worst angle").measured == "1"

    table.rows += [row("kernel.large.45", (320, 320, 320), pixels=10_000)]
    check = checked(result({"warp": table}), "worst angle")
    assert (check.measured, check.met) == ("1.6", False)


def test_pictures_of_another_size_are_not_compared_with_the_floor():
    table = warp_table()
    table.rows += [row("large", (9, 9, 9), pixels=400), row("any", (3, 3, 3))]

    assert [table.times_the_floor(made) for made in table.rows] == [1.0, 2.2, None, 3.0]


def test_rates_of_the_loader_are_shares_of_the_kernels():
    rows = [row("kernel", (8,) * 3), row("loader", (10,) * 3), row("loader", (5,) * 3, threads=2)]
    rows += [row("plan", (0.2,) * 3)]
    made = result({"arrays": TableResult("", rows)})

    assert checked(made, "Loader from arrays, share").measured == "0.8"
    assert checked(made, "Loader from arrays, 2 threads").measured == "2"
    assert checked(made, "sampling").measured == "0.02"


def test_files_are_compared_with_as_many_threads():
    rows = [row("decode", (9.5,) * 3), row("loader", (10,) * 3)]
    rows += [row("decode", (4,) * 3, threads=2), row("loader", (5,) * 3, threads=2)]
    absent = [Absent("cache", "not available: too old", "cached")]
    made = result({"jpeg": TableResult("", rows, absent)})

    assert checked(made, "decoding alone, 1 thread").met is True
    assert checked(made, "decoding alone, 2 threads").met is False
    rows += [row("packed", (4,) * 3), row("packed.arrays", (3,) * 3), row("decoded", (9,) * 3)]
    packed = checked(made, "PackedSource after the first epoch, share of the array rate, 1")
    assert (packed.met, packed.measured) == (False, "0.75")
    cached = checked(made, 'cache="memory" after the first epoch, share of the array rate, 2')
    assert (cached.met, cached.measured) == (None, "not available: too old")


def test_memory_is_bounded_by_the_batches_that_were_measured():
    probes = {"memory": {"batch_mb": 10.0, "prefetch": 3, "peak_above_import_mb": 451.0}}

    check = checked(result({}, probes), "memory above the import")

    assert (check.target, check.met) == ("at most 450", False)


def test_nothing_measured_leaves_every_figure_open():
    checks = check_all(result({}))

    assert {check.point for check in checks} == {1, 2, 3, 4, 5, 6, 7}
    assert {check.met for check in checks} == {None}
    assert {check.measured for check in checks} == {"not measured"}


def test_the_report_holds_rows_losses_missing_ones_and_figures(tmp_path):
    table = warp_table(kernel=(4.0, 4.0, 4.0), opencv=(2.0, 2.0, 2.0))
    table.absent.append(Absent("Some peer", "not installed (some): pip install some"))
    scaling = TableResult("", [row("t", (1, 1), n, group="threads", kind="ours") for n in (1, 2)])
    made = result({"warp": table, "scaling": scaling}, {"hand-over": {"median_ms": 0.25}})
    made.checks = check_all(made)

    report = write_report(made, tmp_path / "out")

    text = report.read_text()
    assert "## 1. Warp only" in text
    assert "| **name of kernel** | 1 | 250 | 250 to 250 | 4.00 |" in text
    assert "| name of opencv | 1 | 500 | 500 to 500 | 2.00 |" in text
    assert "- Some peer: not installed (some): pip install some" in text
    assert "| 1 | kernel, times the convert floor | at most 2.5 | 4 | **not met** |" in text
    assert "| 4 | hand-over of a batch of 64 to tf.data, ms | at most 0.5 | 0.25 | met |" in text
    assert "Busy" in text
    figures = json.loads((tmp_path / "out" / "some-cpu-tm-3000-2-cores.json").read_text())
    kernel = figures["tables"]["warp"]["rows"][1]
    assert (kernel["rounds"], kernel["times_the_floor"]) == ([0.004] * 3, 4.0)
    assert figures["machine"]["commit"] == "abc123"


def test_every_table_has_a_chart(tmp_path):
    pytest.importorskip("matplotlib")
    scaling = TableResult("", [row("t", (1, 1), n, group="threads", kind="ours") for n in (1, 2)])

    write_report(result({"warp": warp_table(), "scaling": scaling}), tmp_path)

    for name in ("warp.png", "scaling-threads.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in (tmp_path / "report.md").read_text()


def runner(work, threads):
    return Runner(lambda laps: laps)


def test_what_is_not_timed_becomes_a_line():
    entries = (
        Entry("warp", "cheap", "cheap", runner, quick=True),
        Entry("warp", "dear", "dear", runner, threads=1),
    )
    here = Peer("Here", ("numpy",), "", "native", entries, absent=(("jpeg", "reads no files"),))
    gone = Peer("Gone", ("numpy", "no-such|nor-this"), "pip install it", "torch", entries)
    made = TableResult("")

    wanted = bench.choose_rows("warp", [here, gone], (1, 2), True, made)

    assert [(entry.key, threads, process) for entry, threads, process in wanted] == [
        ("cheap", 1, "native"),
        ("cheap", 2, "native"),
    ]
    assert [(absent.name, absent.reason) for absent in made.absent] == [
        ("dear", "left out by --quick"),
        ("Gone", "not installed (no-such): pip install it"),
    ]
    jpeg = TableResult("")
    assert bench.choose_rows("jpeg", [here, gone], (1,), False, jpeg) == []
    assert [absent.reason for absent in jpeg.absent] == ["reads no files"]


def test_a_peer_needs_one_of_its_alternatives():
    assert missing_packages(Peer("", ("no-such|numpy",), "", "native", ())) == []


def test_rows_have_keys_of_their_own_and_every_table_a_floor():
    keys = [(entry.table, entry.key) for peer in PEERS for entry in peer.entries]

    assert len(keys) == len(set(keys))
    for table in ("warp", "arrays", "jpeg", "training"):
        assert find_entry(table, bench.FLOORS[table]).kind == "floor"
    with pytest.raises(NotAvailable, match="no row 'x'"):
        find_entry("warp", "x")
