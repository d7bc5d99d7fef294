"""Files of compiled loops: whole or not there, and nobody else's."""

import errno
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest

from fusewarp.kernels import cache

KEY, PAYLOAD = "loop(float32)", b"machine code" * 99
posix = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes")


@pytest.fixture
def kept(tmp_path):
    cache.write(tmp_path, "loop", KEY, PAYLOAD)
    (file,) = tmp_path.iterdir()
    return file


def read(file, key=KEY):
    return cache.read(file.parent, "loop", key)


# --- one file


def test_what_was_written_is_read(kept):
    assert read(kept) == PAYLOAD


def test_another_key_finds_nothing(kept):
    assert read(kept, "loop(uint8)") is None


def test_a_file_under_another_ones_name_is_not_believed(kept, tmp_path):
    other = tmp_path / "other"
    cache.write(other, "loop", "loop(uint8)", b"other code")
    (target,) = other.iterdir()
    shutil.copy(kept, target)
    assert read(target, "loop(uint8)") is None


@pytest.mark.parametrize("length", [0, 5, 20, 49, 60, 100, -1])
def test_a_cut_file_is_not_believed(kept, length):
    kept.write_bytes(kept.read_bytes()[:length])
    assert read(kept) is None


@pytest.mark.parametrize("place", [0, 20, 51, 55, 200, -1])
def test_a_flipped_bit_is_found(kept, place):
    content = bytearray(kept.read_bytes())
    content[place] ^= 1
    kept.write_bytes(content)
    assert read(kept) is None


@posix
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_to_is_not_believed(kept, mode):
    assert kept.stat().st_mode & 0o022 == 0
    kept.chmod(mode)
    assert read(kept) is None


@posix
def test_a_file_of_another_user_is_not_believed(kept, monkeypatch):
    owner = kept.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert read(kept) == (PAYLOAD if owner == 0 else None)  # what root wrote, root wanted
    status = os.stat_result((0o100644, 0, 0, 1, owner + 2, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda handle: status)
    assert read(kept) is None


@posix
def test_a_umask_that_is_open_to_the_group_does_not_spoil_the_cache(tmp_path):
    before = os.umask(0)
    try:
        cache.write(tmp_path, "loop", KEY, PAYLOAD)
    finally:
        os.umask(before)
    assert cache.read(tmp_path, "loop", KEY) == PAYLOAD


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        cache.write(tmp_path, "loop", KEY, PAYLOAD)
    assert list(tmp_path.iterdir()) == []


def test_readers_see_whole_files_while_others_write(tmp_path):
    def write_and_read(number):
        cache.write(tmp_path, "loop", KEY, bytes([number]) * 100_000)
        return cache.read(tmp_path, "loop", KEY)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write_and_read, range(100)))

    assert all(content is not None and len(set(content)) == 1 for content in results)
    assert all(len(content) == 100_000 for content in results)
    assert len(list(tmp_path.iterdir())) == 1


