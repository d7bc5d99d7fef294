"""Which files are listed, in which order, and what is said of those that are not."""

import errno
import os
import re
import time

import numpy as np
import pandas as pd
import pytest

from fusewarp.integrations.keras import listing
from fusewarp.integrations.keras.listing import find_files, join_all, list_classes, why_rejected
from fusewarp.keras import ImageDataGenerator
from oracles.keras_generator import KerasGenerator

FORMATS = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def folder(tmp_path):
    """Folders whose names sort differently with and without a slash, files of all kinds."""
    touch(*(tmp_path / "cat" / name for name in ("b.jpg", "B.JPG", "a.png", "10.bmp", "9.bmp")))
    touch(*(tmp_path / "cat" / name for name in ("sub/x.jpg", "sub/sub/y.jpg", "sub-a/z.jpg")))
    touch(*(tmp_path / "cat" / name for name in ("notes.txt", "jpg", "xjpg", ".jpg", "a.jpg.txt")))
    touch(tmp_path / "dog" / "deep" / "deeper" / "one.jpeg", tmp_path / "loose.png")
    (tmp_path / "cat" / "folder.jpg").mkdir()
    touch(tmp_path / "cat" / "folder.jpg" / "inside.gif", tmp_path / "cat" / "folder.jpg" / "i.ppm")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog" / "to_file.jpg").symlink_to(tmp_path / "loose.png")
    (tmp_path / "dog" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "dog" / "to_folder").symlink_to(tmp_path / "cat" / "sub")
    (tmp_path / "dog" / "itself.jpg").symlink_to(tmp_path / "dog" / "itself.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "cat")
    return tmp_path


def both_listings(folder, subset=None, **flow):
    options = {"validation_split": 0.3 if subset else 0.0}
    ours = ImageDataGenerator(**options).flow_from_directory(folder, subset=subset, **flow)
    return ours, KerasGenerator(**options).flow_from_directory(folder, subset=subset, **flow)


@pytest.mark.parametrize("follow_links", [False, True])
@pytest.mark.parametrize("subset", [None, "training", "validation"])
@pytest.mark.parametrize("classes", [None, ["linked", "dog"], ["."], ["empty", "cat"]])
def test_files_and_their_order_are_those_of_keras(folder, classes, subset, follow_links, capsys):
    flow = {"classes": classes, "follow_links": follow_links}
    ours, theirs = both_listings(folder, subset, **flow)
    assert ours.filenames == theirs.filenames
    assert ours.filepaths == theirs.filepaths
    assert ours.class_indices == theirs.class_indices
    np.testing.assert_array_equal(ours.classes, theirs.classes)
    assert ours.classes.dtype == theirs.classes.dtype
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1]


def test_folders_are_sorted_whatever_the_disk_says(tmp_path):
    places = ["3", "10", "1/b", "1", "1-a", "2/c/d", "2", "B", "b", "a"]
    touch(*(tmp_path / "cat" / place / "i.jpg" for place in places))
    ours, theirs = both_listings(tmp_path)
    assert ours.filenames == theirs.filenames
    assert len(ours.filenames) == 10


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_directory_may_be_relative_or_end_with_a_slash(folder, monkeypatch, slash):
    monkeypatch.chdir(folder.parent)
    ours, theirs = both_listings(folder.name + slash)
    assert ours.filepaths == theirs.filepaths
    assert ours.samples > 10


def test_no_file_is_looked_at_by_itself(folder, monkeypatch):
    """Links aside: that is what makes large listings quick."""
    looked = []

    def counted(function):
        def call(path, *args, **kwargs):
            looked.append(str(path))
            return function(path, *args, **kwargs)

        return call

    for name in ("isfile", "isdir", "exists"):
        monkeypatch.setattr(os.path, name, counted(getattr(os.path, name)))
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    list_classes(folder, ["cat"], FORMATS)
    find_files([str(folder / "cat" / name) for name in ("b.jpg", "a.png", "no.jpg")], FORMATS)
    assert set(looked) <= {str(folder / "cat")}


# Links


def test_a_link_to_a_folder_above_is_left_out(folder):
    """Keras goes round 40 times."""
    for place, target in (("cat/sub/up", "cat"), ("cat/top", "."), ("dog/same", "dog")):
        (folder / place).symlink_to((folder / target).resolve())
    with pytest.warns(UserWarning, match="leads back, by a link, to a folder that") as warned:
        found = list_classes(folder, ["cat", "dog"], FORMATS, follow_links=True)
    named = {str(w.message).split("'")[1].removeprefix(str(folder)) for w in warned}
    inner = {"/dog/to_folder/up/sub", "/dog/to_folder/up/top"}
    assert named == inner | {"/cat/sub/up", "/cat/top", "/dog/same"}
    (folder / "cat/top").unlink()
    (folder / "cat/sub/up").unlink()
    assert found[0] == list_classes(folder, ["cat"], FORMATS, follow_links=True)[0]


