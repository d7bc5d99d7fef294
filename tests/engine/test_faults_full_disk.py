"""A disk that fills, and a process that is killed: what was written is used again, and is right."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fusewarp import FolderSource, PackedSource, TarSource
from fusewarp.engine import pack_format, pack_journal, packing, shard_index
from fusewarp.engine.pack_journal import JOURNAL
from fusewarp.engine.packing import pack
from oracles.full_disk import ROOT, Disk, hashes
from oracles.shards import records, write_shard

SIZE = (24, 20)
IMAGE_BYTES = 24 * 20 * 3


@pytest.fixture(autouse=True)
def blocks_of_three(monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 3 * IMAGE_BYTES)


@pytest.fixture
def source(photo_folder) -> FolderSource:
    return FolderSource(photo_folder)  # 11 photos: blocks of 3, 3, 3 and 2


@pytest.fixture
def undisturbed(source, tmp_path) -> dict[str, str]:
    pack(source, tmp_path / "undisturbed", size=SIZE)
    return hashes(tmp_path / "undisturbed")


@pytest.fixture
def disk_of(monkeypatch):
    """Return a function that gives the disk so many bytes."""

    def disk_of(room):
        disk = Disk(room)
        for module in (packing, pack_format, pack_journal, shard_index):
            monkeypatch.setattr(module, "open", disk.open, raising=False)
        return disk

    return disk_of


def test_a_disk_that_fills_at_any_byte(source, tmp_path, disk_of, undisturbed):
    disk = disk_of(10**9)
    pack(source, tmp_path / "out", size=SIZE)
    total = disk.written
    assert hashes(tmp_path / "out") == undisturbed
    rooms = [0, 1, *random.Random(4).sample(range(total), 25), total - 1]
    for room in rooms:
        out = tmp_path / f"out{room}"
        disk_of(room)
        with pytest.raises(OSError, match=r"No space left on device") as told:
            pack(source, out, size=SIZE, threads=2)
        assert str(out) in str(told.value)
        assert "make room and start again" in str(told.value)
        assert not out.exists()
        with pytest.raises((ValueError, FileNotFoundError)):
            PackedSource(out.with_name(out.name + ".partial"))
        disk_of(10**9)
        pack(source, out, size=SIZE)
        assert hashes(out) == undisturbed


def test_a_disk_that_fills_again_and_again(source, tmp_path, disk_of, undisturbed):
    out, times = tmp_path / "out", 0
    while not out.exists():
        disk_of(5000)  # a block, and a little
        times += 1
        with contextlib.suppress(OSError):
            pack(source, out, size=SIZE)
    assert times > 3
    assert hashes(out) == undisturbed


@pytest.mark.parametrize("room", [0, 100, 1000])
def test_a_disk_that_fills_while_an_index_is_written(tmp_path, disk_of, room):
    shard = write_shard(tmp_path / "s.tar", records(20))
    disk_of(room)
    with pytest.raises(ValueError, match=r"The index .* cannot be written \(No space left") as told:
        TarSource(shard, "cls", index_folder=tmp_path / "indices")
    assert "`index_folder`" in str(told.value)
    assert os.listdir(tmp_path / "indices") == []
    disk_of(10**9)
    assert len(TarSource(shard, "cls", index_folder=tmp_path / "indices")) == 20


@pytest.mark.skipif(shutil.which("unshare") is None, reason="mounts a disk of its own")
@pytest.mark.slow
def test_a_real_disk_that_fills(source, tmp_path, monkeypatch):
    shard = write_shard(tmp_path / "s.tar", records(3))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size=320k none '{disk}' && exec"
    if subprocess.run(["unshare", "-rm", "sh", "-c", f"{mounted} true"]).returncode:
        pytest.skip("may not mount a disk here")
    child = f"{mounted} '{sys.executable}' tests/oracles/full_disk.py '{disk}' "
    child += f"'{source.folder}' '{shard}'"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", child], cwd=ROOT, stdout=subprocess.PIPE)
    told = json.loads(done.stdout)
    for blocks, num_packed in ((1, 3), (2, 9)):
        kind, message = told[f"pack {blocks}"]
        assert kind == "OSError"
        assert f"No space left on device. {num_packed} of 11 files are packed" in message
        assert not told[f"finished {blocks}"]
    assert told["tar"][0] == "ValueError"
    assert "s.tar" in told["tar"][1]
    assert told["listing"][0] == "OSError"
    assert "photos.index cannot be written (No space left on device)" in told["listing"][1]
    for name in ("tar", "listing"):
        assert (told[f"{name} left"], told[f"{name} again"]) == ([], None)
    assert told["pack again"] is None
    monkeypatch.setattr(packing, "BLOCK_BYTES", 3 * 64 * 64 * 3)
    pack(source, tmp_path / "expected", size=64)
    assert told["hashes"] == hashes(tmp_path / "expected")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_killed_at_random_moments(source, tmp_path, undisturbed):
    began = time.monotonic()
    pack(source, tmp_path / "timed", size=SIZE, threads=2)
    seconds = time.monotonic() - began
    rng, kills, left, number = random.Random(11), 0, set(), 0
    while kills < 4 or len(left) < 2:  # at different stages
        number += 1
        assert number < 40
        out, patience = tmp_path / f"out{number}", seconds
        while not out.exists():
            was_killed = killed_while_packing(source, out, rng.uniform(0.1, 0.9) * patience)
            kills += was_killed
            patience *= 1.3  # a child may need longer than this process did
            if was_killed and not out.exists():
                left.add(blocks_of(out))
                with pytest.raises((ValueError, FileNotFoundError)):
                    PackedSource(out.with_name(out.name + ".partial"))
        found = hashes(out)
        found.pop(JOURNAL, None)  # killed after the last rename, before it was removed
        assert found == undisturbed
        PackedSource(out).verify()


def killed_while_packing(source, out, seconds) -> bool:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            pack(source, out, size=SIZE, threads=2)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def blocks_of(out) -> int:
    journal = out.with_name(out.name + ".partial") / JOURNAL
    return journal.read_bytes().count(b"\n") if journal.exists() else -1
