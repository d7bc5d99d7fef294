"""Compile the CUDA kernels for three architectures, and read off the machine code what it costs.

Needs no GPU: numba-cuda makes PTX, `ptxas` machine code, `nvdisasm` text (wheels: numba-cuda[cu12],
nvidia-cuda-nvcc-cu12, nvidia-cuda-nvdisasm). Prints a Markdown table, or with ``--out`` writes the
table and a JSON file beside it. ``--every`` compiles all specialisations, which takes hours.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata, util
from itertools import combinations, product
from multiprocessing import get_context
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

import numpy as np

from fusewarp.kernels.codes import FILL_CODES, INTERPOLATION_CODES

from .cuda_sass import Code, read_code

ARCHITECTURES = ((7, 5), (8, 0), (9, 0))
WHEELS = {
    "ptxas": ("nvidia-cuda-nvcc-cu12", "nvidia-cuda-nvcc"),
    "nvdisasm": ("nvidia-cuda-nvdisasm", "nvidia-cuda-nvcc-cu12"),
}
# What `cuda.make_warp_kernel` can be told, axis by axis; the first is channels and source type.
AXES: tuple[tuple[Any, ...], ...] = (
    ((3, "uint8"), (3, "uint16"), (3, "float32"), (1, "uint8"), (4, "uint8")),
    ("float16", "float32", "bfloat16", "uint8"),
    ("HWC", "CHW"),
    ("nearest", "constant", "reflect", "mirror", "wrap"),
    ("bilinear", "nearest"),
    ("diagonal", "mixed"),
    (4, 1),
)
TARGET, LAYOUT, PIXELS = 1, 2, 6


class Case(NamedTuple):
    """One specialisation, in the words of `warp`; `pixels` are those of one thread."""

    source: tuple[int, str]
    target: str
    layout: str
    fill_mode: str
    interpolation: str
    colour: str
    pixels: int

    def __str__(self) -> str:
        channels, source = self.source
        words = (self.target, self.layout, self.fill_mode, self.interpolation, self.colour)
        return f"{channels} {source} {' '.join(words)} x{self.pixels}"


# Those that docs/cuda.md reckons with.
USUAL = tuple(
    Case((3, "uint8"), "float16", layout, "nearest", "bilinear", "diagonal", pixels)
    for layout in ("HWC", "CHW")
    for pixels in (4, 1)
)


class Row(NamedTuple):
    """What one specialisation is on one architecture."""

    case: Case
    architecture: str
    code: Code


def every_case() -> list[Case]:
    """Return all specialisations; one channel has no other to mix in."""
    cases = (Case(*values) for values in product(*AXES))
    return [case for case in cases if case.source[0] > 1 or case.colour == "diagonal"]


def parts_of(case: Case) -> Iterator[tuple[Any, ...]]:
    """Yield what has to occur together somewhere: all pairs, and what decides about the stores."""
    yield from combinations(enumerate(case), 2)
    yield ("stores", case.target, case.layout, case.pixels)


def covering_cases() -> list[Case]:
    """Return few cases, in which every two values of two axes meet; greedy, always the same."""
    cases, chosen = every_case(), list(USUAL)
    wanted = {part for case in cases for part in parts_of(case)}
    for case in chosen:
        wanted.difference_update(parts_of(case))
    while wanted:
        best = max(cases, key=lambda case: len(wanted.intersection(parts_of(case))))
        chosen.append(best)
        wanted.difference_update(parts_of(best))
    return chosen


def find_tool(name: str) -> str | None:
    """Return the path of a program from one of its wheels, or else from PATH."""
    for wheel in WHEELS[name]:
        try:
            files = metadata.files(wheel) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == name and file.parent.name == "bin":
                return str(file.locate())
    return which(name)


def what_is_missing() -> str | None:
    """Return why nothing can be compiled here, or None."""
    for variable in ("NUMBA_ENABLE_CUDASIM", "NUMBA_DISABLE_JIT"):
        if os.environ.get(variable, "0") != "0":
            return f"{variable} is set: nothing is compiled"
    if util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: pip install 'fusewarp[cuda]'"
    for name, wheels in WHEELS.items():
        if find_tool(name) is None:
            return f"{name} is neither in the wheel {wheels[0]} nor in PATH"
    return None


def make_ptx(case: Case, capability: tuple[int, int]) -> str:
    """Compile one specialisation by Numba."""
    from numba import from_dtype, types

    from fusewarp.kernels import cuda as kernels

    channels, source = case.source
    kind = kernels.Kind(
        channels=channels,
        is_whole=source != "float32",
        target=case.target,
        fill_mode=FILL_CODES[case.fill_mode],
        interpolation=INTERPOLATION_CODES[case.interpolation],
        is_mixed=case.colour == "mixed",
        is_planar=case.layout == "CHW",
        is_in_fours=case.pixels == kernels.FOUR,
    )

    def array(dtype: Any, axes: int) -> Any:
        return types.Array(from_dtype(np.dtype(dtype)), axes, "C")

    signature = (
        array(source, 1), array("int64", 1), array("int32", 2), array("int64", 3),
        array("float32", 3), array("float32", 3), types.float32, types.uint32, types.uint32,
        array(kernels.TARGETS[case.target][1], 1),
    )  # fmt: skip
    function = kernels.make_warp_kernel(kind).py_func
    compile_ptx = kernels.cuda.compile  # type: ignore[attr-defined]
    ptx, _ = compile_ptx(function, signature, device=False, abi="numba", cc=capability)
    return str(ptx)


def run_tool(name: str, *arguments: str) -> str:
    """Run `ptxas` or `nvdisasm` and return all that it printed.

    Raises
    ------
    RuntimeError
        If it is not found or fails, which it does when it is older than Numba's NVVM.
    """
    path = find_tool(name)
    if path is None:
        raise RuntimeError(f"`{name}` was not found; install the wheel {WHEELS[name][0]}.")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{path}` failed: {done.stderr.strip()}")
    return done.stdout + done.stderr


def measure(case: Case, capability: tuple[int, int]) -> Row:
    """Compile one specialisation for one architecture and read its machine code."""
    architecture = "sm_{}{}".format(*capability)
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder, "warp.ptx"), Path(folder, "warp.cubin")
        ptx.write_text(make_ptx(case, capability))
        usage = run_tool("ptxas", "-v", f"-arch={architecture}", str(ptx), "-o", str(cubin))
        sass = run_tool("nvdisasm", "-c", str(cubin))
    return Row(case, architecture, read_code(usage, sass))


def measure_all(cases: Iterable[Case], processes: int | None = None) -> list[Row]:
    """Measure cases for all architectures, in several processes; the order is that of the cases.

    Raises
    ------
    RuntimeError
        If something is missing here, or cases do not compile: names all of them.
    """
    reason = what_is_missing()
    if reason is not None:
        raise RuntimeError(reason)
    # A fresh interpreter each: threads of this one may hold locks.
    context = get_context("spawn")
    with ProcessPoolExecutor(processes or usable_processors(), mp_context=context) as pool:
        work = {
            (case, capability): pool.submit(measure, case, capability)
            for case, capability in product(cases, ARCHITECTURES)
        }
    failed = [
        f"{case}, {capability}: {error!r}"
        for (case, capability), future in work.items()
        if (error := future.exception()) is not None
    ]
    if failed:
        raise RuntimeError("\n".join([f"{len(failed)} of {len(work)} do not compile:", *failed]))
    return [future.result() for future in work.values()]


def usable_processors() -> int:
    """Return how many processors this process may use; not all systems tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def markdown(rows: Iterable[Row]) -> str:
    """Return a table of the rows."""
    heads = (
        "kernel", "arch", "registers", "warps", "spill", "instr./pixel", "branches",
        "loads", "stores", "float64", "local", "division", "XU/pixel", "I2FP/pixel",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for case, architecture, code in rows:
        cells = (
            case, architecture, code.registers, resident_warps(code.registers, architecture),
            code.spill_bytes, f"{code.instructions / case.pixels:.1f}", code.branches,
            in_words(code.loads), in_words(code.stores), code.float64, code.local, code.division,
            f"{code.conversions / case.pixels:.1f}", f"{code.fast_conversions / case.pixels:.1f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def in_words(counts: dict[str, int]) -> str:
    """Return what is counted by width: 12 of 8, 20 of 32."""
    return ", ".join(f"{count} of {width}" for width, count in counts.items())


# Of a multiprocessor: most warps; each has 65,536 registers.
MOST_WARPS = {"sm_75": 32, "sm_80": 64, "sm_89": 48, "sm_90": 64}


def resident_warps(registers: int, architecture: str) -> int:
    """Return how many warps, in blocks of four, a multiprocessor has registers for."""
    by_registers = 65536 // (32 * (-(-registers // 8) * 8))
    return min(MOST_WARPS[architecture], by_registers // 4 * 4)


def as_json(rows: Iterable[Row]) -> str:
    """Return the rows as a JSON list."""
    records = [
        {**case._asdict(), "architecture": architecture, **code._asdict()}
        for case, architecture, code in rows
    ]
    return json.dumps(records, indent=1) + "\n"


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description="What the CUDA kernels cost, without a GPU.")
    parser.add_argument("--out", type=Path, help="write FILE.md and FILE.json instead of printing")
    parser.add_argument("--every", action="store_true", help="all specialisations: hours")
    options = parser.parse_args()
    try:
        rows = measure_all(every_case() if options.every else covering_cases())
    except RuntimeError as error:
        sys.exit(str(error))
    if options.out is None:
        print(markdown(rows))
        print(as_json(rows))
    else:
        options.out.with_suffix(".md").write_text(markdown(rows))
        options.out.with_suffix(".json").write_text(as_json(rows))


if __name__ == "__main__":
    main()
