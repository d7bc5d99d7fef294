"""Decode and resize the files of a folder once, into arrays that can be mapped: `PackedSource`."""

import contextlib
import itertools
import math
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import pack_format as fmt
from .augmenter import checked_size
from .buffers import BufferPool
from .errors import SampleError
from .files import FolderSource
from .pack_journal import JOURNAL, BlockRecord, Input, Journal
from .packed import PackedSource
from .resize import RESIZE_WAYS, ResizeWay, decode_to_size
from .threads import Job, Lane, resolve_threads, run_slices

BLOCK_BYTES = 2**25  # written, checked and resumed at once; a few of them are held in memory
_KNOWN = {fmt.IMAGES, *fmt.SMALL_ARRAYS, fmt.META, JOURNAL}


def pack(
    source: FolderSource,
    out: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] = 256,
    resize: ResizeWay = "stretch",
    threads: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int], None] = lambda count: None,
) -> PackedSource:
    """Write decoded, resized pictures, their labels and names to a new folder.

    Killed at any moment, it leaves ``<out>.partial``; the same call then goes on where it was. Only
    a finished pack is called `out`.

    Parameters
    ----------
    source : FolderSource
    out : path
        The folder to make.
    size : int or (height, width)
        Of every packed picture.
    resize : {"stretch", "crop"}
        Squeeze the whole picture, or its largest centred part of the right proportions.
    threads : int, optional
        Default: all that the process may use.
    on_error : {"raise", "skip"}
        What to do with a file that cannot be read; "skip" leaves it out, and lists it in
        `PackedSource.skipped`.
    progress : callable
        ``progress(n)``: so many more files are done, those of an earlier call included.

    Returns
    -------
    PackedSource

    Raises
    ------
    FileExistsError
        If `out` exists, or ``<out>.partial`` holds files that are not of a pack.
    ValueError
        If an argument is not of these, or ``<out>.partial`` was begun with other options or files,
        or, with "skip", not one file can be read.
    SampleError
        If a file cannot be read.
    OSError
        If the disk is full, or cannot be written.
    """
    sides, threads = checked_size(size), resolve_threads(threads)
    if sides is None:
        raise ValueError("`size` must be a number of pixels or (height, width), got None.")
    if resize not in RESIZE_WAYS:
        raise ValueError(f"`resize` must be one of {list(RESIZE_WAYS)}, got {resize!r}.")
    if on_error not in ("raise", "skip"):
        raise ValueError(f'`on_error` must be "raise" or "skip", got {on_error!r}.')
    out = Path(os.path.abspath(out))
    partial, shape = _partial_folder(out), (*sides, source.channels)
    with _Packing(source, partial, shape, resize, on_error == "skip") as packing:
        packing.resume(threads, progress)
        with packing.resumable_errors():
            packing.run(threads, progress)
            packing.finish()
    os.rename(partial, out)
    fmt.flush_folder(out.parent)
    (out / JOURNAL).unlink()
    return PackedSource(out)


def _partial_folder(out: Path) -> Path:
    """Make or recognise the folder in which a pack is worked on."""
    if out.name.endswith(fmt.PARTIAL):
        raise ValueError(f"{out} ends in {fmt.PARTIAL}, as unfinished packs do; name it otherwise.")
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already; name a new folder, or delete it.")
    partial = out.with_name(out.name + fmt.PARTIAL)
    if os.path.lexists(partial) and not partial.is_dir():
        raise FileExistsError(f"{partial} is in the way: the pack is worked on in a folder there.")
    partial.mkdir(parents=True, exist_ok=True)
    names = {entry.name for entry in os.scandir(partial)}
    if names - _KNOWN or (names and JOURNAL not in names):
        raise FileExistsError(
            f"{partial} is not what an interrupted pack leaves (it holds {sorted(names)[:5]}). "
            "Move it away, or delete it if nothing in it is wanted."
        )
    return partial


