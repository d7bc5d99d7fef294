"""Packing: the pixels, and above all what is left after being interrupted at any moment."""

import contextlib
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusewarp import FolderSource, PackedSource, SampleError
from fusewarp.engine import pack_format, packing
from fusewarp.engine.pack_journal import JOURNAL
from fusewarp.engine.packing import pack
from fusewarp.engine.resize import decode_to_size

ROOT = Path(__file__).parents[2]
SIZE = (24, 20)
IMAGE_BYTES = 24 * 20 * 3


class Killed(BaseException):
    """Stands for a process that is gone: no `except Exception` sees it."""


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


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def kill_at(monkeypatch, module, name, call):
    """Let the given call of a function end everything; return how many calls there were."""
    calls = []
    function = getattr(module, name)

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise Killed
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


# --- what is packed


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_pictures_labels_and_names(source, tmp_path, threads, resize):
    packed = pack(source, tmp_path / "out", size=SIZE, resize=resize, threads=threads)
    assert list(packed.names) == source.names
    assert packed.labels.tolist() == source.labels.tolist()
    assert packed.class_names == ["cat", "dog"]
    assert packed.images.shape == (11, *SIZE, 3)
    for i, path in enumerate(source.paths):
        expected = decode_to_size(path.read_bytes(), "x", SIZE, resize=resize)
        np.testing.assert_array_equal(packed.read(i), expected)
    packed.verify()
    assert not (tmp_path / "out.partial").exists()


def test_the_arrays_are_plain_numpy_files(source, tmp_path):
    packed = pack(source, tmp_path / "out", size=SIZE)
    images = np.load(tmp_path / "out" / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(images, packed.images)
    assert images.offset % 64 == 0
    assert np.load(tmp_path / "out" / "labels.npy").tolist() == source.labels.tolist()
    text = np.load(tmp_path / "out" / "names.npy").tobytes()
    offsets = np.load(tmp_path / "out" / "name_offsets.npy")
    assert text[offsets[2] : offsets[3]].decode() == source.names[2]
    assert sorted(hashes(tmp_path / "out")) == sorted(
        ["images.npy", "labels.npy", "names.npy", "name_offsets.npy", "checksums.npy", "meta.json"]
    )


@pytest.mark.parametrize(("mode", "channels"), [("grayscale", 1), ("rgba", 4)])
def test_without_labels_and_in_other_modes(photo_folder, tmp_path, mode, channels):
    source = FolderSource(photo_folder, labelled=False, color_mode=mode)
    packed = pack(source, tmp_path / "out", size=8)
    assert packed.labels is None
    assert packed.class_names == []
    assert packed.images.shape == (11, 8, 8, channels)
    assert not (tmp_path / "out" / "labels.npy").exists()
    packed.verify()


def test_names_of_any_bytes(tmp_path):
    names = ["ä b\nc.png", "日本.png"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"\xff\xfe.png"))
    (tmp_path / "in").mkdir()
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / "x.png")
        os.rename(tmp_path / "in" / "x.png", tmp_path / "in" / name)
    source = FolderSource(tmp_path / "in", labelled=False)
    packed = pack(source, tmp_path / "out", size=4)
    assert list(packed.names) == source.names
    assert sorted(source.names) == sorted(names)


def test_the_bytes_depend_on_nothing_but_the_files(source, tmp_path, undisturbed):
    for threads in (1, 5):
        pack(source, tmp_path / f"out{threads}", size=SIZE, threads=threads)
        assert hashes(tmp_path / f"out{threads}") == undisturbed


def test_progress_counts_every_file_once(source, tmp_path):
    steps = []
    pack(source, tmp_path / "out", size=SIZE, progress=steps.append)
    assert steps == [3, 3, 3, 2]


def test_one_block_larger_than_its_limit(source, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 10)
    pack(source, tmp_path / "out", size=SIZE, threads=4).verify()


# --- interrupted


def interrupted(source, out, **options):
    with pytest.raises(Killed):
        pack(source, out, size=SIZE, **options)
    assert not out.exists()
    with pytest.raises(ValueError, match="unfinished"):
        PackedSource(out.with_name(out.name + ".partial"))


@pytest.mark.parametrize("threads", [1, 3])
def test_killed_at_any_step_it_goes_on_and_ends_with_the_same_bytes(
    source, tmp_path, monkeypatch, undisturbed, threads
):
    call, finished = 0, False
    while not finished:
        call += 1
        out = tmp_path / f"out{call}"
        with monkeypatch.context() as context:
            for module in (pack_format, packing.fmt, packing.Journal.add.__globals__):
                steps = module if isinstance(module, dict) else vars(module)
                context.setitem(steps, "flush_to_disk", _Bomb(call))
            try:
                pack(source, out, size=SIZE, threads=threads)
                finished = True
            except Killed:
                assert not out.exists()
        if not finished:
            pack(source, out, size=SIZE, threads=threads)
        assert hashes(out) == undisturbed
    assert call > 12  # a header, two for each of 4 blocks, and the files at the end


