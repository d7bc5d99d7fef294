import os
import shutil

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import (
    ArraySource,
    FolderSource,
    PackedSource,
    TableSource,
    check_no_leaks,
    group_copies,
    stratified_split,
)
from fusewarp.engine import Leak, SampleError, check_no_unseen_classes, find_leaks, leakage
from fusewarp.engine.packing import pack

PHOTOS = {"cat": data.chelsea, "person": data.astronaut, "cup": data.coffee, "rocket": data.rocket}


@pytest.fixture
def two_folders(tmp_path):
    """Four photos for training, four others of the same for validation: nothing in common."""
    for side, offset in (("train", 0), ("validation", 9)):
        for name, photo in PHOTOS.items():
            folder = tmp_path / side / ("alive" if name in ("cat", "person") else "thing")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo()[offset : offset + 200, :240]).save(folder / f"{name}.jpg")
    return tmp_path / "train", tmp_path / "validation"


def leaks_of(train, validation):
    return find_leaks(FolderSource(train), FolderSource(validation))


def test_different_photos_are_no_leaks(two_folders):
    assert leaks_of(*two_folders) == []
    check_no_leaks(*map(FolderSource, two_folders))


def test_a_copy_under_another_name_and_class_is_found(two_folders):
    train, validation = two_folders
    shutil.copy(train / "alive" / "person.jpg", validation / "thing" / "img_0001.jpeg")
    assert leaks_of(train, validation) == [
        Leak(1, 3, "alive/person.jpg", "thing/img_0001.jpeg", "same content")
    ]


def test_of_several_copies_each_is_named_once(two_folders):
    train, validation = two_folders
    shutil.copy(train / "alive" / "cat.jpg", train / "thing" / "cat again.jpg")
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(train / "alive" / "cat.jpg", validation / "alive" / name)
    found = [(leak.train_name, leak.other_name) for leak in leaks_of(train, validation)]
    assert found == [("alive/cat.jpg", "alive/a.jpg"), ("alive/cat.jpg", "alive/b.jpg")]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_the_same_file(two_folders, link):
    train, validation = two_folders
    link(train / "thing" / "cup.jpg", validation / "thing" / "z.jpg")
    assert [leak[3:] for leak in leaks_of(train, validation)] == [("thing/z.jpg", "same file")]


def test_only_files_of_equal_size_are_read(two_folders, monkeypatch):
    train, validation = two_folders
    same_size = bytearray((train / "thing" / "cup.jpg").read_bytes())
    same_size[-100] ^= 1
    (validation / "thing" / "other.jpg").write_bytes(same_size)
    assert leaks_of(train, validation) == []
    reads = []
    monkeypatch.setattr(leakage, "read_file", lambda path: reads.append(path) or b"%d" % len(reads))
    assert leaks_of(train, validation) == []
    assert sorted(os.path.basename(path) for path in reads) == ["cup.jpg", "other.jpg"]
    reads.clear()
    assert len(leaks_of(train, train)) == 4
    assert reads == []  # the same files need not be read to be the same


def test_a_table_and_a_folder_are_compared_by_their_files(two_folders):
    train, _ = two_folders
    files = [train / "thing" / "rocket.jpg"]
    leaks = find_leaks(FolderSource(train), TableSource({"path": files}))
    assert [(leak.train_name, leak.kind) for leak in leaks] == [("thing/rocket.jpg", "same file")]
    assert leaks[0].other_name == str(files[0])


@pytest.mark.parametrize("threads", [1, 4])
def test_arrays_are_compared_by_their_pixels(threads):
    photo = data.astronaut()
    images = np.stack([photo[at : at + 64, at : at + 64] for at in range(0, 400, 10)])
    train, other = images[:30], images[25:].copy()
    leaks = find_leaks(ArraySource(train), ArraySource(other), threads=threads)
    assert [leak[:2] for leak in leaks] == [(25 + i, i) for i in range(5)]
    other[2, 0, 0, 0] ^= 1  # far from the middle row
    leaks = find_leaks(ArraySource(train), ArraySource(other), threads=threads)
    assert [leak.other_id for leak in leaks] == [0, 1, 3, 4]


