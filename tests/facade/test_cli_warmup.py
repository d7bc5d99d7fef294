"""`fusewarp warmup`: afterwards nothing that is usual has to compile."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from fusewarp import cli_warmup
from fusewarp.cli import app
from fusewarp.kernels import cache
from fusewarp.kernels.compiling import Tally

RUNNER = CliRunner()

USUAL_WORK = """
import json
import numpy as np
from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.kernels.compiling import TALLY
from fusewarp.keras import ImageDataGenerator

options = dict(rotation_range=30, width_shift_range=0.1, zoom_range=0.2, horizontal_flip=True)
kinds = [(1, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.float32), (3, np.float32)]
for channels, dtype in kinds:
    images = np.random.default_rng(0).integers(0, 256, (8, 20, 30, channels)).astype(dtype)
    for fill_mode in ("nearest", "constant", "reflect", "wrap"):
        augmenter = Augmenter(Policy(**options, fill_mode=fill_mode, rescale=1 / 255))
        next(iter(Loader(ArraySource(images), augmenter, batch_size=8)))
        next(ImageDataGenerator(**options, fill_mode=fill_mode).flow(images, batch_size=8))
images = np.zeros((8, 20, 30, 3), np.uint8)
for dtype in ("float32", "float16", "uint8"):
    for layout in ("HWC", "CHW"):
        policy = Policy(rotation_range=30, brightness_range=(0.5, 1), saturation_range=(0, 1))
        Augmenter(policy, dtype=dtype, layout=layout).apply(images, np.arange(8))
for dtype in ("float32", "float16"):
    more = dict(brightness_range=(0.5, 1.5), channel_shift_range=9, samplewise_center=True)
    next(ImageDataGenerator(**options, **more, dtype=dtype).flow(images, batch_size=8))
print(json.dumps([TALLY.compiled, TALLY.loaded]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEWARP_CACHE", "1")
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in sys.path if part))
    return tmp_path


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_after_warmup_usual_work_compiles_nothing(folder):
    before = python("-m", "fusewarp", "warmup", "--check")
    done = python("-m", "fusewarp", "warmup")
    after = python("-m", "fusewarp", "warmup", "--check")
    again = python("-m", "fusewarp", "warmup")
    work = python("-c", USUAL_WORK)

    assert (before.returncode, done.returncode, after.returncode) == (1, 0, 0), done.stderr
    assert before.stdout.count("missing: warp") > 30
    assert before.stderr.count("\n") == 1
    assert done.stderr == ""
    kernels = len(list(folder.glob("*/*.kernel")))
    compiled = int(re.search(r"(\d+) kernels compiled in", done.stdout)[1])
    assert compiled >= kernels > 60  # two processes may have compiled the same part
    assert f"{kernels} kernels, " in done.stdout
    assert str(folder / cache.STAMP) in done.stdout
    assert "No usual call has to compile." in after.stdout
    assert "\n0 kernels compiled in" in again.stdout
    compiled, loaded = json.loads(work.stdout.splitlines()[-1])
    assert compiled == 0
    assert loaded > 10


def test_a_cache_that_is_off_is_said(monkeypatch):
    monkeypatch.setenv("FUSEWARP_CACHE", "0")
    result = RUNNER.invoke(app, ["warmup"])
    assert result.exit_code == 1
    assert "FUSEWARP_CACHE=0" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_compiled(folder, monkeypatch):
    (folder / "file").touch()
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(folder / "file"))
    result = RUNNER.invoke(app, ["warmup"])
    assert result.exit_code == 1
    assert "Not a directory" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_kernels_that_could_not_be_kept_are_said(folder, monkeypatch):
    tallies = iter([("one", Tally(compiled=3)), ("two", Tally(2, 5, 2, "No space left on device"))])
    monkeypatch.setattr(cli_warmup, "_warm_up_groups", lambda: tallies)
    result = RUNNER.invoke(app, ["warmup"])
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 2
    assert result.stderr == "2 kernels could not be kept: No space left on device\n"
