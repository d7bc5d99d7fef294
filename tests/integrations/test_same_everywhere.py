"""2,048 real tiles: the same pixels in each format and through each engine, also when killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from oracles import everywhere

COUNT = 2048
NEEDS = {
    "parquet": "pyarrow",
    "tfrecord": "google_crc32c",
    "array_record": "array_record",
    "tensorflow": "tensorflow",
    "grain": "grain",
    "grain, 2 workers": "grain",
    "ray": "ray",
    "torch": "torch",
    "torch, 2 workers": "torch",
    "jax": "jax",
}
FORMATS = list(everywhere.WRITERS)
RUNS = [
    *(("loader", format) for format in FORMATS),
    *((engine, "tar") for engine in everywhere.ENGINES if engine != "loader"),
]
TESTS = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def skip_without(*names: str) -> None:
    for name in names:
        if name in NEEDS and find_spec(NEEDS[name]) is None:  # imported by the child alone
            pytest.skip(f"{NEEDS[name]} is not installed")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The tiles, and what each of them is in each epoch."""
    folder = tmp_path_factory.mktemp("everywhere")
    tiles = everywhere.write_tiles(folder, COUNT)
    source = everywhere.open_source("folder", folder)
    expected = set()
    for epoch in range(everywhere.EPOCHS):
        expected |= everywhere.reference(source, epoch)
    assert len(expected) == COUNT * everywhere.EPOCHS
    assert len({pixels for *_, pixels in expected}) > 0.99 * len(expected)
    return folder, tiles, expected


@pytest.fixture(scope="module")
def written(data):
    """Return a function that writes a format once and returns the folder."""
    folder, tiles, _ = data
    done = set()

    def write(format):
        if format not in done:
            everywhere.WRITERS[format](folder, tiles)
            done.add(format)
        return folder

    return write


@pytest.fixture(scope="module", autouse=True)
def no_leftovers():
    """Keep Ray's files in a folder with a short path; let go what killed workers cannot."""
    before = shared_blocks()
    with pytest.MonkeyPatch.context() as patch:
        folder = tempfile.mkdtemp(prefix="fwray")  # its sockets need a short path
        patch.setenv("RAY_FOLDER", folder)
        yield
    shutil.rmtree(folder, ignore_errors=True)
    for block in shared_blocks() - before:
        block.unlink(missing_ok=True)


def shared_blocks() -> set[Path]:
    """Return the shared memory of Python's processes."""
    return set(Path("/dev/shm").glob("psm_*"))


def start(engine, format, folder, log):
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "FUSEWARP_CACHE": "1"}
    environment["FUSEWARP_CACHE_DIR"] = str(folder / "kernels")  # compiled once, by the first child
    command = [sys.executable, "-m", "oracles.everywhere", engine, format, str(folder), str(log)]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(child):
    said = child.communicate(timeout=300)[1]
    assert child.returncode == 0, said[-2000:]


def kill_after(child, log, lines):
    """Kill the child and all that it started once it has logged so many batches."""
    while child.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < lines):
        time.sleep(0.005)
    assert child.poll() is None, child.communicate()[1][-2000:]
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


@pytest.mark.parametrize(("engine", "format"), RUNS)
def test_three_epochs_have_the_same_pixels_also_when_killed(
    engine, format, data, written, tmp_path
):
    skip_without(engine, format)
    folder, expected, log = written(format), data[2], tmp_path / "log"
    rng = random.Random(f"{engine} {format}")
    num_batches = COUNT // everywhere.BATCH * everywhere.EPOCHS
    kill_after(start(engine, format, folder, log), log, rng.randrange(1, num_batches - 20))
    killed_at = log.read_bytes().count(b"\n")
    finish(start(engine, format, folder, log))

    rows = everywhere.rows_of(log)
    assert killed_at < num_batches
    assert len(rows) == len(expected)  # nothing twice
    assert set(rows) == expected  # nothing lost, nothing changed