def test_links_round_are_no_matter_unless_followed(folder):
    (folder / "cat" / "up").symlink_to(folder)
    ours, theirs = both_listings(folder)
    assert ours.filenames == theirs.filenames


def test_two_links_to_one_folder_are_both_followed(tmp_path):
    touch(tmp_path / "else" / "a.jpg")
    (tmp_path / "root" / "cat").mkdir(parents=True)
    for name in ("first", "second"):
        (tmp_path / "root" / "cat" / name).symlink_to(tmp_path / "else")
    ours, theirs = both_listings(tmp_path / "root", follow_links=True)
    assert ours.filenames == theirs.filenames == ["cat/first/a.jpg", "cat/second/a.jpg"]


# Trouble


def refuse(monkeypatch, bad, number=errno.EACCES):
    """Let `os.scandir` fail for one folder; the tests may run as root, whom nothing is denied."""
    scandir = os.scandir

    def refusing(path="."):
        if os.path.basename(os.path.normpath(path)) == bad:
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


@pytest.mark.parametrize("bad", ["deeper", "dog"])
def test_a_folder_that_cannot_be_read_is_an_error(folder, monkeypatch, bad):
    refuse(monkeypatch, bad)
    with pytest.raises(PermissionError, match=bad):
        ImageDataGenerator().flow_from_directory(folder)


def test_a_frame_asks_for_files_of_a_folder_that_cannot_be_listed(folder, monkeypatch):
    paths = [str(folder / "cat" / name) for name in ("b.jpg", "no.jpg", "folder.jpg", "notes.txt")]
    refuse(monkeypatch, "cat")
    np.testing.assert_array_equal(find_files(paths, FORMATS), [True, False, False, False])


def test_a_frame_tells_what_the_disk_fails_to_say(folder, monkeypatch):
    path = str(folder / "cat" / "b.jpg")
    refuse(monkeypatch, "cat", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        find_files([path], FORMATS)
    refuse(monkeypatch, "cat")

    def no_stat(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(listing.os, "stat", no_stat)
    with pytest.raises(PermissionError, match=r"b\.jpg"):
        find_files([path], FORMATS)


def test_tiff_files_are_warned_about_once(folder):
    touch(folder / "cat" / "a.tiff", folder / "dog" / "B.TIFF", folder / "dog" / "c.tif")
    with pytest.warns(UserWarning, match=r'".tiff" files with multiple .* has 2 such') as warned:
        ours = ImageDataGenerator().flow_from_directory(folder, classes=["cat", "dog"])
    assert len(warned) == 1
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match='".tiff" files with multiple bands'):
        theirs = KerasGenerator().flow_from_directory(folder, classes=["cat", "dog"])
    assert ours.filenames == theirs.filenames


def test_class_folders_that_differ_by_case_are_warned_about(tmp_path):
    touch(tmp_path / "Cat" / "a.jpg", tmp_path / "cat" / "a.jpg", tmp_path / "dog" / "a.jpg")
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("the disk ignores case")
    with pytest.warns(UserWarning, match="class folders of .* differ by case .*'Cat' and 'cat'"):
        iterator = ImageDataGenerator().flow_from_directory(tmp_path)
    assert list(iterator.class_indices) == ["Cat", "cat", "dog"]
    ImageDataGenerator().flow_from_directory(tmp_path, classes=["cat", "Cat"])  # so meant


# The files of a frame


def keras_says(paths):
    return [path.lower().endswith(FORMATS) and os.path.isfile(path) for path in paths]


NAMES = [
    "cat/b.jpg", "cat/B.JPG", "cat/B.jpg", "cat/jpg", "cat/.jpg", "cat/notes.txt", "cat/folder.jpg",
    "cat/sub/x.jpg", "cat/sub/../a.png", "cat//a.png", "./cat/a.png", "cat/a.png/", "cat/", "",
    "gone/a.jpg", "loose.png/a.jpg", "loose.png", "dog/to_file.jpg", "dog/broken.jpg",
    "dog/itself.jpg", "dog/itself.jpg/a.jpg", "dog/to_folder/x.jpg", "linked/b.jpg", "a\0b/c.jpg",
    "cat/a\0.jpg", "x" * 300 + "/a.jpg", "cat/" + "x" * 300 + ".jpg", "cat/b.jpg", "caf\u00e9.jpg",
]  # fmt: skip


@pytest.mark.parametrize("unread", [False, True])
@pytest.mark.parametrize("start", ["absolute", "relative"])
def test_files_are_found_where_keras_finds_them(folder, start, unread, monkeypatch):
    monkeypatch.chdir(folder)
    if unread:
        monkeypatch.setattr(listing, "_BLOCK", 1)
        monkeypatch.setattr(listing, "Counter", lambda folders: dict.fromkeys(folders, 0))
    paths = [os.path.join(folder, name) for name in NAMES] if start == "absolute" else NAMES
    expected = keras_says(paths)
    assert sum(expected) == 13
    np.testing.assert_array_equal(find_files(paths, FORMATS), expected)
    assert find_files([], FORMATS).shape == (0,)


def test_a_file_in_the_root_is_not_one_of_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(find_files(["/loose.png", "loose.png"], FORMATS), [False, True])


def test_disks_that_ignore_case_are_asked(folder, monkeypatch):
    monkeypatch.setattr(listing, "_IGNORES_CASE", True)
    monkeypatch.setattr(listing, "_is_file", lambda path: path.lower().endswith("/a.png"))
    paths = [str(folder / "cat" / name) for name in ("A.PNG", "a.png", "no.png")]
    np.testing.assert_array_equal(find_files(paths, FORMATS), [True, True, False])


def test_each_folder_is_read_once_and_a_huge_one_not_to_its_end(tmp_path, monkeypatch):
    touch(*(tmp_path / "huge" / f"{number}.jpg" for number in range(400)))
    touch(*(tmp_path / "small" / f"{number}.jpg" for number in range(3)))
    monkeypatch.setattr(listing, "_BLOCK", 10)
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(path) or scandir(path))
    asked = []
    is_file = listing._is_file
    monkeypatch.setattr(listing, "_is_file", lambda path: asked.append(path) or is_file(path))
    paths = [str(tmp_path / name) for name in ("huge/7.jpg", "small/1.jpg", "huge/x.jpg")] * 2
    found = find_files(paths, FORMATS)
    np.testing.assert_array_equal(found, [True, True, False] * 2)
    assert sorted(read) == [f"{tmp_path}/huge/", f"{tmp_path}/small/"]
    assert set(asked) == {paths[0], paths[2]}
    asked.clear()
    assert find_files([str(tmp_path / f"huge/{number}.jpg") for number in range(9)], FORMATS).all()
    assert not asked


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cat/notes.txt", "does not end with one of png, jpg"),
        ("cat/folder.jpg", "it is a folder"),
        ("dog/broken.jpg", "a link that leads nowhere"),
        ("cat/no.jpg", "there is no such file"),
        ("gone/no.jpg", "there is no folder '"),
    ],
)
def test_the_reason_of_a_rejection_is_told(folder, name, reason):
    assert reason in why_rejected(str(folder / name), FORMATS)
    frame = pd.DataFrame({"filename": ["cat/b.jpg", name], "class": ["a", "b"]})
    with pytest.warns(UserWarning, match=re.escape(reason)):
        ImageDataGenerator().flow_from_dataframe(frame, folder)


