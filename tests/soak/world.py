"""What the soak reads: the same pictures in every kind of source, and what can happen to each."""

import collections
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fusewarp import (
    ArrayRecordSource,
    FolderSource,
    PackedSource,
    ParquetSource,
    TarSource,
    TFRecordSource,
)
from fusewarp.engine.packing import pack
from oracles.examples import example, write_array_record, write_tfrecord
from oracles.flaky_store import FlakyStore
from oracles.s3_store import BUCKET, FaultyProxy, S3Server, options
from oracles.shards import header_at, write_shard

NUM_PICTURES, NUM_SHARDS = 96, 6
PER_SHARD = NUM_PICTURES // NUM_SHARDS
SHARDS = f"data-{{000..{NUM_SHARDS - 1:03d}}}.tar"
PACKED_SIZE = 40
_IN_A_ROW = 2  # faults at one request: fewer than it is made again
_HTTP_FAULTS = [503, 500, "half", "short"]
_S3_FAULTS = [503, 500, 429, "half", "short", "closed", "slow"]

Undo = Callable[[], None]


class Broken(NamedTuple):
    """What was broken on purpose.

    Attributes
    ----------
    must : set of int
        Pictures that cannot be read, by their number.
    may : set of int
        Pictures that cannot be read unless they are in a cache, or their file is open already.
    undo : callable
    """

    must: set[int]
    may: set[int]
    undo: Undo


class Kind(NamedTuple):
    """A kind of source.

    Attributes
    ----------
    make : callable
        ``make(world)`` opens all pictures, number i as sample i.
    pictures : str
        Which of `World.decoded` it gives.
    breaks : tuple of callables
        ``breaks(world, numbers, rng) -> Broken``: breaks some pictures while the source is open.
    index : str, optional
        Pattern of the files in `World.indices` that it keeps.
    """

    make: Callable[["World"], Any]
    pictures: str = "files"
    breaks: tuple[Callable[["World", list[int], random.Random], Broken], ...] = ()
    index: str = ""


