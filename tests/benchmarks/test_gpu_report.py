"""The figures of a GPU: what must move, rates, shares, the device's clock, and the report."""

import contextlib
import json
import time
from pathlib import Path

import pytest

pytest.importorskip("numba_cuda")

from fusewarp.benchmarks import gpu
from fusewarp.benchmarks.contract import Entry, Peer, Runner
from fusewarp.benchmarks.gpu_rows import (
    GPU_PEERS,
    GpuRows,
    floor_of,
    gigabytes_a_second,
    share_of_floor,
)
from fusewarp.benchmarks.peers import gpu_kernel
from fusewarp.benchmarks.peers.gpu_clock import LAUNCHES_AT_ONCE, DeviceRunner, Queue
from fusewarp.benchmarks.peers.gpu_work import BYTES, GpuWork, moved_bytes
from fusewarp.benchmarks.results import Absent, Row, TableResult
from fusewarp.engine.devices import Choice

MACHINE = {
    "cpu": "Some CPU", "cores": 2, "system": "Linux", "python": "3.11", "busy": False,
    "versions": {"numpy": "2.0"}, "commit": "abc123", "date": "2026-01-01 00:00:00",
}  # fmt: skip
CARD = {
    "name": "Some Card", "compute_capability": (9, 0), "total_bytes": 80 * 2**30,
    "is_simulated": False, "driver": (12, 8),
}  # fmt: skip


def row(key, microseconds, num_bytes=None, kind="ours", group=""):
    figures = {} if num_bytes is None else {BYTES: num_bytes}
    rounds = [us / 1e6 for us in microseconds]
    return Row(key, f"name of {key}", kind, 1, rounds, group, "a note", figures=figures)


@pytest.mark.parametrize(
    ("source", "channels", "dtype", "expected"),
    [
        ((224, 224), 3, "float16", 224 * 224 * 3 * (1 + 2)),
        ((224, 224), 3, "uint8", 224 * 224 * 3 * 2),
        ((224, 224), 4, "float32", 224 * 224 * 4 * (1 + 4)),
        ((375, 500), 3, "float16", 375 * 500 * 3 + 224 * 224 * 3 * 2),
    ],
)
def test_each_byte_of_source_and_output_moves_once(source, channels, dtype, expected):
    assert moved_bytes(source, 224, channels, dtype) == expected


def test_a_rate_is_bytes_times_pictures_a_second():
    assert gigabytes_a_second(row("a", (0.5, 0.25, 1.0), 450_000)) == pytest.approx(900)
    assert gigabytes_a_second(row("a", (1.0,))) is None


def test_a_share_is_the_median_over_rounds():
    floor, own = row("copy", (1, 2, 8)), row("a", (2, 8, 10))

    assert share_of_floor(own, floor) == pytest.approx(0.5)  # of 0.5, 0.25 and 0.8


def test_the_floor_moves_as_many_bytes_or_is_of_the_group():
    copy = row("copy", (1,), 100, "floor", "copies")
    decode = row("decode", (1,), None, "floor", "JPEGs")
    rows = [row("x", (1,), 100), copy, decode]

    assert floor_of(row("a", (1,), 100, group="other"), rows) is copy
    assert floor_of(row("a", (1,), 101), rows) is None
    assert floor_of(row("a", (1,), group="JPEGs"), rows) is decode
    assert floor_of(row("a", (1,), group="arrays"), rows) is None


def test_every_case_has_a_floor_of_as_many_bytes_and_quick_ones_a_quick_floor():
    work = GpuWork(4, 4, Path(), batch_size=4)
    floors = {e.key: e for e in gpu_kernel.kernel_entries() if e.kind == "floor"}
    traffic = {}
    for case in gpu_kernel.CASES:
        assert floors[f"copy.{case.floor}"].quick or not case.quick
        traffic.setdefault(case.floor, set()).add(case.traffic(work))

    assert all(len(bytes_moved) == 1 for bytes_moved in traffic.values())
    assert len(floors) == len(traffic)


