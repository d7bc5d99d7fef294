"""Disks that fill up: a pretended one of so many bytes, and a real one in memory."""

import errno
import hashlib
import io
import json
import os
import shutil
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Disk:
    """An `open` whose files may take `room` bytes together; then writing fails, as on a full disk.

    A write that does not fit whole is done in part, as the system does.
    """

    def __init__(self, room):
        self.room = room
        self.written = 0
        self._lock = threading.Lock()

    def open(self, path, mode="r", **options):
        if mode in ("r", "rb"):
            return open(path, mode, **options)
        raw = _Raw(path, mode.replace("b", ""))
        raw.disk = self
        return _File(io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw))

    def take(self, count):
        with self._lock:
            taken = min(count, self.room)
            self.room -= taken
            self.written += taken
        if count and not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return taken


class _Raw(io.FileIO):
    disk: Disk

    def write(self, data):
        data = memoryview(data).cast("B")
        return super().write(data[: self.disk.take(len(data))])


class _File:
    """What `open` returns, unknown to NumPy, which writes real files past their `write`."""

    def __init__(self, buffered):
        self._buffered = buffered

    def __getattr__(self, name):
        return getattr(self._buffered, name)

    def __iter__(self):
        return iter(self._buffered)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._buffered.close()


def hashes(folder):
    """Return a hash of each file of a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()
    }


def fill(folder, leave):
    """Write a file that leaves so many bytes of a disk; return its path."""
    ballast = Path(folder) / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        while (free := shutil.disk_usage(folder).free - leave) > 0:
            file.write(bytes(min(free, 2**16)))
    return ballast


def outcome_of(action):
    """Return what an action raised, as [type, message], or None."""
    try:
        action()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def work_on(disk, photos, shard):
    """Pack, index and list on a disk that fills meanwhile, then with room; tell what came."""
    from fusewarp import FolderSource, TarSource
    from fusewarp.engine import packing

    packing.BLOCK_BYTES = 3 * 64 * 64 * 3
    source, out = FolderSource(photos), Path(disk) / "out"
    told = {}

    def pack(progress=lambda count: None):
        packing.pack(source, out, size=64, threads=2, progress=progress)

    for blocks, leave in ((1, 9_000), (2, 40_000)):  # into the next block; behind it
        seen = []

        def fill_after(count, blocks=blocks, leave=leave, seen=seen):
            seen.append(count)
            if len(seen) == blocks:
                fill(disk, leave)

        told[f"pack {blocks}"] = outcome_of(lambda: pack(fill_after))
        told[f"finished {blocks}"] = out.exists()
        (Path(disk) / "ballast").unlink()
    for name, make in {
        "tar": lambda: TarSource(shard, index_folder=disk),
        "listing": lambda: FolderSource(photos, index=Path(disk) / "photos.index"),
    }.items():
        before = set(os.listdir(disk))
        ballast = fill(disk, 0)
        told[name] = outcome_of(make)
        ballast.unlink()
        told[f"{name} left"] = sorted(set(os.listdir(disk)) - before)
        told[f"{name} again"] = outcome_of(make)
    told["pack again"] = outcome_of(pack)
    told["hashes"] = hashes(out)
    return told


if __name__ == "__main__":
    print(json.dumps(work_on(*sys.argv[1:])))
