"""The tables of a GPU: `python -m fusewarp.benchmarks.gpu`.

Kernels and copies are timed by the device's clock, everything else by the wall clock around work
that ends with a wait for the device. benchmarks/README.md has the contract of every row.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..engine.devices import Choice, DeviceError, choose_device, cuda_devices, cuda_driver_version
from ..engine.threads import available_threads
from ..integrations.demo_data import write_tiles
from .bench import LEFT_OUT, PROCESSES, choose_rows
from .contract import Peer, Table
from .gpu_rows import GPU_PEERS, GpuHost, floor_of, gigabytes_a_second, share_of_floor
from .machine import describe_machine
from .peers import version_of
from .peers.gpu_work import BYTES, GPU_TABLES, TILE_SIZE, GpuWork
from .results import Absent, Row, TableResult
from .timing import Hosts, Pace, time_rows
from .work import RANGES, SIDE

JSON_NAME, REPORT_NAME = "gpu.json", "gpu.md"
SIMULATED = (
    "**Numba's simulator, no GPU: a run of the program, not a measurement. Its times say nothing.**"
)
TITLES: dict[Table, str] = {
    "kernel": "1. The kernel alone, by the device's clock",
    "device": "2. Pictures on the device, out on the device",
    "upload": "3. Pictures in the host's memory, out on the device",
    "loader": "4. End to end: a loader, its batches consumed on the device",
}


@dataclass(frozen=True)
class GpuScale:
    """How much a run does."""

    pace: dict[Table, Pace]
    tiles: int
    batches: int = 4
    side: int = SIDE
    tile_size: tuple[int, int] = TILE_SIZE
    ring_bytes: int = 2**29
    ramp_seconds: float = 0.1
    quick: bool = False


FULL = GpuScale(
    pace={
        "kernel": Pace(11, 0.01, 0.02),
        "device": Pace(11, 0.2, 0.02),
        "upload": Pace(11, 0.3, 0.05),
        "loader": Pace(7, 0.5),
    },
    tiles=512,
)
QUICK = GpuScale(
    pace={
        "kernel": Pace(7, 0.005, 0.01),
        "device": Pace(7, 0.05, 0.01),
        "upload": Pace(7, 0.1, 0.01),
        "loader": Pace(3, 0.1, 0.05),
    },
    tiles=128,
    ramp_seconds=0.03,
    quick=True,
)


@dataclass
class GpuResult:
    """All of a run."""

    device: dict[str, Any]
    machine: dict[str, Any]
    settings: dict[str, Any]
    tables: dict[str, TableResult]
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON, with what each row is worth."""
        values = asdict(self)
        for name, table in self.tables.items():
            for row, written in zip(table.rows, values["tables"][name]["rows"], strict=True):
                floor = floor_of(row, table.rows)
                written["images_per_second"] = row.rate
                written["quartiles"] = list(row.quartiles)
                written["gigabytes_per_second"] = gigabytes_a_second(row)
                written["share_of_floor"] = None if floor is None else share_of_floor(row, floor)
                written["floor"] = None if floor is None else floor.key
        return values


def run_gpu_bench(
    choice: Choice,
    batch_size: int = 256,
    scale: GpuScale = FULL,
    peers: Sequence[Peer] = GPU_PEERS,
    say: Callable[[str], None] = print,
) -> GpuResult:
    """Time ours, the peers that are installed, and the floors on one device.

    Parameters
    ----------
    choice : Choice
        A CUDA device, of `choose_device`.
    batch_size : int
        Pictures of one launch.
    scale : GpuScale
    peers : sequence of Peer
    say : callable
        Told what goes on.

    Raises
    ------
    ModuleNotFoundError
        If the packages that hold the photos are not installed.
    """
    began = time.perf_counter()
    settings = {**asdict(scale), "batch_size": batch_size, "ranges": RANGES}
    result = GpuResult(describe_device(choice), describe_machine(), settings, {})
    result.machine["versions"]["numba-cuda"] = version_of("numba-cuda")
    with tempfile.TemporaryDirectory(prefix="fusewarp-gpu-") as folder:
        work = _make_work(Path(folder), choice, batch_size, scale)
        hosts: Hosts = {name: GpuHost(name, work) for name in PROCESSES}
        try:
            for table in GPU_TABLES:
                result.tables[table] = _make_table(table, work, scale, peers, hosts, say)
        finally:
            for host in hosts.values():
                host.stop()
    result.seconds = time.perf_counter() - began
    return result


def describe_device(choice: Choice) -> dict[str, Any]:
    """Describe a CUDA device, ready for JSON."""
    from ..kernels import cuda

    return {
        **asdict(cuda_devices()[choice.index]),
        "is_simulated": cuda.is_simulated(),
        "driver": cuda_driver_version(),
    }


def _make_work(folder: Path, choice: Choice, batch_size: int, scale: GpuScale) -> GpuWork:
    work = GpuWork(
        pictures=scale.batches * batch_size,
        peer_pictures=scale.batches * batch_size,
        folder=folder,
        threads=(available_threads(),),
        quick=scale.quick,
        batch_size=batch_size,
        side=scale.side,
        tile_size=scale.tile_size,
        index=choice.index,
        ring_bytes=scale.ring_bytes,
        ramp_seconds=scale.ramp_seconds,
    )
    work.tiles.mkdir()
    write_tiles(work.tiles, scale.tiles)
    return work


