import subprocess
import sys
from pathlib import Path

import pytest

import fusewarp

ROOT = Path(__file__).parents[2]


def run(code: str, *, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd
    )
    return result.stdout.strip()


def test_import_brings_no_framework_in(tmp_path):
    code = (
        "import fusewarp, sys; print([name for name in "
        "('tensorflow', 'keras', 'torch', 'jax', 'pandas', 'matplotlib', 'typer', 'numba.cuda') "
        "if name in sys.modules])"
    )
    assert run(code, cwd=tmp_path) == "[]"


def test_import_starts_no_thread_and_opens_no_cuda(tmp_path):
    code = "import fusewarp, threading; print(threading.active_count())"
    assert run(code, cwd=tmp_path) == "1"


def test_runs_from_a_checkout_that_is_not_installed():
    if not (ROOT / "kernels").is_dir():
        pytest.fail("the test must run from a checkout")
    code = "import fusewarp; print(fusewarp.__file__, fusewarp.kernels.__name__)"
    expected = f"{ROOT / 'fusewarp' / '__init__.py'} fusewarp.kernels"
    assert run(code, cwd=ROOT) == expected


@pytest.mark.parametrize(
    "name",
    ["ArraySource", "Augmenter", "Batch", "FolderSource", "Loader", "PackedSource", "Policy"],
)
def test_public_names_are_documented(name):
    assert name in fusewarp.__all__
    assert len(getattr(fusewarp, name).__doc__) > 40


def test_types_are_shipped():
    assert (Path(fusewarp.__file__).parent / "py.typed").exists()