# --- which folder


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FUSEWARP_CACHE_DIR": "here", "XDG_CACHE_HOME": "there"}, Path("here")),
        ({"XDG_CACHE_HOME": "there"}, Path("there/fusewarp")),
        ({"FUSEWARP_CACHE_DIR": "here", "FUSEWARP_CACHE": "0"}, None),
    ],
)
def test_the_environment_names_the_root(environment, expected, monkeypatch):
    for name in ("FUSEWARP_CACHE", "FUSEWARP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_root() == expected


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", "home/.cache/fusewarp"),
        ("darwin", "home/Library/Caches/fusewarp"),
        ("win32", "home/AppData/Local/fusewarp/Cache"),
    ],
)
def test_each_system_has_its_own_root(platform, expected, monkeypatch):
    for name in ("FUSEWARP_CACHE", "FUSEWARP_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert cache.cache_root() == Path(expected)


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    for name in ("FUSEWARP_CACHE", "FUSEWARP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert cache.kernel_folder() is None
    assert "FUSEWARP_CACHE_DIR" in cache.why_off()


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "sources"
    folder.mkdir()
    for file in cache.SOURCES.glob("*.py"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_the_stamp_is_of_the_text_not_of_the_place(sources):
    assert cache.source_stamp(sources) == cache.STAMP


def test_every_file_and_version_is_in_the_stamp(sources, monkeypatch):
    stamps = {cache.STAMP}
    files = sorted(sources.iterdir())
    for file in files:
        text = file.read_text()
        file.write_text(text + "# edited\n")
        stamps.add(cache.source_stamp(sources))
        file.write_text(text)
    (sources / "added.py").touch()
    stamps.add(cache.source_stamp(sources))
    (sources / "added.py").rename(sources / "renamed.py")
    stamps.add(cache.source_stamp(sources))
    for module in (numba, cache.llvmlite, cache.np):
        monkeypatch.setattr(module, "__version__", "0.1")
        stamps.add(cache.source_stamp(sources))
    monkeypatch.setattr(sys, "version", "3.99")
    stamps.add(cache.source_stamp(sources))
    assert len(stamps) == 1 + len(files) + 2 + 3 + 1


def test_an_edit_while_the_process_runs_switches_the_cache_off(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEWARP_CACHE", "1")
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "SOURCES", sources)
    assert cache.kernel_folder() == tmp_path / cache.STAMP
    (sources / "pixel.py").write_text("# edited\n")
    assert cache.kernel_folder() is None
    assert "edited" in cache.why_off()


def test_without_source_files_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEWARP_CACHE", "1")
    assert cache.source_stamp(tmp_path) is None
    monkeypatch.setattr(cache, "STAMP", None)
    assert cache.kernel_folder() is None


# --- what nobody uses any more


def folders(root, count):
    """Make folders of other stamps, the later the older; each with a kernel."""
    made = []
    for number in range(count):
        folder = root / f"{number:0{cache.STAMP_LENGTH}x}"
        cache.write(folder, "loop", KEY, PAYLOAD)
        day = time.time() - 86400 * (number + 1)
        os.utime(folder, (day, day))
        made.append(folder)
    return made


def test_the_newest_folders_stay(tmp_path):
    others = folders(tmp_path, cache.KEPT_FOLDERS + 3)
    own = tmp_path / ("f" * cache.STAMP_LENGTH)
    cache.write(own, "loop", KEY, PAYLOAD)

    cache.note_use(own)

    assert [folder for folder in others if folder.exists()] == others[: cache.KEPT_FOLDERS]
    assert read(own / "loop") == PAYLOAD


def test_a_folder_that_is_used_counts_as_new(tmp_path):
    (own,) = folders(tmp_path, 1)
    cache.note_use(own)
    assert time.time() - own.stat().st_mtime < 100


def test_a_folder_that_was_not_used_for_long_goes(tmp_path):
    own, old = folders(tmp_path, 2)
    long_ago = time.time() - cache.STALE_AGE - 1
    os.utime(old, (long_ago, long_ago))
    cache.note_use(own)
    assert not old.exists()


def test_nothing_but_kernels_is_removed(tmp_path):
    own, foreign = folders(tmp_path, 2)
    (foreign / "thesis.txt").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.kernel").touch()
    linked = tmp_path / ("a" * cache.STAMP_LENGTH)
    linked.symlink_to(tmp_path / "notes")
    for path in (foreign, tmp_path / "notes"):
        os.utime(path, (0, 0))

    cache.note_use(own)

    assert [file.name for file in foreign.iterdir()] == ["thesis.txt"]
    assert (linked / "a.kernel").exists()


def test_parts_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    (own,) = folders(tmp_path, 1)
    living, killed = own / "a.part", own / "b.part"
    living.touch()
    killed.touch()
    os.utime(killed, (0, 0))
    cache.note_use(own)
    assert living.exists()
    assert not killed.exists()