@pytest.mark.parametrize("directory", ["", "a", "a/", "/", "/a", "."])
def test_paths_are_joined_as_os_path_join_does(directory):
    names = ["b.jpg", "/b.jpg", "", "c/b.jpg", "../b.jpg"]
    assert join_all(directory, names) == [os.path.join(directory, name) for name in names]


# Progress


def slow_down(monkeypatch, seconds):
    scandir = os.scandir

    def slow(path="."):
        time.sleep(seconds)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)


def list_both_ways(folder):
    frame = pd.DataFrame({"filename": ["cat/b.jpg", "dog/deep/deeper/one.jpeg", "loose.png"]})
    yield lambda: ImageDataGenerator().flow_from_directory(folder, classes=["dog"])
    yield lambda: ImageDataGenerator().flow_from_dataframe(frame, folder, class_mode=None)


@pytest.mark.parametrize("way", [0, 1], ids=["directory", "frame"])
def test_slow_listings_show_progress_and_quick_ones_do_not(folder, monkeypatch, capsys, way):
    flow = list(list_both_ways(folder))[way]
    flow()
    assert capsys.readouterr().err == ""
    slow_down(monkeypatch, 0.45)
    flow()
    captured = capsys.readouterr()
    assert re.search(r"Listing images: \d+ files", captured.err)
    assert captured.err.endswith("\r")  # wiped
    assert captured.out.startswith("Found ")
    monkeypatch.setattr(listing, "is_interactive", lambda: False)
    flow()
    assert capsys.readouterr() == ("", "")


def test_a_message_is_logged_where_keras_logs(folder, monkeypatch, capsys, caplog):
    monkeypatch.setattr(listing, "is_interactive", lambda: False)
    with caplog.at_level("INFO", "fusewarp"):
        ImageDataGenerator().flow_from_directory(folder, classes=["cat"])
    assert caplog.messages == ["Found 12 images belonging to 1 classes."]
    assert capsys.readouterr().out == ""
