"""Opening packed folders: no copy, the same batches as from an array, and nothing unsound."""

import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, PackedSource, Policy
from fusewarp.engine import packing
from fusewarp.engine.packed import PackedNames
from fusewarp.engine.packing import pack

SIZE = (24, 20)


@pytest.fixture
def packed(photo_folder, tmp_path, monkeypatch) -> PackedSource:
    monkeypatch.setattr(packing, "BLOCK_BYTES", 4 * 24 * 20 * 3)
    return pack(FolderSource(photo_folder), tmp_path / "packed", size=SIZE)


def epochs(source, threads, num_epochs=2):
    policy = Policy(rotation_range=40, zoom_range=0.3, horizontal_flip=True)
    loader = Loader(source, Augmenter(policy, seed=3, threads=threads), batch_size=4)
    return [batch for _ in range(num_epochs) for batch in loader]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_equal_those_of_an_array_source(packed, threads):
    array = ArraySource(np.array(packed.images), np.array(packed.labels))
    for ours, theirs in zip(epochs(packed, threads), epochs(array, threads), strict=True):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.sample_ids, theirs.sample_ids)


def test_attributes(packed):
    assert (packed.image_size, packed.channels, packed.dtype) == (SIZE, 3, np.uint8)
    assert (len(packed), packed.weights, packed.skipped) == (11, None, [])
    assert packed.labels.tolist() == [0] * 5 + [1] * 6


def test_pictures_are_mapped_and_not_copied(packed):
    image = packed.read(7)
    assert np.shares_memory(image, packed.images)
    assert image.flags.c_contiguous
    assert not image.flags.writeable
    base = packed.images
    while not isinstance(base, np.memmap):
        base = base.base
    assert os.path.samefile(base.filename, packed.folder / "images.npy")


def test_locate_names_the_pixels_in_the_mapped_file(packed):
    part = packed.select([9, 2, 4])
    located = part.locate(np.array([2, 0]))
    assert np.shares_memory(located.pixels, packed.images)
    assert located.pixels.shape == (packed.images.size,)
    assert located.sizes.tolist() == [list(SIZE)] * 2
    for start, i in zip(located.starts, [4, 9], strict=True):
        pixels = located.pixels[start : start + packed.read(i).size]
        np.testing.assert_array_equal(pixels, packed.read(i).reshape(-1))


def test_select_keeps_everything_together(packed):
    packed.weights = np.arange(11.0)
    part = packed.select(packed.labels == 1).select([5, 0])
    assert list(part.names) == [packed.names[10], packed.names[5]]
    assert part.labels.tolist() == [1, 1]
    assert part.weights.tolist() == [10, 5]
    np.testing.assert_array_equal(part.read(0), packed.read(10))
    assert len(packed) == 11
    with pytest.raises(ValueError, match="`sample_ids`"):
        packed.select([11])


def test_names_are_a_sequence(packed):
    names = packed.names
    assert isinstance(names, PackedNames)
    assert (names[0], names[-1], len(names)) == ("cat/00.jpg", "dog/05.jpg", 11)
    assert list(names[1:4:2]) == ["cat/01.jpg", "cat/03.jpg"]
    assert repr(names) == "PackedNames(['cat/00.jpg', 'cat/01.jpg', 'cat/02.png', ...], 11 names)"
    with pytest.raises(IndexError):
        names[11]


def test_names_of_ten_million_are_not_made_ahead(tmp_path):
    text = np.frombuffer(b"abcdefghij" * 10, np.uint8)
    offsets = np.arange(11) * 10
    rows = np.broadcast_to(np.int64(3), (10_000_000,))
    names = PackedNames(text, offsets, rows)
    assert len(names) == 10_000_000
    assert names[9_999_999] == "abcdefghij"


def test_pickling_carries_the_place_and_not_the_pictures(packed):
    part = packed.select([8, 3])
    content = pickle.dumps(part)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert list(again.names) == list(part.names)
    np.testing.assert_array_equal(again.labels, part.labels)
    np.testing.assert_array_equal(again.read(1), part.read(1))
    assert again.locate(np.array([0])).starts == part.locate(np.array([0])).starts


def test_unpickling_where_another_pack_lies_now(packed, photo_folder, monkeypatch):
    content = pickle.dumps(packed)
    shutil.rmtree(packed.folder)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        pickle.loads(content)
    pack(FolderSource(photo_folder).select([0, 1]), packed.folder, size=SIZE)
    with pytest.raises(ValueError, match="holds 2 pictures now"):
        pickle.loads(content)


def read_in_child(source, queue):
    queue.put([np.array(source.read(i)) for i in range(len(source))])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_it_works_in_a_forked_child(packed):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(packed, queue))
    child.start()
    images = queue.get(timeout=30)
    child.join()
    np.testing.assert_array_equal(np.stack(images), packed.images)