def test_packed_pictures_are_compared_by_their_pixels(two_folders, tmp_path):
    train, validation = two_folders
    shutil.copy(train / "alive" / "cat.jpg", validation / "thing" / "cat.jpg")
    packed = [
        pack(FolderSource(folder), tmp_path / f"packed {folder.name}", size=64)
        for folder in two_folders
    ]
    assert all(isinstance(source, PackedSource) for source in packed)
    assert [leak[2:] for leak in find_leaks(*packed)] == [
        ("alive/cat.jpg", "thing/cat.jpg", "same content")
    ]


def test_a_folder_beside_an_array_is_decoded(two_folders):
    source = FolderSource(two_folders[0], decode="exact")
    array = ArraySource(np.stack([source.read(i) for i in (3, 1)]))
    assert [leak[:2] for leak in find_leaks(source, array)] == [(3, 0), (1, 1)]
    assert [leak[:2] for leak in find_leaks(array, source)] == [(1, 1), (0, 3)]


def test_the_message_names_pairs_and_the_way_out(two_folders):
    train, _ = two_folders
    source = FolderSource(train)
    with pytest.raises(
        ValueError, match="4 of the 4 test pictures are among those for training: "
    ) as e:
        check_no_leaks(source, source, "test")
    assert "alive/cat.jpg is alive/cat.jpg (same file); " in str(e.value)
    assert "thing/cup.jpg is thing/cup.jpg (same file); 1 more. " in str(e.value)
    assert "groups=group_copies(source)" in str(e.value)


def test_a_vanished_file_is_named(two_folders):
    sources = [FolderSource(folder) for folder in two_folders]
    sources[1].paths[2].unlink()
    with pytest.raises(SampleError, match=r"cup\.jpg cannot be read \(No such file"):
        find_leaks(*sources)


def test_copies_are_split_together_and_the_others_as_before(two_folders):
    train, _ = two_folders
    for number in range(20):
        Image.fromarray(data.coffee()[:100, number : number + 90]).save(
            train / "thing" / f"{number:02d}.png"
        )
    plain = FolderSource(train)
    before = {plain.names[i] for i in stratified_split(plain.names, None, 0.4)[1]}
    for number in range(8):
        shutil.copy(train / "thing" / f"{number:02d}.png", train / "alive" / f"x{number}.png")
    source = FolderSource(train)
    groups = group_copies(source)
    alone = {name for name in source.names if groups.count(name) == 1}
    assert alone == {n for n in plain.names if n[-4:] == ".jpg" or n >= "thing/08"}
    assert groups[source.names.index("thing/03.png")] == "alive/x3.png"
    for seed in range(5):
        ids = stratified_split(source.names, None, 0.4, seed, groups)
        check_no_leaks(*(source.select(part) for part in ids))
    after = {source.names[i] for i in stratified_split(source.names, None, 0.4, 0, groups)[1]}
    assert len((before ^ after) & alone) <= 2


def labelled(labels):
    return ArraySource(np.zeros((len(labels), 2, 2, 3), np.uint8), labels)


@pytest.mark.parametrize(
    ("train", "other", "unseen"),
    [
        ([0, 1, 2], [1, 1], None),
        ([0, 1, 1], [0, 3, 2], "2, 3"),
        (["a", "b"], ["c", "a"], "'c'"),
        ([[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 1, 0]], None),
        ([[1, 0, 0], [0, 1, 0]], [[1, 0, 1]], "2"),
        ([0.0, 0.0], [1.0], "1"),
        ([0.5, 1.5], [2.5], None),
        ([[0.5, 1.0]], [[2.5, 1.0]], None),
        (None, [1], None),
    ],
)
def test_classes_without_a_training_sample_are_refused(train, other, unseen):
    train = labelled(train) if train else ArraySource(np.zeros((2, 2, 2, 3), np.uint8))
    if unseen is None:
        check_no_unseen_classes(train, labelled(other))
        return
    with pytest.raises(ValueError, match=f"none is for training: {unseen}. Add training pictures"):
        check_no_unseen_classes(train, labelled(other))


def test_classes_are_compared_by_name(two_folders):
    train, validation = two_folders
    os.rename(validation / "thing", validation / "animal")
    shutil.copytree(train / "thing", train / "building")
    sources = FolderSource(train), FolderSource(validation)
    with pytest.raises(ValueError, match=r"The test pictures .*: 'animal'\. Add"):
        check_no_unseen_classes(*sources, "test")
    check_no_unseen_classes(sources[0], sources[0].select([0, 5]))
