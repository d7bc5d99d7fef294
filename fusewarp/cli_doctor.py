"""`fusewarp doctor`: what is installed and found on this machine, and what to do about the rest.

Each part returns facts, ready for JSON, and problems; the lines for people are made of both.
TensorFlow and the like are looked up in the list of installed packages, never imported.
"""

import json
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from numba import config
from numba.core.registry import cpu_target

from .engine.devices import DeviceError, cuda_devices, cuda_driver_version
from .engine.threads import available_threads
from .kernels.cache import FOLDER, OFF, kernel_folder, why_off
from .kernels.usual import missing_calls

EXAMPLES = """[bold]Examples[/bold]

fusewarp doctor

fusewarp doctor --json > doctor.json"""

MEGABYTE, GIB = 1e6, 2**30
KERNELS, CUDA, DECODE = "kernel_cache", "cuda", "decoders"
ABSENT = {"frameworks": "not installed", DECODE: "not installed"}
X86_FEATURES = ("avx2", "avx512f", "f16c")
FRAMEWORKS = {  # what to call it where it is missing, and the packages that bring it
    "tensorflow": r"tensorflow(-cpu|-gpu|-macos)?|tf-nightly.*",
    "keras": r"keras|keras-nightly",
    "torch": r"torch",
    "jax": r"jax",
    "cupy": r"cupy(-cuda\w+|-rocm.*)?",
}
NVIMGCODEC, NVJPEG = r"nvidia-nvimgcodec-cu(12|13)", r"nvidia-nvjpeg(-cu12)?"
DECODERS = {
    "simplejpeg": r"simplejpeg",
    "opencv": r"opencv(-contrib)?-python(-headless)?",
    "nvidia-nvimgcodec": NVIMGCODEC,  # decodes on a CUDA device
}
TOOLKIT = r"nvidia-.*(nvvm|nvrtc|nvcc).*"
OWN_TOOLKIT = ("CUDA_HOME", "CUDA_PATH")
CUDA_EXTRA = 'pip install "fusewarp[cuda]"'
NVIMGCODEC_EXTRA = 'pip install "fusewarp[nvimgcodec]"'


@dataclass(frozen=True)
class Problem:
    """What is not as it could be, and the remedy; `is_broken`: fusewarp needs it."""

    part: str
    problem: str
    remedy: str
    is_broken: bool = False


Facts = dict[str, Any]
Findings = tuple[Facts, list[Problem]]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what fusewarp finds on this machine: processor, kernels, CUDA, frameworks, versions.

    A line that begins with ! is a problem, with its remedy. The exit code is 1 only if something is
    broken that fusewarp needs; to have no GPU is no illness.
    """
    facts, problems = examine()
    if as_json:
        said = {**facts, "problems": [asdict(problem) for problem in problems]}
        typer.echo(json.dumps(said, indent=2))
    else:
        for line in describe(facts, problems):
            typer.echo(line)
    broken = [f"{each.problem} {each.remedy}" for each in problems if each.is_broken]
    if broken:
        raise OSError(" ".join(broken))


def examine() -> tuple[dict[str, Facts], list[Problem]]:
    """Return the facts of each part, and the problems of all."""
    installed = installed_packages()
    parts: dict[str, Callable[[], Findings]] = {
        "versions": lambda: (_versions(installed), []),
        "processor": lambda: (_processor(), []),
        KERNELS: _kernel_cache,
        CUDA: lambda: _cuda(installed),
        "frameworks": lambda: (_find(FRAMEWORKS, installed), []),
        DECODE: lambda: _decoders(installed),
    }
    findings = {name: examine_part() for name, examine_part in parts.items()}
    facts = {name: found for name, (found, _) in findings.items()}
    return facts, [problem for _, problems in findings.values() for problem in problems]


def describe(facts: dict[str, Facts], problems: list[Problem]) -> Iterator[str]:
    """Make lines for people of what `examine` returned."""
    for part, found in facts.items():
        yield part.replace("_", " ")
        for name, value in found.items():
            said = ABSENT.get(part, "none") if value is None else _say(value)
            yield f"  {name.replace('_', ' '):20} {said}"
        for each in problems:
            if each.part == part:
                yield f"  ! {each.problem} {each.remedy}"


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(map(_say, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_say(each)}" for name, each in value.items())
    return str(value)


def installed_packages() -> dict[str, str]:
    """Return the version of each installed distribution, by its name in small letters."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        about = package.metadata
        if about and "Name" in about:  # a package that was half removed has none
            name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
            found.setdefault(name, package.version)
    return found


def _matching(pattern: str, installed: dict[str, str]) -> dict[str, str]:
    return {name: installed[name] for name in sorted(installed) if re.fullmatch(pattern, name)}