class World:
    """Pictures in a folder, in shards, packed, and behind servers that fail.

    Attributes
    ----------
    encoded : list of bytes
    labels : (n,) int64
    decoded : dict of str to list of (h, w, 3) uint8
        "files": as they are; "packed": as packed.
    store_faults : float
        Share of the requests to servers that fail, for a moment.
    down : set of str
        Shards that S3 refuses each time.
    count : Counter
        Faults, by kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.photos, self.shards = folder, folder / "photos", folder / "shards"
        self.indices, self.packed = folder / "indices", folder / "packed"
        self.store_faults, self.down = 0.0, set()
        self.count: collections.Counter[str] = collections.Counter()
        self._in_a_row: collections.Counter[Any] = collections.Counter()
        self._rng = random.Random(0)
        self.encoded = [_picture(number) for number in range(NUM_PICTURES)]
        self.labels = np.arange(NUM_PICTURES) // (NUM_PICTURES // 2)
        self._write()
        self._serve()
        files = FolderSource(self.photos)
        packed = pack(files, self.packed, size=PACKED_SIZE)
        self.decoded = {
            "files": [files.read(i) for i in range(NUM_PICTURES)],
            "packed": [np.array(packed.read(i)) for i in range(NUM_PICTURES)],
        }

    def _write(self) -> None:
        self.shards.mkdir()
        self.indices.mkdir()
        for number, data in enumerate(self.encoded):
            path = self.path_of(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for shard in range(NUM_SHARDS):
            members = []
            for number in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
                members.append((self.member_of(number), self.encoded[number]))
                members.append((f"{number:04d}.cls", str(self.labels[number]).encode()))
            write_shard(self.shard_of(shard * PER_SHARD), members)
            self._write_in_other_formats(shard)

    def _write_in_other_formats(self, shard: int) -> None:
        import pyarrow
        import pyarrow.parquet

        numbers = range(shard * PER_SHARD, (shard + 1) * PER_SHARD)
        images = [self.encoded[number] for number in numbers]
        labels = self.labels[numbers.start : numbers.stop].tolist()
        table = pyarrow.table({"image": images, "label": labels})
        pyarrow.parquet.write_table(table, self.folder / f"{shard}.parquet", row_group_size=7)
        records = [
            example(image__encoded=image, image__class__label=label)
            for image, label in zip(images, labels, strict=True)
        ]
        write_tfrecord(self.folder / f"{shard}.tfrecord", records)
        write_array_record(self.folder / f"{shard}.array_record", records)

    def _serve(self) -> None:
        self.http, self.s3 = FlakyStore(), S3Server()
        self.proxy = FaultyProxy(self.s3.address)
        for path in self.shards.iterdir():
            self.http.files[f"/b/{path.name}"] = path.read_bytes()
            self.s3.put(path.name, path.read_bytes())
        self.http._next_fault = lambda *range_: self._fault_for(range_, _HTTP_FAULTS)
        self.proxy.next_fault = self._s3_fault

    def close(self) -> None:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        self.proxy.close()
        self.s3.close()
        self.http.close()

    def path_of(self, number: int) -> Path:
        """Return the file of a picture."""
        return self.photos / "ab"[self.labels[number]] / self.member_of(number)

    def member_of(self, number: int) -> str:
        """Return its name in a shard."""
        return f"{number:04d}.{'png' if number % 5 == 2 else 'jpg'}"

    def shard_of(self, number: int) -> Path:
        """Return the shard of a picture."""
        return self.shards / f"data-{number // PER_SHARD:03d}.tar"

    def _s3_fault(self, *request: str) -> object:
        if any(shard in request[1] for shard in self.down):
            self.count["S3 down"] += 1
            return 503
        return self._fault_for(request, _S3_FAULTS)

    def _fault_for(self, request: Any, kinds: list[Any]) -> object:
        if self._in_a_row[request] == _IN_A_ROW or self._rng.random() >= self.store_faults:
            self._in_a_row.pop(request, None)
            return "ok"
        kind = self._rng.choice(kinds)
        if kind == "slow" and self._rng.random() < 0.9:  # a third of a second each
            return "ok"
        self._in_a_row[request] += 1
        self.count[f"store {kind}"] += 1
        return kind


def _picture(number: int) -> bytes:
    rng = np.random.default_rng(number)
    size = (30 + number % 19, 50 - number % 17)
    coarse = rng.integers(0, 256, (5, 6, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    memory = io.BytesIO()
    picture.save(memory, "png" if number % 5 == 2 else "jpeg", quality=92)
    return memory.getvalue()


# --- what breaks


def cut_or_remove_files(world: World, numbers: list[int], rng: random.Random) -> Broken:
    """Cut some files of the folder in half, and remove others."""
    for number in numbers:
        path = world.path_of(number)
        if rng.random() < 0.5:
            path.unlink()
            world.count["file removed"] += 1
        else:
            path.write_bytes(world.encoded[number][: len(world.encoded[number]) // 2])
            world.count["file cut"] += 1

    def undo() -> None:
        for number in numbers:
            world.path_of(number).write_bytes(world.encoded[number])

    return Broken(set(numbers), set(numbers), undo)


def overwrite_members(world: World, numbers: list[int], rng: random.Random) -> Broken:
    """Overwrite pictures in shards with zeros; sizes, times and headers stay."""
    for number in numbers:
        _write_member(world, number, bytes(len(world.encoded[number])))
        world.count["member overwritten"] += 1

    def undo() -> None:
        for number in numbers:
            _write_member(world, number, world.encoded[number])

    return Broken(set(numbers), set(numbers), undo)


def _write_member(world: World, number: int, data: bytes) -> None:
    path = world.shard_of(number)
    stat = path.stat()
    at = header_at(path.read_bytes(), world.member_of(number)) + 512
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def take_a_shard_away(world: World, numbers: list[int], rng: random.Random) -> Broken:
    """Rename the shard of the first number; who has it open goes on reading."""
    shard = world.shard_of(numbers[0])
    away = shard.with_suffix(".away")
    shard.rename(away)
    world.count["shard taken away"] += 1

    def undo() -> None:
        away.rename(shard)

    return Broken(set(), _all_of(numbers[0]), undo)


def cut_a_shard(world: World, numbers: list[int], rng: random.Random) -> Broken:
    """Cut the shard of the first number in the middle."""
    shard = world.shard_of(numbers[0])
    content, stat = shard.read_bytes(), shard.stat()
    os.truncate(shard, len(content) // 2)
    world.count["shard cut"] += 1

    def undo() -> None:
        with open(shard, "r+b") as file:
            file.write(content)
        os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return Broken(set(), _all_of(numbers[0]), undo)


def refuse_a_shard(world: World, numbers: list[int], rng: random.Random) -> Broken:
    """Let S3 answer 503 for the shard of the first number, each time."""
    world.down.add(world.shard_of(numbers[0]).name)
    return Broken(_all_of(numbers[0]), _all_of(numbers[0]), world.down.clear)


def _all_of(number: int) -> set[int]:
    first = number // PER_SHARD * PER_SHARD
    return set(range(first, first + PER_SHARD))


# --- the registry: a source of another format is one more line


def _tar(shards: str | Path, world: World, **more: Any) -> TarSource:
    return TarSource(f"{shards}/{SHARDS}", "cls", index_folder=world.indices, **more)


KINDS: dict[str, Kind] = {
    "folder": Kind(
        lambda world: FolderSource(world.photos, index=world.indices / "photos.index"),
        breaks=(cut_or_remove_files,),
        index="photos.index",
    ),
    "tar": Kind(
        lambda world: _tar(world.shards, world),
        breaks=(overwrite_members, take_a_shard_away, cut_a_shard),
        index="*.npz",
    ),
    "tar over HTTP": Kind(
        lambda world: _tar("flaky://b", world, storage_options=world.http.options), index="*.npz"
    ),
    "tar on S3": Kind(
        lambda world: _tar(f"s3://{BUCKET}", world, storage_options=options(world.proxy)),
        breaks=(refuse_a_shard,),
        index="*.npz",
    ),
    "parquet": Kind(
        lambda world: ParquetSource(f"{world.folder}/*.parquet", "label", cache_bytes=50_000)
    ),
    "tfrecord": Kind(
        lambda world: TFRecordSource(
            f"{world.folder}/*.tfrecord", index_folder=world.indices / "tfrecord"
        ),
        index="tfrecord/*.npz",
    ),
    "array_record": Kind(
        lambda world: ArrayRecordSource(
            f"{world.folder}/*.array_record", index_folder=world.indices / "array_record"
        ),
        index="array_record/*.npz",
    ),
    "packed": Kind(lambda world: PackedSource(world.packed), pictures="packed"),
}