@pytest.mark.parametrize(("a_launch", "expected"), [(2**27, 4), (2**30, 1), (1, 16), (2**29, 1)])
def test_buffers_are_several_times_a_cache_and_not_too_many(a_launch, expected):
    assert gpu_kernel.ring_length(a_launch, 2**29) == expected


def test_keys_are_unique_in_their_tables():
    keys = [(entry.table, entry.key) for peer in GPU_PEERS for entry in peer.entries]

    assert len(keys) == len(set(keys))
    assert {table for table, _ in keys} == set(gpu.GPU_TABLES)


class FakeDevice:
    """A device whose clock is told: a copy takes a second, a launch a hundredth.

    The host needs a tenth of a second to ask for a launch.
    """

    def __init__(self):
        self.host, self.device, self.launches = 0.0, 0.0, 0

    def make_event(self):
        return FakeEvent(self)

    def is_simulated(self):
        return False

    def work(self, seconds):
        self.device = max(self.device, self.host) + seconds


class FakeEvent:
    def __init__(self, device):
        self.owner = device

    def record(self, stream):
        self.time = max(self.owner.device, self.owner.host)

    def query(self):
        return self.time <= self.owner.host

    def synchronize(self):
        self.owner.host = max(self.owner.host, self.time)

    def elapsed_time(self, other):
        return (other.time - self.time) * 1e3


def fake_queue(launch_seconds=0.01, copy_seconds=1.0):
    """Return a queue on a fake device, and what queues launches on it."""
    device = FakeDevice()
    queue = Queue.__new__(Queue)
    queue.cuda, queue.index, queue.stream, queue._copies = device, 0, None, 1
    queue.using = contextlib.nullcontext
    queue._copy_ahead = lambda: [device.work(copy_seconds) for _ in range(queue._copies)]

    def launch():
        device.host += 0.1
        device.launches += 1
        device.work(launch_seconds)

    return queue, launch


def test_the_devices_time_has_no_gaps_of_the_hosts_making():
    queue, launch = fake_queue()

    pictures, seconds = queue.runner([launch], 8, 100).time(LAUNCHES_AT_ONCE + 3)

    assert pictures == 8 * (LAUNCHES_AT_ONCE + 3)
    assert seconds == pytest.approx(0.01 * (LAUNCHES_AT_ONCE + 3))
    assert queue._copies == 4  # seconds ahead: 32 launches take the host 3.2


def test_no_figure_where_the_host_cannot_get_ahead():
    queue, launch = fake_queue(copy_seconds=0.0)

    with pytest.raises(RuntimeError, match="its time would be the host's"):
        queue.runner([launch], 8, 100).time(1)


def test_launches_are_used_in_turn_across_parts():
    queue, _ = fake_queue()
    called = []
    launches = [lambda number=number: called.append(number) for number in range(3)]

    queue.runner(launches, 8, 100).time(LAUNCHES_AT_ONCE + 2)

    assert called == [number % 3 for number in range(LAUNCHES_AT_ONCE + 2)]


def test_a_turn_begins_with_work_that_is_not_timed_but_for_the_first_call(monkeypatch):
    ran = []

    def run(laps):
        time.sleep(0.02)
        ran.append(laps)
        return laps

    def build(work, threads):
        return DeviceRunner(run, time=lambda laps: (laps, 42.0))

    entry = Entry("kernel", "a", "a", build)
    peer = Peer("p", (), "", "native", (entry,))
    monkeypatch.setattr("fusewarp.benchmarks.gpu_rows.GPU_PEERS", (peer,))
    rows = GpuRows(GpuWork(1, 1, Path(), ramp_seconds=0.03))
    number = rows.build("kernel", "a", 1)

    assert rows.run(number, 1)[1] == pytest.approx(0.02, abs=0.5)
    assert ran == [1]
    assert rows.run(number, 5) == (5, 42.0)
    assert len(ran) >= 2


