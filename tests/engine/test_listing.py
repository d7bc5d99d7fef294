"""Listing a folder: complete, in an order of its own, and right when it was kept."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fusewarp.engine import FolderSource, listing
from fusewarp.engine.listing import Listing


@pytest.fixture
def tree(tmp_path):
    """A folder with files of many kinds, changed long enough ago to be trusted."""
    root = tmp_path / "photos"
    for path in ("b/2.jpg", "b/10.PNG", "b/z/1.jpg", "b/a/9.webp", "a/x.jpeg", "a/note.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (root / "b/.hidden.jpg").touch()
    (root / "b/.cache").mkdir()
    (root / "b/.cache/1.jpg").touch()
    settle(root)
    return root


def settle(root):
    """Make every directory look as if it had been changed a minute ago."""
    ago = time.time() - 60
    for directory, _, _ in os.walk(root):
        os.utime(directory, (ago, ago))


def walked(root):
    """The same by `os.walk`: the oracle."""
    found = []
    for directory, subdirectories, files in os.walk(root):
        subdirectories[:] = sorted(name for name in subdirectories if name[0] != ".")
        for name in sorted(files):
            if name[0] != "." and name.lower().endswith(listing.EXTENSIONS):
                found.append(os.path.relpath(os.path.join(directory, name), root))
    return [path.replace(os.sep, "/") for path in found]


def count_scans(monkeypatch):
    scanned = []
    scan = listing._scan
    monkeypatch.setattr(
        listing, "_scan", lambda where, at: scanned.append(where) or scan(where, at)
    )
    return scanned


def listed(root, index=None):
    found = Listing(root, index)
    names = found.below("")
    found.keep()
    return names


def test_order_and_files_are_those_of_a_walk(tree):
    expected = ["a/x.jpeg", "b/10.PNG", "b/2.jpg", "b/a/9.webp", "b/z/1.jpg"]
    assert listed(tree) == walked(tree) == expected
    assert Listing(tree).below("b") == ["10.PNG", "2.jpg", "a/9.webp", "z/1.jpg"]


def test_symbolic_links_to_files_count_and_to_directories_do_not(tree):
    (tree / "a/link.jpg").symlink_to(tree / "b/2.jpg")
    (tree / "a/loop").symlink_to(tree, target_is_directory=True)
    assert listed(tree) == walked(tree)
    assert "a/link.jpg" in listed(tree)


def test_a_kept_listing_reads_no_directory_again(tree, tmp_path, monkeypatch):
    index = tmp_path / "photos.index"
    first = listed(tree, index)
    scanned = count_scans(monkeypatch)
    assert listed(tree, index) == first
    assert scanned == []


@pytest.mark.parametrize("change", ["add", "remove", "rename", "new folder", "lost folder"])
def test_what_changed_is_noticed(tree, tmp_path, change, monkeypatch):
    index = tmp_path / "photos.index"
    listed(tree, index)
    if change == "add":
        (tree / "b/z/0.jpg").touch()
    elif change == "remove":
        (tree / "b/z/1.jpg").unlink()
    elif change == "rename":
        (tree / "b/2.jpg").rename(tree / "b/3.jpg")
    elif change == "new folder":
        (tree / "c").mkdir()
        (tree / "c/1.jpg").touch()
    else:
        (tree / "a/x.jpeg").unlink()
        (tree / "a/note.txt").unlink()
        (tree / "a").rmdir()
    scanned = count_scans(monkeypatch)
    assert listed(tree, index) == walked(tree)
    assert 1 <= len(scanned) <= 2
    assert listed(tree, index) == walked(tree)


def test_a_directory_changed_just_before_the_scan_is_not_trusted(tree, tmp_path):
    """The next change may come in the same tick of the clock, and leave the time as it is."""
    index = tmp_path / "photos.index"
    (tree / "b/4.jpg").touch()
    at = (tree / "b").stat()
    listed(tree, index)
    (tree / "b/5.jpg").touch()
    os.utime(tree / "b", ns=(at.st_atime_ns, at.st_mtime_ns))
    assert "b/5.jpg" in listed(tree, index)


def test_an_index_is_written_whole_or_not_at_all(tree, tmp_path, monkeypatch):
    index = tmp_path / "photos.index"
    listed(tree, index)
    before = index.read_bytes()
    (tree / "a/y.jpg").touch()
    monkeypatch.setattr(listing.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        listed(tree, index)
    assert index.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"format": "other"}'])
def test_a_file_that_is_something_else_is_refused_and_kept(tree, tmp_path, content):
    index = tmp_path / "important.txt"
    index.write_text(content)
    with pytest.raises(ValueError, match=r"important.txt is not an index"):
        listed(tree, index)
    assert index.read_text() == content


def test_an_index_of_another_version_is_made_anew(tree, tmp_path):
    index = tmp_path / "photos.index"
    listed(tree, index)
    whole = json.loads(index.read_text())
    whole["extensions"] = [".jpg"]
    whole["directories"] = {"": [0, [], []]}
    index.write_text(json.dumps(whole))
    assert listed(tree, index) == walked(tree)
    assert json.loads(index.read_text())["extensions"] == list(listing.EXTENSIONS)


def test_a_directory_that_cannot_be_read_stops_the_listing(tree, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("z"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(PermissionError):
        listed(tree)


def test_a_source_is_the_same_with_an_index(photo_folder, tmp_path):
    plain = FolderSource(photo_folder)
    index = tmp_path / "photos.index"
    for _ in range(2):
        source = FolderSource(photo_folder, index=index)
        assert source.names == plain.names
        assert source.labels.tolist() == plain.labels.tolist()
    unlabelled = FolderSource(photo_folder, labelled=False, index=tmp_path / "other.index")
    assert unlabelled.names == FolderSource(photo_folder, labelled=False).names


def test_an_index_of_another_folder_is_not_taken_for_this_one(tree, tmp_path):
    """A copy keeps the times of its directories, and need not keep all files."""
    index = tmp_path / "photos.index"
    listed(tree, index)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    (copy / "b/2.jpg").unlink()
    for directory, _, _ in os.walk(copy):
        at = os.stat(tree / os.path.relpath(directory, copy))
        os.utime(directory, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert listed(copy, index) == walked(copy)
    assert listed(tree, index) == walked(tree)


def test_threads_may_keep_the_same_index(tree, tmp_path):
    index = tmp_path / "photos.index"
    expected = walked(tree)

    def again(_):
        index.unlink(missing_ok=True)
        return listed(tree, index)

    with ThreadPoolExecutor(4) as pool:
        assert all(names == expected for names in pool.map(again, range(60)))