# --- what is refused


def edit_meta(folder, **changes):
    path = folder / "meta.json"
    fields = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not ...}))


def refuse(error, message, folder):
    with pytest.raises(error, match=message):
        PackedSource(folder)


def test_folders_that_are_no_packs(tmp_path, packed):
    refuse(FileNotFoundError, "There is no folder", tmp_path / "missing")
    refuse(FileNotFoundError, "There is no folder", packed.folder / "images.npy")
    (tmp_path / "empty").mkdir()
    refuse(ValueError, "not a folder of packed pictures, or an unfinished one", tmp_path / "empty")
    os.rename(packed.folder, tmp_path / "packed.partial")
    refuse(ValueError, "unfinished", tmp_path / "packed.partial")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "of version 2, this fusewarp reads version 1"),
        ({"format": "zarr"}, "of the format 'zarr'"),
        ({"format": ...}, "not the meta.json of packed pictures"),
        ({"count": ...}, "meta.json is damaged"),
        ({"count": -1}, "meta.json is damaged"),
        ({"count": "11"}, "meta.json is damaged"),
        ({"image_size": [24, 20, 3]}, "meta.json is damaged"),
        ({"image_size": 24}, "meta.json is damaged"),
        ({"surprise": 1}, "meta.json is damaged"),
        ({"count": 12}, r"images.npy should be uint8 of shape \(12, 24, 20, 3\)"),
        ({"channels": 4}, r"images.npy should be uint8 of shape \(11, 24, 20, 4\)"),
    ],
)
def test_meta_that_does_not_fit(packed, changes, message):
    edit_meta(packed.folder, **changes)
    refuse(ValueError, message, packed.folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\xff"])
def test_meta_that_is_none(packed, text):
    (packed.folder / "meta.json").write_text(text, encoding="latin-1")
    refuse(ValueError, "not the meta.json of packed pictures", packed.folder)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "names.npy", "name_offsets.npy"])
@pytest.mark.parametrize("change", ["missing", "empty", "header only", "short", "long", "text"])
def test_files_that_do_not_fit(packed, name, change):
    path = packed.folder / name
    content = path.read_bytes()
    if change == "missing":
        path.unlink()
        refuse(FileNotFoundError, f"{name} is missing", packed.folder)
        return
    changed = {
        "empty": b"",
        "header only": content[:128],
        "short": content[:-1],
        "long": content + b"\0",
        "text": b"not an array at all" * 20,
    }
    path.write_bytes(changed[change])
    refuse(ValueError, name, packed.folder)


def test_arrays_of_another_kind(packed):
    images = np.array(packed.images)
    np.save(packed.folder / "images.npy", np.asfortranarray(images))
    refuse(ValueError, "images.npy should be", packed.folder)
    np.save(packed.folder / "images.npy", images.astype(np.int8))
    refuse(ValueError, "it is int8", packed.folder)


# --- verify


@pytest.mark.parametrize("threads", [1, 3])
def test_verify_reads_every_picture(packed, threads):
    steps = []
    packed.verify(threads=threads, progress=steps.append)
    assert sorted(steps) == [3, 4, 4]
    packed.select([1]).verify()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("picture", [0, 3, 4, 10])
def test_verify_finds_a_flipped_bit_and_says_where(packed, picture):
    flip(packed.folder / "images.npy", 128 + picture * packed.read(0).size + 77)
    first = picture // 4 * 4
    with pytest.raises(ValueError, match=rf"pictures {first} to {min(first + 3, 10)}\)"):
        PackedSource(packed.folder).verify()


def test_verify_counts_what_is_wrong(packed):
    for picture in (5, 10):
        flip(packed.folder / "images.npy", 128 + picture * packed.read(0).size)
    with pytest.raises(ValueError, match=r"pictures 4 to 7, and 1 more of 3 runs"):
        packed.verify()


@pytest.mark.parametrize("name", ["labels.npy", "names.npy", "name_offsets.npy", "checksums.npy"])
def test_verify_finds_a_flipped_bit_in_the_small_files(packed, name):
    flip(packed.folder / name, os.path.getsize(packed.folder / name) - 8)
    with pytest.raises(ValueError, match=f"{name} is not what was packed"):
        packed.verify()


def test_verify_finds_a_changed_header_and_changed_meta(packed):
    flip(packed.folder / "images.npy", 100)  # among the spaces that fill it up
    with pytest.raises(ValueError, match="its header is another"):
        packed.verify()
    flip(packed.folder / "images.npy", 100)
    edit_meta(packed.folder, class_names=["dog", "cat"])
    with pytest.raises(ValueError, match=r"meta\.json was changed"):
        PackedSource(packed.folder).verify()