def test_other_rows_are_timed_by_the_wall_clock(monkeypatch):
    entry = Entry("device", "a", "a", lambda work, threads: Runner(lambda laps: 7 * laps))
    monkeypatch.setattr(
        "fusewarp.benchmarks.gpu_rows.GPU_PEERS", (Peer("p", (), "", "native", (entry,)),)
    )
    rows = GpuRows(GpuWork(1, 1, Path(), ramp_seconds=0))
    number = rows.build("device", "a", 1)
    rows.run(number, 1)

    pictures, seconds = rows.run(number, 3)

    assert pictures == 21
    assert 0 < seconds < 1


def result(device=CARD):
    rows = [
        row("copy", (1, 1, 1), 450_000, "floor", "floors"),
        row("kernel", (2, 2, 4), 450_000),
        row("kornia", (9, 9, 9), kind="peer"),
    ]
    absent = [Absent("DALI", "not installed (nvidia-dali): pip install nvidia-dali")]
    tables = {"kernel": TableResult("1. The kernel", rows, absent)}
    settings = {"batch_size": 256, "side": 224, "ranges": "some ranges", "quick": False}
    return gpu.GpuResult(device, MACHINE, settings, tables)


def test_the_report_has_rates_shares_and_what_is_missing():
    report = gpu.write_gpu_markdown(result())

    assert "Some Card, compute capability 9.0, 80.0 GiB, driver for CUDA 12.8;" in report
    assert "| **name of kernel** | 500,000 | 375,000 to 500,000 | 225.0 | 50% | 0.00 s |" in report
    assert "| name of copy | 1,000,000 | 1,000,000 to 1,000,000 | 450.0 |  |" in report
    assert "| name of kornia | 111,111 | 111,111 to 111,111 |  |  | 0.00 s | a note |" in report
    assert "- DALI: not installed (nvidia-dali): pip install nvidia-dali" in report
    assert "simulator" not in report


def test_the_report_of_the_simulator_says_so_first():
    report = gpu.write_gpu_markdown(result({**CARD, "is_simulated": True}))

    assert report.splitlines()[2].startswith("**Numba's simulator, no GPU")


def test_the_json_has_what_rows_are_worth():
    values = result().to_dict()
    copy, kernel, kornia = values["tables"]["kernel"]["rows"]

    assert (kernel["floor"], kernel["share_of_floor"]) == ("copy", pytest.approx(0.5))
    assert kernel["gigabytes_per_second"] == pytest.approx(225)
    assert copy["share_of_floor"] == 1.0
    assert (kornia["floor"], kornia["share_of_floor"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "cpu"], "--device must be a CUDA device"),
        (["--device", "gpu"], "`device` must be"),
        (["--batch", "0"], "--batch must be 1 or more, got 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr("fusewarp.engine.devices.cuda_devices", list)  # before the name is read
    with pytest.raises(SystemExit) as stopped:
        gpu.main(arguments)

    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_hands_its_options_on_and_writes_both_files(tmp_path, monkeypatch, capsys):
    asked = []

    def run(choice, batch_size, scale):
        asked.append((choice, batch_size, scale))
        return result()

    choice = Choice("cuda", 1, "because")
    monkeypatch.setattr(gpu, "choose_device", {"cuda:1": choice}.__getitem__)
    monkeypatch.setattr(gpu, "run_gpu_bench", run)
    options = ["--device", "cuda:1", "--quick", "--batch", "64", "--out", str(tmp_path / "a" / "b")]

    assert gpu.main(options) == 0
    assert asked == [(choice, 64, gpu.QUICK)]
    assert (tmp_path / "a" / "b" / "gpu.md").read_text() == gpu.write_gpu_markdown(result())
    assert json.loads((tmp_path / "a" / "b" / "gpu.json").read_text())["device"]["driver"] == [
        12,
        8,
    ]
    assert "| **name of kernel** |" in capsys.readouterr().out