def _find(wanted: dict[str, str], installed: dict[str, str]) -> Facts:
    found: Facts = {}
    for name, pattern in wanted.items():
        matching = _matching(pattern, installed)
        found.update(matching if matching else {name: None})
    return found


def _versions(installed: dict[str, str]) -> Facts:
    from . import __version__

    packages = {name: installed.get(name) for name in ("numpy", "numba", "llvmlite")}
    python = platform.python_version()
    return {"fusewarp": __version__, "python": python, **packages, "system": platform.platform()}


def _processor() -> Facts:
    from .benchmarks.machine import describe_machine

    triple, compiled_for, features = cpu_target.target_context.codegen().magic_tuple()
    if triple.startswith(("aarch64", "arm64")):
        vectors = {"neon": True}  # every one of them has it
    else:
        vectors = {name: f"+{name}" in features.split(",") for name in X86_FEATURES}
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "model": describe_machine()["cpu"],
        "compiled_for": compiled_for,
        "vectors": vectors,
        "cores": os.cpu_count(),
        "cores_by_affinity": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": available_threads(),  # what a cgroup quota leaves of these
    }


def _kernel_cache() -> Findings:
    folder = kernel_folder()
    problems = list(_jit_problems())
    if folder is None:
        problems.append(_cache_is_off())
        return {"folder": None, "is_writable": False}, problems
    files = [file.stat().st_size for file in folder.glob("*.kernel")]
    missing = None if config.DISABLE_JIT else len(missing_calls())
    why_not = why_not_writable(folder)
    facts = {
        "folder": str(folder),
        "kept": len(files),
        "megabytes": round(sum(files) / MEGABYTE, 1),
        "is_writable": not why_not,
        "missing": missing,
    }
    if missing:
        problems.append(_missing(missing, why_not))
    return facts, problems


def _jit_problems() -> Iterator[Problem]:
    if config.DISABLE_JIT:
        what = "NUMBA_DISABLE_JIT makes kernels run as plain Python, hundreds of times slower."
        yield Problem(KERNELS, what, "Unset it.")


def _cache_is_off() -> Problem:
    is_wanted = os.environ.get(OFF) != "0"
    remedy = "Until then each process compiles." if is_wanted else f"Unset {OFF} to keep them."
    return Problem(KERNELS, f"Compiled kernels are not kept. {why_off()}", remedy, is_wanted)


def _missing(count: int, why_not_writable: str) -> Problem:
    """Say that usual calls have to compile: once, or, where nothing can be kept, each time."""
    what = f"{count} usual calls would have to compile"
    if why_not_writable:
        remedy = f"Name another folder in {FOLDER}, or run fusewarp warmup as who may write there."
        return Problem(KERNELS, f"{what} each time: {why_not_writable}.", remedy, True)
    return Problem(KERNELS, f"{what} once.", "Do it ahead: fusewarp warmup")


def why_not_writable(folder: Path) -> str:
    """Say why no file can be written to a folder, made if need be; an empty string if one can.

    Nothing is left behind.
    """
    try:
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryDirectory(dir=nearest):
            return ""
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def _cuda(installed: dict[str, str]) -> Findings:
    toolkit = _matching(TOOLKIT, installed)
    driver = cuda_driver_version()
    facts: Facts = {
        "numba-cuda": installed.get("numba-cuda"),
        "driver": None if driver is None else f"for CUDA {driver[0]}.{driver[1]}",
        "driver_release": driver_release(),
        "devices": [],
        "toolkit": toolkit,
    }
    problems = []
    try:
        facts["devices"] = [_card(card) for card in cuda_devices()]
    except DeviceError as error:
        problems.append(Problem(CUDA, error.problem, error.remedy))
    has_own = any(os.environ.get(name) for name in OWN_TOOLKIT)
    if facts["numba-cuda"] and not toolkit and not has_own:
        what = "No CUDA compiler is found, neither in packages nor in CUDA_HOME."
        problems.append(Problem(CUDA, what, f"Write: {CUDA_EXTRA}"))
    return facts, problems


def _decoders(installed: dict[str, str]) -> Findings:
    found = _find(DECODERS, installed)
    has_own = any(os.environ.get(name) for name in OWN_TOOLKIT)
    problems = []
    if _matching(NVIMGCODEC, installed) and not _matching(NVJPEG, installed) and not has_own:
        what = "nvImageCodec decodes no JPEG on a CUDA device without nvJPEG, which is not found."
        problems.append(Problem(DECODE, what, f"Write: {NVIMGCODEC_EXTRA}"))
    return found, problems


def _card(card: Any) -> Facts:
    major, minor = card.compute_capability
    return {
        "cuda": card.index,
        "name": card.name,
        "compute_capability": f"{major}.{minor}",
        "memory_gib": round(card.total_bytes / GIB, 1),
    }


def driver_release() -> str | None:
    """Return the number of NVIDIA's driver, such as 570.86.15, where Linux tells it."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return None