def _make_table(
    name: Table,
    work: GpuWork,
    scale: GpuScale,
    peers: Sequence[Peer],
    hosts: Hosts,
    say: Callable[[str], None],
) -> TableResult:
    table = TableResult(TITLES[name])
    wanted = choose_rows(name, peers, work.threads, scale.quick, table)
    used = {process: hosts[process] for process in {process for *_, process in wanted}}
    time_rows(wanted, used, scale.pace[name], table, lambda text: say(f"{name}: {text}"))
    return table


def write_gpu_report(result: GpuResult, folder: Path) -> Path:
    """Write the figures as JSON and the tables as Markdown; return the path of the latter.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(result.to_dict(), indent=1)
    (folder / JSON_NAME).write_text(figures + "\n", encoding="utf-8")
    report = folder / REPORT_NAME
    report.write_text(write_gpu_markdown(result), encoding="utf-8")
    return report


def write_gpu_markdown(result: GpuResult) -> str:
    """Return the report."""
    lines = ["# fusewarp on a GPU", "", *_where(result), ""]
    for table in result.tables.values():
        lines += [f"## {table.title}", ""]
        for group in sorted({row.group for row in table.rows}):
            lines += _rows(table, group)
        lines += _absent(table.absent)
    return "\n".join(lines).rstrip() + "\n"


def _where(result: GpuResult) -> Iterator[str]:
    device, machine = result.device, result.machine
    if device["is_simulated"]:
        yield from (SIMULATED, "")
    major, minor = device["compute_capability"]
    driver = ".".join(map(str, device["driver"])) if device["driver"] else "unknown"
    yield (
        f"{device['name']}, compute capability {major}.{minor}, "
        f"{device['total_bytes'] / 2**30:.1f} GiB, driver for CUDA {driver}; {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}; "
        f"{machine['date']}, commit {machine['commit'] or 'unknown'}."
    )
    yield ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + "."
    if machine["busy"]:
        yield "**The machine was busy before the run: trust ratios, not times.**"
    yield ""
    side = result.settings["side"]
    yield (
        f"Batches of {result.settings['batch_size']} pictures, {side} x {side} x 3 where nothing "
        f"else is said; {result.settings['ranges']}. Medians (and quartiles) over rounds in which "
        "every row has its turn; a turn begins with work that is not timed. GB/s count each byte "
        "of the source and of the output once (in 3 and 4: each byte uploaded once); the share of "
        "the floor is the median over rounds, against a copy that moves as many bytes."
    )
    if result.settings["quick"]:
        yield "**A quick run: few rounds, cheap rows only.**"


def _rows(table: TableResult, group: str) -> Iterator[str]:
    if group:
        yield from (f"### {group[0].upper()}{group[1:]}", "")
    yield "| | images/s | quartiles | GB/s | of the floor | first call | work and remarks |"
    yield "|---|---|---|---|---|---|---|"
    rows = [row for row in table.rows if row.group == group]
    yield from (_row(row, table.rows) for row in sorted(rows, key=lambda row: row.seconds))
    yield ""


def _row(row: Row, rows: list[Row]) -> str:
    low, high = row.quartiles
    floor, rate = floor_of(row, rows), gigabytes_a_second(row)
    share = "" if floor is None or floor is row else f"{share_of_floor(row, floor):.0%}"
    name = f"**{row.name}**" if row.kind == "ours" else row.name
    remarks = [row.note] if row.note else []
    remarks += [f"{key} {value:g}" for key, value in row.figures.items() if key != BYTES]
    return (
        f"| {name} | {row.rate:,.0f} | {low:,.0f} to {high:,.0f} | "
        f"{'' if rate is None else f'{rate:,.1f}'} | {share} | {row.first_call_s:.2f} s | "
        f"{'; '.join(remarks)} |"
    )


def _absent(rows: list[Absent]) -> Iterator[str]:
    left_out = [absent.name for absent in rows if absent.reason == LEFT_OUT]
    for absent in rows:
        if absent.reason != LEFT_OUT:
            yield f"- {absent.name}: {absent.reason}"
    if left_out:
        yield f"- {LEFT_OUT}: {', '.join(left_out)}"
    yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 2 if there is no such device."""
    parser = argparse.ArgumentParser("python -m fusewarp.benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="cheap rows, few rounds")
    parser.add_argument("--batch", type=int, default=256, help="pictures of one launch")
    parser.add_argument("--device", default="cuda:0", help='"cuda:0", "cuda:1" and so on')
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch must be 1 or more, got {options.batch}")
    try:
        choice = choose_device(options.device)
    except ValueError as error:
        parser.error(f"--device: {error}")
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    if choice.kind != "cuda":
        parser.error(f'--device must be a CUDA device such as "cuda:0", got {options.device!r}')
    result = run_gpu_bench(choice, options.batch, QUICK if options.quick else FULL)
    report = write_gpu_report(result, options.out)
    print(report.read_text(encoding="utf-8"))
    print(f"Written to {report}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
