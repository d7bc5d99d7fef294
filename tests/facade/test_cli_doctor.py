"""`fusewarp doctor`: what it finds is so, every problem has a remedy, and little makes it fail."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from typer.testing import CliRunner

import fusewarp
from fusewarp import cli_doctor
from fusewarp.cli import app
from fusewarp.cli_doctor import installed_packages
from fusewarp.engine import devices
from fusewarp.kernels import cache
from fusewarp.kernels.usual import GROUPS

RUNNER = CliRunner()
GIB = 2**30
MODULES = "('tensorflow', 'keras', 'torch', 'jax', 'cupy')"
FRESH = f"""
import sys
sys.argv = ["fusewarp", "doctor", "--json"]
from fusewarp.cli import main
try:
    main()
finally:
    print([name for name in {MODULES} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Let there be no GPU, no decoder for it, and a folder for kernels that seems to lack none."""
    monkeypatch.setenv("FUSEWARP_CACHE", "1")
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(cli_doctor.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(cli_doctor, "missing_calls", list)
    packages = installed_packages()
    others = {name: packages[name] for name in packages if "nvimgcodec" not in name}
    monkeypatch.setattr(cli_doctor, "installed_packages", lambda: others)
    have_no_cards(monkeypatch)


def have_no_cards(monkeypatch):
    def refuse():
        raise devices.DeviceError("No card.", "Buy one.")

    monkeypatch.setattr(cli_doctor, "cuda_devices", refuse)
    monkeypatch.setattr(cli_doctor, "cuda_driver_version", lambda: None)


def lines(exit_code=0):
    """Run the command for people; return its lines, without the spaces that align them."""
    result = RUNNER.invoke(app, ["doctor"])
    assert result.exit_code == exit_code, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def facts(exit_code=0):
    result = RUNNER.invoke(app, ["doctor", "--json"])
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


# --- as it is


def test_a_fresh_process_prints_json_and_imports_no_framework(tmp_path):
    hidden = ("NUMBA_DISABLE_JIT", "NUMBA_ENABLE_CUDASIM")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    kept["PYTHONPATH"] = os.pathsep.join(part for part in sys.path if part)

    done = subprocess.run(
        [sys.executable, "-c", FRESH], env=kept, capture_output=True, text=True, check=True
    )

    said = json.loads(done.stdout)
    assert done.stderr == "[]\n"
    assert said["kernel_cache"]["missing"] == sum(1 for calls in GROUPS.values() for _ in calls())
    assert said["kernel_cache"]["folder"] == str(tmp_path / "kernels" / cache.STAMP)
    assert list(tmp_path.iterdir()) == []  # it looked, and left nothing


def test_versions_are_those_that_run():
    versions = facts()["versions"]
    assert versions["fusewarp"] == fusewarp.__version__
    assert versions["python"] == platform.python_version()
    assert (versions["numpy"], versions["numba"]) == (np.__version__, numba.__version__)


def test_threads_and_vectors_are_those_that_fusewarp_has(monkeypatch):
    monkeypatch.setattr(cli_doctor, "available_threads", lambda: 3)
    codegen = SimpleNamespace(magic_tuple=lambda: ("x86_64-linux", "old", "+avx2,-avx512f,+f16c"))
    target = SimpleNamespace(target_context=SimpleNamespace(codegen=lambda: codegen))
    monkeypatch.setattr(cli_doctor, "cpu_target", target)
    said = lines()
    assert "threads 3" in said
    assert "compiled for old" in said
    assert "vectors avx2 yes, avx512f no, f16c yes" in said


def test_help_has_examples():
    result = RUNNER.invoke(app, ["doctor", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "fusewarp doctor --json" in result.output.split("Examples")[-1]


# --- kernels


def test_kept_kernels_are_counted(tmp_path):
    folder = tmp_path / "kernels" / cache.STAMP
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.kernel").write_bytes(bytes(500_000))
    (folder / "other.part").write_bytes(bytes(500_000))
    found = facts()["kernel_cache"]
    assert (found["kept"], found["megabytes"], found["is_writable"]) == (3, 1.5, True)


def test_missing_kernels_are_no_illness_but_have_a_remedy(monkeypatch):
    monkeypatch.setattr(cli_doctor, "missing_calls", lambda: ["a", "b"])
    assert "! 2 usual calls would have to compile once. Do it ahead: fusewarp warmup" in lines()


def test_a_folder_that_cannot_be_written_is_broken(tmp_path, monkeypatch):
    (tmp_path / "kernels").touch()
    monkeypatch.setattr(cli_doctor, "missing_calls", lambda: ["a", "b"])
    result = RUNNER.invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert f"{tmp_path}/kernels/{cache.STAMP} cannot be written (Not a dir" in result.stderr
    assert "FUSEWARP_CACHE_DIR" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    (broken,) = [each for each in json.loads(result.stdout)["problems"] if each["is_broken"]]
    assert broken["part"] == "kernel_cache"


def test_a_folder_that_somebody_else_filled_need_not_be_writable(tmp_path):
    (tmp_path / "kernels").touch()
    found = facts(exit_code=0)
    assert found["kernel_cache"]["is_writable"] is False
    assert [each["part"] for each in found["problems"]] == ["cuda"]


def test_a_cache_that_was_switched_off_is_no_illness(monkeypatch):
    monkeypatch.setenv("FUSEWARP_CACHE", "0")
    (line,) = [line for line in lines(exit_code=0) if "not kept" in line]
    assert line.startswith("! Compiled kernels are not kept. FUSEWARP_CACHE=0")
    assert line.endswith("Unset FUSEWARP_CACHE to keep them.")


def test_a_cache_without_a_home_is_broken(monkeypatch):
    def no_home():
        raise RuntimeError

    monkeypatch.delenv("FUSEWARP_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert any("set FUSEWARP_CACHE_DIR" in line for line in lines(exit_code=1))


def test_plain_python_is_said(monkeypatch):
    monkeypatch.setattr(cli_doctor.config, "DISABLE_JIT", 1)
    (line,) = [line for line in lines() if "NUMBA_DISABLE_JIT" in line]
    assert line.endswith("Unset it.")
    assert facts()["kernel_cache"]["missing"] is None


# --- CUDA


def test_cards_are_listed(monkeypatch):
    cards = [SimpleNamespace(index=1, name="H", compute_capability=(9, 0), total_bytes=80 * GIB)]
    monkeypatch.setattr(cli_doctor, "cuda_devices", lambda: cards)
    monkeypatch.setattr(cli_doctor, "cuda_driver_version", lambda: (12, 8))
    found = facts()
    card = {"cuda": 1, "name": "H", "compute_capability": "9.0", "memory_gib": 80.0}
    assert found["cuda"]["devices"] == [card]
    assert found["problems"] == []
    said = lines()
    assert "devices cuda 1, name H, compute capability 9.0, memory gib 80.0" in said
    assert "driver for CUDA 12.8" in said


def test_no_card_is_no_illness_and_its_reason_is_given():
    said = lines(exit_code=0)
    assert said[said.index("cuda") :].index("! No card. Buy one.") > 0
    assert "devices none" in said


def test_without_numba_cuda_the_way_to_it_is_said(monkeypatch):
    def refuse():
        raise ModuleNotFoundError("No module named 'numba_cuda'")

    monkeypatch.setattr(devices, "_import_cuda", refuse)
    monkeypatch.setattr(cli_doctor, "cuda_devices", devices.cuda_devices)
    monkeypatch.setattr(cli_doctor, "installed_packages", dict)
    said = lines()
    assert "numba-cuda none" in said
    assert any('pip install "fusewarp[cuda]"' in line for line in said)


@pytest.mark.parametrize(
    ("packages", "has_toolkit"),
    [
        ({}, False),
        ({"nvidia-cuda-runtime-cu12": "12.9"}, False),
        ({"nvidia-cuda-nvcc-cu12": "12.9", "nvidia-cuda-nvrtc-cu12": "12.9"}, True),
        ({"nvidia-nvvm": "13.0"}, True),
    ],
)
def test_a_compiler_that_is_missing_has_a_remedy(packages, has_toolkit, monkeypatch):
    for name in cli_doctor.OWN_TOOLKIT:
        monkeypatch.delenv(name, raising=False)
    installed = {"numba-cuda": "0.30", **packages}
    monkeypatch.setattr(cli_doctor, "installed_packages", lambda: installed)
    found = facts()
    said = [each for each in found["problems"] if "compiler" in each["problem"]]
    assert found["cuda"]["toolkit"] == (packages if has_toolkit else {})
    assert len(said) == (0 if has_toolkit else 1)
    monkeypatch.setenv("CUDA_HOME", "/usr/local/cuda")
    assert not [each for each in facts()["problems"] if "compiler" in each["problem"]]


# --- packages


def test_frameworks_are_found_by_any_of_their_packages(monkeypatch):
    installed = {
        "tensorflow-cpu": "2.20",
        "tensorflow-datasets": "4.9",
        "cupy-cuda12x": "13.4",
        "torchvision": "0.20",
        "opencv-python-headless": "4.10",
    }
    monkeypatch.setattr(cli_doctor, "installed_packages", lambda: installed)
    found = facts()
    assert found["frameworks"] == {
        "tensorflow-cpu": "2.20",
        "keras": None,
        "torch": None,
        "jax": None,
        "cupy-cuda12x": "13.4",
    }
    assert found["decoders"] == {
        "simplejpeg": None, "opencv-python-headless": "4.10", "nvidia-nvimgcodec": None,
    }  # fmt: skip
    assert "torch not installed" in lines()
    assert "nvidia-nvimgcodec not installed" in lines()


@pytest.mark.parametrize("nvjpeg", ["nvidia-nvjpeg-cu12", "nvidia-nvjpeg"])
def test_nvimgcodec_needs_nvjpeg(monkeypatch, nvjpeg):
    installed = {"nvidia-nvimgcodec-cu12": "0.8", "nvidia-nvimgcodec-cu13": "0.9"}
    monkeypatch.setattr(cli_doctor, "installed_packages", lambda: installed)
    for name in cli_doctor.OWN_TOOLKIT:
        monkeypatch.delenv(name, raising=False)

    def found():
        return [each["problem"] for each in facts()["problems"] if each["part"] == "decoders"]

    assert facts()["decoders"].items() >= installed.items()
    assert len(found()) == 1
    assert 'Write: pip install "fusewarp[nvimgcodec]"' in "".join(lines())
    installed[nvjpeg] = "12.4"
    assert found() == []
    del installed[nvjpeg]
    monkeypatch.setenv("CUDA_HOME", "/usr/local/cuda")
    assert found() == []


def test_installed_packages_are_named_as_on_the_index(tmp_path, monkeypatch):
    for name, version in (("Big_Name.x", "1.2"), ("other", "3")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
    (tmp_path / "half_removed-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed_packages() == {"big-name-x": "1.2", "other": "3"}
