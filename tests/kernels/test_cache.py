"""Compiled loops on disk: found again, never stale, never in the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba import config

from fusewarp.kernels import cache
from fusewarp.kernels.vector import make_row_locator

if config.DISABLE_JIT:
    pytest.skip("nothing is compiled, nothing is kept", allow_module_level=True)

SCRIPT = """
import json, sys
import numba
import numpy as np
cache_dir = numba.config.CACHE_DIR
from fusewarp.kernels import vector, warp
images = np.random.default_rng(0).integers(0, 256, (1, 7, 9, 3), np.uint8)
maps = np.array([[[0.9, 0.3, -4], [-0.3, 0.9, 5]]], np.float32)
report = {"cache_dir": numba.config.CACHE_DIR == cache_dir}
for mode, code in (("reflect", 2), ("nearest", 1)):
    out = np.empty((1, 5, 6, 3), np.float32)
    warp(images, maps, out, fill_mode=mode)
    loop = vector.make_rgb_loop(code, True, False)
    report[mode] = [sum(loop.stats.cache_hits.values()), float(out.sum())]
print(json.dumps(report))
"""


def run(folder, **environment):
    path = os.pathsep.join(part for part in sys.path if part)
    own = {"PYTHONPATH": path, "FUSEWARP_CACHE": "1", "FUSEWARP_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hits(report):
    return [report[mode][0] for mode in ("reflect", "nearest")]


def sums(report):
    return [report[mode][1] for mode in ("reflect", "nearest")]


def test_a_second_process_compiles_nothing_and_a_damaged_file_is_replaced(tmp_path):
    folder = tmp_path / "new" / "cache"
    first = run(folder)
    files = sorted(folder.iterdir())
    second = run(folder)
    assert first["cache_dir"]
    assert {file.suffix for file in files} == {".kernel"}
    assert (hits(first), hits(second)) == ([0, 0], [1, 1])
    assert sums(first) == sums(second)
    assert sums(first)[0] != sums(first)[1]
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    third = run(folder)
    assert hits(third) == [0, 0]
    assert sums(third) == sums(first)
    assert hits(run(folder)) == [1, 1]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    report = run(tmp_path / "file" / "cache")
    assert hits(report) == [0, 0]


def test_the_cache_can_be_turned_off(tmp_path):
    run(tmp_path / "cache", FUSEWARP_CACHE="0")
    assert not (tmp_path / "cache").exists()


def test_the_fingerprint_changes_with_any_file_and_with_versions(tmp_path, monkeypatch):
    for file in cache.SOURCES.glob("*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stamps = [cache.fingerprint(cache.SOURCES), cache.fingerprint(tmp_path)]
    assert stamps[0] == stamps[1]
    with (tmp_path / "pixel.py").open("a") as file:
        file.write("# edited\n")
    stamps.append(cache.fingerprint(tmp_path))
    monkeypatch.setattr(numba, "__version__", "0.1")
    stamps.append(cache.fingerprint(tmp_path))
    monkeypatch.setattr(config, "BOUNDSCHECK", 7)
    stamps.append(cache.fingerprint(tmp_path))
    assert len(set(stamps)) == 4


def test_loops_that_differ_by_what_they_close_over_differ_by_name():
    names = {repr(cache.describe(make_row_locator(code))) for code in range(5)}
    assert len(names) == 5
    assert not any(" at 0x" in name for name in names)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FUSEWARP_CACHE_DIR": "here", "XDG_CACHE_HOME": "there"}, Path("here")),
        ({"XDG_CACHE_HOME": "there"}, Path("there/fusewarp")),
        ({"LOCALAPPDATA": "windows"}, Path("windows/fusewarp")),
        ({}, Path.home() / ".cache" / "fusewarp"),
    ],
)
def test_cache_folder_follows_the_environment(environment, expected, monkeypatch):
    for name in ("FUSEWARP_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_folder() == expected
