"""That CUDA is asked for before it is touched, and what is said where there is none."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusewarp import Augmenter, Policy

ROOT = Path(__file__).parents[2]
ROOMS = ("kernels", "engine", "integrations", "benchmarks", "fusewarp")
OUTSIDERS = ("numba.cuda", "numba_cuda", "cuda.bindings", "tensorflow", "torch", "jax", "cupy")


def imported_modules(path):
    """Yield the names that a file imports from outside of fusewarp."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_cuda(name):
    return name.split(".")[:2] == ["numba", "cuda"] or name.split(".")[0] in ("numba_cuda", "cuda")


def test_one_file_imports_numba_cuda():
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 50
    found = [path for path in files if any(map(is_cuda, imported_modules(path)))]
    assert [str(path.relative_to(ROOT)) for path in found] == [str(Path("kernels", "cuda.py"))]


@pytest.mark.parametrize(
    "code",
    [
        "import fusewarp",
        "import fusewarp.engine",
        "import fusewarp.engine.cuda_pipeline, fusewarp.engine.device_arrays",
        "import fusewarp; fusewarp.Augmenter(fusewarp.Policy())",
    ],
)
def test_nothing_of_others_is_imported_unasked(code):
    code += f"; import sys; print([name for name in {OUTSIDERS} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_simulator_is_refused_with_the_compiler_on():
    """A compiled function of a pixel, called from the simulator's Python, would crash it."""
    pytest.importorskip("numba_cuda", reason="the simulator comes with numba-cuda")
    code = "import fusewarp; fusewarp.Augmenter(fusewarp.Policy(), device='cuda')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "set NUMBA_DISABLE_JIT=1 as well" in done.stderr.splitlines()[-1]


def test_without_a_driver_the_remedy_is_named():
    """In a process of its own, from which CUDA is hidden, whatever this machine has."""
    code = (
        "import fusewarp\n"
        "from fusewarp.engine.devices import DeviceError\n"
        "assert fusewarp.Augmenter(fusewarp.Policy(), device='auto').device.kind == 'cpu'\n"
        "try: fusewarp.Augmenter(fusewarp.Policy(), device='cuda')\n"
        "except DeviceError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"NUMBA_DISABLE_CUDA": "1", "PATH": "", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'or use device="cpu".' in done.stdout


def test_bfloat16_is_for_cuda():
    pytest.importorskip("ml_dtypes")
    with pytest.raises(TypeError, match="one of uint8, float16, float32 on cpu, got bfloat16"):
        Augmenter(Policy(), dtype="bfloat16")
