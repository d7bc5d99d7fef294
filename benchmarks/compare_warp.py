"""Interleave the warp, its peer and its floor in one process, and print medians and ratios.

python benchmarks/compare_warp.py [--quick] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

from warp_cases import COUNT, TITLE, make_cases

PACKAGES = ("fusewarp", "numpy", "numba", "llvmlite", "opencv-python")
FLOOR = "convert only (the floor)"


def first_calls(cases) -> dict[str, float]:
    """Call each case once: compiling is a figure of its own, never part of the timing."""
    seconds = {}
    for name, call in cases.items():
        began = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - began
    return seconds


def interleave(cases, rounds: int) -> dict[str, list[float]]:
    """Time every case once a round, so that a busy second hits all of them."""
    times = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return times


def summarise(times: dict[str, list[float]]) -> list[dict[str, float | str]]:
    """Return a row per case: median and quartiles in ms a picture, images/s, ratio to the floor.

    The ratio is the median over rounds of (case / floor in the same round).
    """
    rows = []
    for name, seconds in times.items():
        low, median, high = (1e3 * q / COUNT for q in statistics.quantiles(seconds, n=4))
        ratios = [own / floor for own, floor in zip(seconds, times[FLOOR], strict=True)]
        rows.append(
            {
                "case": name,
                "ms_per_image": median,
                "quartiles_ms": [low, high],
                "images_per_second": 1e3 / median,
                "times_the_floor": statistics.median(ratios),
            }
        )
    return rows


def describe_machine() -> dict[str, object]:
    """Say where the figures come from."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1] for line in info.open() if line.startswith("model name")]
        cpu = names[0].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
    }


def print_table(rows, machine) -> None:
    """Print the rows and where they come from."""
    print(TITLE)
    print(f"{'':36}{'ms/image':>10}{'quartiles':>18}{'images/s':>12}{'x floor':>10}")
    for row in rows:
        low, high = row["quartiles_ms"]
        print(
            f"{row['case']:36}{row['ms_per_image']:10.3f}{f'{low:.3f} - {high:.3f}':>18}"
            f"{row['images_per_second']:12,.0f}{row['times_the_floor']:10.2f}"
        )
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    print(f"{machine['cpu']}, {machine['cores']} cores; {versions}")
    if machine["load"] and machine["load"][0] > 1.5:
        print(f"The machine is busy (load {machine['load'][0]:.1f}): trust ratios, not times.")


def main() -> None:
    """Run, print, and write the JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="7 rounds instead of 25")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    cases = make_cases()
    compiled = first_calls(cases)
    rows = summarise(interleave(cases, 7 if arguments.quick else 25))
    machine = describe_machine()
    print_table(rows, machine)
    print(f"First call, with compiling: {compiled['fusewarp.kernels.warp']:.1f} s")
    if arguments.json:
        report = {"title": TITLE, "rows": rows, "first_call_s": compiled, "machine": machine}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