class _Block:
    """Some files of the folder on their way to images.npy."""

    job: Job

    def __init__(self, packing: "_Packing", sample_ids: range, buffers: BufferPool) -> None:
        self._packing, self._sample_ids = packing, sample_ids
        self.inputs: list[Input] = [packing.unread_input(i) for i in sample_ids]
        self.failed: dict[int, str] = {}
        self._images = buffers.empty((len(sample_ids), *packing.shape), np.uint8)

    def begin(self, lane: Lane) -> None:
        """Start reading on the pool."""
        slice_size = max(1, min(8, len(self.inputs) // (4 * lane.threads)))
        self.job = lane.start(self.load_slice, len(self.inputs), slice_size)

    def load_slice(self, start: int, stop: int) -> None:
        """Read some of the files; runs on a pool thread."""
        for row in range(start, stop):
            try:
                self._load(row)
            except SampleError as error:
                if not self._packing.may_skip:
                    raise
                self.failed[row] = str(error)

    def _load(self, row: int) -> None:
        packing = self._packing
        path = packing.source.paths[self._sample_ids[row]]
        try:
            with open(path, "rb") as file:
                self.inputs[row][2:] = _state_of(os.fstat(file.fileno()))
                data = file.read()
        except OSError as error:
            raise SampleError(f"{path} cannot be read ({error.strerror or error}).") from error
        self._images[row] = decode_to_size(
            data,
            str(path),
            (packing.shape[0], packing.shape[1]),
            color_mode=packing.source.color_mode,
            resize=packing.resize,
        )

    def kept_images(self) -> NDArray[np.uint8]:
        """Return the pictures that could be read, in order."""
        if not self.failed:
            return self._images
        return np.delete(self._images, list(self.failed), axis=0)

    def record(self, crc32: int) -> BlockRecord:
        """Return what the journal is to know of the block."""
        failed = {str(row): self.failed[row] for row in sorted(self.failed)}
        return BlockRecord(self.inputs, failed, crc32)


class _Written(NamedTuple):
    """What is kept in memory of a block that is on the disk."""

    num_files: int
    failed: dict[int, str]
    crc32: int

    @property
    def num_images(self) -> int:
        """Pictures of the block in images.npy."""
        return self.num_files - len(self.failed)


class _Packing:
    """One pack at work in its partial folder: the journal, and images.npy while it grows."""

    def __init__(
        self,
        source: FolderSource,
        folder: Path,
        shape: tuple[int, int, int],
        resize: ResizeWay,
        may_skip: bool,
    ) -> None:
        self.source, self.shape, self.resize, self.may_skip = source, shape, resize, may_skip
        self._folder = folder
        self._image_bytes = math.prod(shape)
        self._block_size = max(1, BLOCK_BYTES // self._image_bytes)
        self._written: list[_Written] = []
        self._num_files = self._num_images = 0  # of all written blocks
        self._labels = None if source.labels is None else source.labels.tolist()
        self._class_names = None if source.labels is None else source.class_names
        with self.resumable_errors():
            self._journal = Journal(folder / JOURNAL, self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "size": self.shape[:2],
            "color_mode": self.source.color_mode,
            "resize": self.resize,
            "class_names": self._class_names,
            "block_size": self._block_size,
        }

    def __enter__(self) -> "_Packing":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def unread_input(self, sample_id: int) -> Input:
        """Return what is known of a file before it is opened."""
        label = None if self._labels is None else self._labels[sample_id]
        return [self.source.names[sample_id], label, None, None]

    def resume(self, threads: int, progress: Callable[[int], None]) -> None:
        """Take over the blocks that are on the disk, if their files are still the same."""
        for record in self._journal.records():
            self._check_unchanged(record, threads)
            self._keep(record)
            progress(len(record.inputs))
        images = self._folder / fmt.IMAGES
        length = images.stat().st_size if images.exists() else 0
        if self._written and length < self._end():
            raise ValueError(
                f"{images} is shorter than its journal says; delete {self._folder} to begin anew."
            )
        self._check_room(self._end() + self._to_come() - length)

    def _keep(self, record: BlockRecord) -> None:
        failed = {int(row): message for row, message in record.failed.items()}
        block = _Written(len(record.inputs), failed, record.crc32)
        self._written.append(block)
        self._num_files += block.num_files
        self._num_images += block.num_images

    def _check_unchanged(self, record: BlockRecord, threads: int) -> None:
        """Refuse to go on if what was packed then would be packed otherwise now."""
        start = self._num_files
        stop = min(start + self._block_size, len(self.source))
        inputs = [self.unread_input(i) for i in range(start, stop)]
        if [found[:2] for found in inputs] != [packed[:2] for packed in record.inputs]:
            raise ValueError(
                f"Files were added, renamed or deleted since {self._folder} was begun, near "
                f"{record.inputs[0][0]}. Undo that, or delete that folder to begin anew."
            )

        def look(first: int, last: int) -> None:
            for row in range(first, last):
                with contextlib.suppress(OSError):  # it then counts as one that was never there
                    inputs[row][2:] = _state_of(os.stat(self.source.paths[start + row]))

        run_slices(look, len(inputs), threads)
        for found, packed in zip(inputs, record.inputs, strict=True):
            if found != packed:
                raise ValueError(
                    f"{self.source.folder / packed[0]} has changed since it was packed. Restore "
                    f"it, or delete {self._folder} to begin anew."
                )

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(
                f"{self._folder} needs {needed / 1e9:.1f} GB more, and its disk has "
                f"{free / 1e9:.1f} GB free ({self._done()} are packed). Make room, or choose a "
                "smaller size."
            )

    @contextlib.contextmanager
    def resumable_errors(self) -> Generator[None, None, None]:
        """Say in errors how far it came, and that it can go on."""
        try:
            yield
        except SampleError as error:
            raise SampleError(
                f"{error} {self._done()} are packed; start again, and it goes on from there."
            ) from error
        except OSError as error:  # of writing: what reading raises is a SampleError
            raise OSError(
                f"{self._folder} cannot be written: {error.strerror or error}. {self._done()} are "
                f"packed, {self._to_come() / 1e9:.1f} GB are to come; make room and start again: "
                "it goes on from there."
            ) from error

    def run(self, threads: int, progress: Callable[[int], None]) -> None:
        """Write all blocks that are not on the disk yet."""
        with (
            open(self._folder / fmt.IMAGES, "ab") as file,
            contextlib.closing(self._blocks(threads)) as blocks,
        ):
            file.truncate(self._end())  # of a block that was being written
            for block in blocks:
                self._write(file, block)
                progress(len(block.inputs))

    def _blocks(self, threads: int) -> Generator[_Block, None, None]:
        """Yield finished blocks in order, with the next ones in work."""
        lane = Lane(threads)
        count, size = len(self.source), self._block_size
        num_begun = 2 + 2 * threads // size  # enough pictures for all threads
        buffers = BufferPool(max_free=num_begun + 1)
        begun: deque[_Block] = deque()
        starts = iter(range(self._num_files, count, size))
        try:
            while True:
                for start in itertools.islice(starts, num_begun - len(begun)):
                    begun.append(_Block(self, range(start, min(start + size, count)), buffers))
                    begun[-1].begin(lane)
                if not begun:
                    return
                begun[0].job.wait()
                yield begun.popleft()
        finally:
            lane.cancel()
            for block in begun:
                block.job.finish()

    def _write(self, file: BinaryIO, block: _Block) -> None:
        images = block.kept_images()
        pixels = images.data.cast("B") if images.size else b""
        record = block.record(zlib.crc32(pixels))
        file.write(pixels)
        fmt.flush_to_disk(file)
        self._journal.add(record)
        self._keep(record)

    def _done(self) -> str:
        return f"{self._num_files} of {len(self.source)} files"

    def _end(self) -> int:
        return fmt.HEADER_BYTES + self._num_images * self._image_bytes

    def _to_come(self) -> int:
        return (len(self.source) - self._num_files) * self._image_bytes

    def finish(self) -> None:
        """Write what lies beside the pictures, meta.json last."""
        ids, skipped = self._outcome()
        if len(ids) == 0:
            raise ValueError(f"Not one file could be read. {skipped[0][1]}")
        with open(self._folder / fmt.IMAGES, "r+b") as file:
            file.write(fmt.images_header((len(ids), *self.shape)))
            fmt.flush_to_disk(file)
        if self.source.labels is not None:
            fmt.write_array(self._folder / fmt.LABELS, self.source.labels[ids])
        fmt.write_names(self._folder, self.source.names, ids)
        checksums = [(block.num_images, block.crc32) for block in self._written]
        fmt.write_array(self._folder / fmt.CHECKSUMS, np.array(checksums, np.int64))
        self._meta(len(ids), skipped).write(self._folder / fmt.META)
        fmt.flush_folder(self._folder)

    def _outcome(self) -> tuple[NDArray[np.int64], list[list[str]]]:
        """Return the ids that were packed, and [name, message] of the others."""
        failed: dict[int, str] = {}
        start = 0
        for block in self._written:
            failed.update({start + row: message for row, message in block.failed.items()})
            start += block.num_files
        packed = np.delete(np.arange(start, dtype=np.int64), list(failed))
        return packed, [[self.source.names[i], message] for i, message in failed.items()]

    def _meta(self, count: int, skipped: list[list[str]]) -> fmt.Meta:
        small = [self._folder / name for name in fmt.SMALL_ARRAYS]
        return fmt.Meta(
            count=count,
            image_size=(self.shape[0], self.shape[1]),
            channels=self.shape[2],
            color_mode=self.source.color_mode,
            resize=self.resize,
            class_names=self._class_names,
            skipped=skipped,
            crc32={path.name: fmt.crc32_of_file(path) for path in small if path.exists()},
        )


def _state_of(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns]