class _Bomb:
    """Flushes to the disk, but for one call, at which everything ends."""

    calls = 0

    def __init__(self, call: int) -> None:
        _Bomb.calls = 0
        self._call = call

    def __call__(self, file) -> None:
        _Bomb.calls += 1
        if _Bomb.calls == self._call:
            raise Killed
        file.flush()
        os.fsync(file.fileno())


def test_killed_before_the_last_rename(source, tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as context:
        kill_at(context, os, "rename", 1)
        interrupted(source, tmp_path / "out")
    read = kill_at(monkeypatch, packing, "decode_to_size", 0)
    pack(source, tmp_path / "out", size=SIZE)
    assert hashes(tmp_path / "out") == undisturbed
    assert read == []


def test_blocks_on_the_disk_are_not_read_again(source, tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        kill_at(context, packing._Packing, "_write", 3)
        interrupted(source, tmp_path / "out", threads=1)
    read, steps = kill_at(monkeypatch, packing, "decode_to_size", 0), []
    pack(source, tmp_path / "out", size=SIZE, threads=1, progress=steps.append)
    assert len(read) == 11 - 6
    assert steps == [3, 3, 3, 2]


@pytest.mark.parametrize("lost", [1, 17, 60, 400, 900])
def test_a_torn_journal_costs_only_what_it_does_not_say(
    source, tmp_path, monkeypatch, undisturbed, lost
):
    out = tmp_path / "out"
    with monkeypatch.context() as context:
        kill_at(context, packing._Packing, "finish", 1)
        interrupted(source, out)
    journal = tmp_path / "out.partial" / JOURNAL
    os.truncate(journal, max(0, journal.stat().st_size - lost))
    with open(tmp_path / "out.partial" / "images.npy", "ab") as file:
        file.write(b"a block that was not finished")
    pack(source, out, size=SIZE)
    assert hashes(out) == undisturbed


def test_a_torn_journal_can_be_interrupted_again(source, tmp_path, monkeypatch, undisturbed):
    begun(source, tmp_path / "out", monkeypatch)
    journal = tmp_path / "out.partial" / JOURNAL
    os.truncate(journal, journal.stat().st_size - 5)
    begun(source, tmp_path / "out", monkeypatch)
    pack(source, tmp_path / "out", size=SIZE)
    assert hashes(tmp_path / "out") == undisturbed


def test_ctrl_c_leaves_no_thread_at_work(source, tmp_path, undisturbed):
    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "out", size=SIZE, threads=3, progress=stop)
    pack(source, tmp_path / "out", size=SIZE)
    assert hashes(tmp_path / "out") == undisturbed


KILLED_AFTER = """
    import os, signal, sys
    from fusewarp import FolderSource
    from fusewarp.engine import packing

    folder, out, blocks, image_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    packing.BLOCK_BYTES = 3 * image_bytes

    def die(count):
        global blocks
        blocks -= 1
        if blocks == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    packing.pack(FolderSource(folder), out, size=(24, 20), threads=2, progress=die)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_and_again(source, tmp_path, undisturbed):
    out = tmp_path / "out"
    for blocks in (1, 3):
        code = textwrap.dedent(KILLED_AFTER)
        arguments = [str(source.folder), str(out), str(blocks), str(IMAGE_BYTES)]
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT)
        assert done.returncode == -signal.SIGKILL
        assert not out.exists()
        lines = (tmp_path / "out.partial" / JOURNAL).read_text().splitlines()
        assert len(lines) == 1 + blocks
    pack(source, out, size=SIZE)
    assert hashes(out) == undisturbed


# --- a full disk


def limited_file_size(num_bytes):
    @contextlib.contextmanager
    def limit():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit()


def test_a_write_that_fails_says_what_to_do_and_can_be_resumed(source, tmp_path, undisturbed):
    out = tmp_path / "out"
    with limited_file_size(5 * IMAGE_BYTES), pytest.raises(OSError, match="File too large") as told:
        pack(source, out, size=SIZE)
    assert "3 of 11 files are packed" in str(told.value)
    assert "make room and start again" in str(told.value)
    assert not out.exists()
    pack(source, out, size=SIZE)
    assert hashes(out) == undisturbed


def test_a_disk_that_is_too_small_is_noticed_at_the_start(source, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=IMAGE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs 0.0 GB more, .* has 0.0 GB free"):
        pack(source, tmp_path / "out", size=SIZE)


def test_a_full_journal_loses_no_block(source, tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as context:

        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        context.setattr(packing.Journal, "add", full)
        with pytest.raises(OSError, match=r"No space left on device. 0 of 11"):
            pack(source, tmp_path / "out", size=SIZE)
    pack(source, tmp_path / "out", size=SIZE)
    assert hashes(tmp_path / "out") == undisturbed


# --- files that cannot be read


def spoil(source, *ids):
    for i in ids:
        source.paths[i].write_bytes(b"no picture")


def test_a_broken_file_stops_and_mending_it_is_enough(source, tmp_path, undisturbed):
    content = source.paths[7].read_bytes()
    stat = os.stat(source.paths[7])
    spoil(source, 7)
    with pytest.raises(SampleError, match=r"02\.png cannot be decoded.* 6 of 11 files are packed"):
        pack(source, tmp_path / "out", size=SIZE)
    source.paths[7].write_bytes(content)
    os.utime(source.paths[7], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    pack(source, tmp_path / "out", size=SIZE)
    assert hashes(tmp_path / "out") == undisturbed


def test_a_broken_file_can_be_deleted_and_the_rest_goes_on(source, tmp_path):
    spoil(source, 7)
    with pytest.raises(SampleError):
        pack(source, tmp_path / "out", size=SIZE)
    source.paths[7].unlink()
    left = FolderSource(source.folder)
    packed = pack(left, tmp_path / "out", size=SIZE)
    assert list(packed.names) == left.names
    packed.verify()


def test_broken_files_are_left_out_and_listed(source, tmp_path):
    spoil(source, 0, 3, 4, 5, 10)  # the whole second block, too
    source.paths[8].unlink()
    good = [1, 2, 6, 7, 9]
    steps = []
    packed = pack(source, tmp_path / "out", size=SIZE, on_error="skip", progress=steps.append)
    assert list(packed.names) == [source.names[i] for i in good]
    assert packed.labels.tolist() == source.labels[good].tolist()
    assert packed.images.shape == (5, *SIZE, 3)
    for at, i in enumerate(good):
        expected = decode_to_size(source.paths[i].read_bytes(), "x", SIZE)
        np.testing.assert_array_equal(packed.read(at), expected)
    assert [name for name, _ in packed.skipped] == [source.names[i] for i in (0, 3, 4, 5, 8, 10)]
    assert "cannot be decoded" in packed.skipped[0][1]
    assert "No such file" in packed.skipped[4][1]
    assert sum(steps) == 11
    packed.verify()


def test_on_error_may_be_another_when_it_goes_on(source, tmp_path):
    spoil(source, 4)
    with pytest.raises(SampleError):
        pack(source, tmp_path / "out", size=SIZE)
    packed = pack(source, tmp_path / "out", size=SIZE, on_error="skip")
    assert len(packed) == 10


def test_killed_and_resumed_with_files_left_out(source, tmp_path, monkeypatch):
    spoil(source, 1, 8)
    pack(source, tmp_path / "expected", size=SIZE, on_error="skip")
    with monkeypatch.context() as context:
        kill_at(context, packing._Packing, "_write", 4)
        interrupted(source, tmp_path / "out", on_error="skip")
    pack(source, tmp_path / "out", size=SIZE, on_error="skip")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "expected")


def test_a_folder_without_one_good_file(source, tmp_path):
    spoil(source, *range(11))
    with pytest.raises(ValueError, match=r"Not one file could be read.*00\.jpg"):
        pack(source, tmp_path / "out", size=SIZE, on_error="skip")
    assert not (tmp_path / "out").exists()


# --- what is refused


def begun(source, out, monkeypatch):
    """Pack two blocks of three files, and stop."""
    with monkeypatch.context() as context:
        kill_at(context, packing._Packing, "_write", 3)
        interrupted(source, out)


def test_what_exists_is_not_written_over(source, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists already"):
        pack(source, tmp_path / "out")
    with pytest.raises(ValueError, match=r"ends in \.partial"):
        pack(source, tmp_path / "x.partial")
    (tmp_path / "a.partial").write_text("")
    with pytest.raises(FileExistsError, match="is in the way"):
        pack(source, tmp_path / "a")


@pytest.mark.parametrize("names", [["notes.txt"], ["images.npy"], [JOURNAL, "thesis.doc"]])
def test_a_partial_folder_of_somebody_else_is_left_alone(source, tmp_path, names):
    (tmp_path / "out.partial").mkdir()
    for name in names:
        (tmp_path / "out.partial" / name).write_text("precious")
    with pytest.raises(FileExistsError, match="not what an interrupted pack leaves"):
        pack(source, tmp_path / "out")
    assert {path.read_text() for path in (tmp_path / "out.partial").iterdir()} == {"precious"}


@pytest.mark.parametrize("text", ["precious", "precious\n", "{}\n", "[1]\n", '{"format": "x"}\n'])
def test_a_journal_of_something_else_is_left_alone(source, tmp_path, text):
    (tmp_path / "out.partial").mkdir()
    journal = tmp_path / "out.partial" / JOURNAL
    journal.write_text(text)
    with pytest.raises(ValueError, match="not the journal of a pack"):
        pack(source, tmp_path / "out")
    assert journal.read_text() == text


def test_a_damaged_journal_is_refused(source, tmp_path, monkeypatch):
    begun(source, tmp_path / "out", monkeypatch)
    journal = tmp_path / "out.partial" / JOURNAL
    journal.write_bytes(journal.read_bytes().replace(b'"inputs"', b'"outputs"'))
    with pytest.raises(ValueError, match="not the journal of a pack"):
        pack(source, tmp_path / "out", size=SIZE)


def test_other_options_do_not_mix(source, tmp_path, monkeypatch, undisturbed):
    begun(source, tmp_path / "out", monkeypatch)
    grey = FolderSource(source.folder, color_mode="grayscale")
    dogs = FolderSource(source.folder, classes=["dog", "cat"])
    for other, options, told in [
        (source, {"size": (20, 24)}, r"begun with size = \[24, 20\], now it is \[20, 24\]"),
        (source, {"size": SIZE, "resize": "crop"}, "resize = 'stretch', now it is 'crop'"),
        (grey, {"size": SIZE}, "color_mode = 'rgb'"),
        (dogs, {"size": SIZE}, "class_names = "),
    ]:
        with pytest.raises(ValueError, match=told):
            pack(other, tmp_path / "out", **options)
    pack(source, tmp_path / "out", size=SIZE)
    assert hashes(tmp_path / "out") == undisturbed


def test_packed_files_that_changed_since_are_noticed(source, tmp_path, monkeypatch):
    begun(source, tmp_path / "out", monkeypatch)
    stat = os.stat(source.paths[4])
    os.utime(source.paths[4], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"04\.jpg has changed since it was packed"):
        pack(source, tmp_path / "out", size=SIZE)
    os.utime(source.paths[4], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with open(source.paths[4], "ab") as file:
        file.write(b"!")
    os.utime(source.paths[4], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ValueError, match=r"04\.jpg has changed since it was packed"):
        pack(source, tmp_path / "out", size=SIZE)


@pytest.mark.parametrize("change", ["added", "deleted", "all but two deleted"])
def test_another_list_of_files_is_noticed(source, tmp_path, monkeypatch, change):
    begun(source, tmp_path / "out", monkeypatch)
    if change == "added":
        shutil.copy(source.paths[0], source.folder / "cat" / "00a.jpg")
    else:
        for i in [1] if change == "deleted" else [1, 2, 3, 4, *range(6, 11)]:
            source.paths[i].unlink()
    with pytest.raises(ValueError, match="added, renamed or deleted"):
        pack(FolderSource(source.folder), tmp_path / "out", size=SIZE)


def test_files_that_are_still_to_come_may_change(source, tmp_path, monkeypatch):
    begun(source, tmp_path / "out", monkeypatch)
    source.paths[9].unlink()
    shutil.copy(source.paths[0], source.folder / "dog" / "zzz.jpg")
    now = FolderSource(source.folder)
    pack(now, tmp_path / "out", size=SIZE)
    pack(now, tmp_path / "expected", size=SIZE)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "expected")


def test_pictures_that_were_cut_off_are_noticed(source, tmp_path, monkeypatch):
    begun(source, tmp_path / "out", monkeypatch)
    os.truncate(tmp_path / "out.partial" / "images.npy", 128 + 5 * IMAGE_BYTES)
    with pytest.raises(ValueError, match="shorter than its journal says"):
        pack(source, tmp_path / "out", size=SIZE)


@pytest.mark.skipif(os.name != "posix", reason="no lock there")
def test_two_at_once_do_not_mix(source, tmp_path):
    told = []

    def second(count):
        with pytest.raises(ValueError, match="being written by another process"):
            pack(source, tmp_path / "out", size=SIZE)
        told.append(count)

    pack(source, tmp_path / "out", size=SIZE, progress=second).verify()
    assert told


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "`size`"),
        ({"size": None}, ValueError, "`size`"),
        ({"resize": "pad"}, ValueError, "`resize`"),
        ({"on_error": "ignore"}, ValueError, "`on_error`"),
        ({"threads": 0}, ValueError, "`threads`"),
    ],
)
def test_arguments_that_make_no_sense(source, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        pack(source, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == [source.folder]


def test_the_journal_says_what_a_block_was_made_of(source, tmp_path, monkeypatch):
    begun(source, tmp_path / "out", monkeypatch)
    lines = (tmp_path / "out.partial" / JOURNAL).read_text().splitlines()
    record = json.loads(lines[1])
    stat = os.stat(source.paths[1])
    assert record["inputs"][1] == ["cat/01.jpg", 0, stat.st_size, stat.st_mtime_ns]
