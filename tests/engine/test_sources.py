import os
import re

import numpy as np
import pytest
from PIL import Image

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy
from fusewarp.engine import SampleError


def test_folder_lists_classes_and_files_sorted(photo_folder):
    (photo_folder / "cat" / "nested").mkdir()
    Image.new("RGB", (4, 4)).save(photo_folder / "cat" / "nested" / "a.PNG")
    (photo_folder / "cat" / "notes.txt").write_text("no picture")
    (photo_folder / ".ipynb_checkpoints").mkdir()
    source = FolderSource(photo_folder)
    assert source.class_names == ["cat", "dog"]
    assert source.names[:6] == [*(f"cat/0{i}.{'png' if i == 2 else 'jpg'}" for i in range(5)),
                                "cat/nested/a.PNG"]  # fmt: skip
    assert source.labels.tolist() == [0] * 6 + [1] * 6
    assert len(source) == 12
    assert source.read(5).shape == (4, 4, 3)


def test_folder_takes_classes_in_the_given_order(photo_folder):
    source = FolderSource(photo_folder, classes=["dog", "cat"])
    assert source.class_names == ["dog", "cat"]
    assert source.names[0].startswith("dog/")
    assert FolderSource(photo_folder, classes=["dog"]).labels.tolist() == [0] * 6


def test_folder_without_labels_takes_everything_below(photo_folder):
    source = FolderSource(photo_folder, labelled=False)
    assert source.labels is None
    assert len(source) == 11


def test_select_keeps_names_labels_and_pixels_together(photo_folder):
    source = FolderSource(photo_folder)
    part = source.select([7, 2])
    assert part.names == [source.names[7], source.names[2]]
    assert part.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(part.read(0), source.read(7))
    assert len(source) == 11


def refuse(error, message, *args, **kwargs):
    with pytest.raises(error, match=message):
        FolderSource(*args, **kwargs)


def test_folder_refusals(tmp_path, photo_folder):
    refuse(FileNotFoundError, "missing does not exist", tmp_path / "missing")
    a_file = photo_folder / "cat" / "00.jpg"
    refuse(NotADirectoryError, re.escape(str(a_file)), a_file)
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(ValueError, "no sub-folders", empty)
    refuse(ValueError, "holds no pictures", empty, labelled=False)
    (empty / "only").mkdir()
    refuse(ValueError, "only the class 'only'", empty)
    (empty / "other").mkdir()
    refuse(ValueError, "only holds no pictures", empty)
    refuse(FileNotFoundError, "bird does not exist", photo_folder, classes=["cat", "bird"])
    refuse(ValueError, "`classes`", photo_folder, classes=["cat", "cat"])
    refuse(ValueError, "`color_mode`", photo_folder, color_mode="bgr")
    refuse(ValueError, r"`decode` must be one of \['fast', 'exact'\]", photo_folder, decode="slow")


def test_a_file_that_vanished_is_named(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[3].unlink()
    with pytest.raises(SampleError, match=r"03\.jpg cannot be read \(No such file"):
        source.read(3)


def test_array_source_refusals():
    images = np.zeros((4, 5, 6, 3), np.uint8)
    for error, message, arguments in [
        (TypeError, "must be a NumPy array, got list", ([1, 2],)),
        (ValueError, r"got shape \(5, 6, 3\). For grey", (images[0],)),
        (TypeError, "got float64. Convert it once", (images.astype(float),)),
        (ValueError, "holds no pixels", (images[:, :0],)),
        (ValueError, "holds no pixels", (images[:0],)),
        (ValueError, r"`labels` must have one entry per picture \(4\)", (images, [1, 2])),
        (ValueError, "`weights`", (images, [1, 2, 3, 4], 1.0)),
    ]:
        with pytest.raises(error, match=message):
            ArraySource(*arguments)


def test_array_source_reads_memory_maps_without_loading_them(tmp_path):
    images = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)
    np.save(tmp_path / "images.npy", images)
    source = ArraySource(np.load(tmp_path / "images.npy", mmap_mode="r"), [3, 2, 1, 0])
    np.testing.assert_array_equal(source.read(2), images[2])
    part = source.select([3, 0])
    assert part.labels.tolist() == [0, 3]
    np.testing.assert_array_equal(part.read(0), images[3])
    np.testing.assert_array_equal(part.select([1]).read(0), images[0])
    assert isinstance(source.images, np.memmap)
    assert part.images is source.images
    assert len(part) == 2


@pytest.mark.parametrize("make", ["array", "folder"])
def test_select_takes_a_mask_and_keeps_the_weights_with_their_samples(make, photo_folder):
    source = FolderSource(photo_folder)
    if make == "array":
        source = ArraySource(np.zeros((11, 2, 2, 3), np.uint8), source.labels)
    source.weights = np.arange(11.0)
    dogs = source.select(source.labels == 1)
    assert dogs.labels.tolist() == [1] * 6
    assert dogs.weights.tolist() == [5, 6, 7, 8, 9, 10]
    assert len(dogs) == 6
    for ids in ([1.7], [-1], [11], [], [[1]], [True, False]):
        with pytest.raises(ValueError, match="`sample_ids`"):
            source.select(ids)


def test_a_folder_that_cannot_be_listed_is_an_error(photo_folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="dog"):
        FolderSource(photo_folder)


def test_paths_follow_names_and_the_folder_may_be_the_working_one(photo_folder, monkeypatch):
    source = FolderSource(photo_folder)
    assert source.paths[3] == photo_folder / "cat" / "03.jpg"
    assert source.paths[-2:] == [photo_folder / "dog" / name for name in ("04.jpg", "05.jpg")]
    assert list(source.paths) == [photo_folder / name for name in source.names]
    monkeypatch.chdir(photo_folder)
    for here in (FolderSource("."), FolderSource(".", classes=["./cat", "dog"])):
        assert here.names == source.names
        np.testing.assert_array_equal(here.read(3), source.read(3))
    assert FolderSource(".", labelled=False).names == source.names


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_arrays_are_located_where_they_lie(dtype, tmp_path):
    images = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3).astype(dtype)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for source in (ArraySource(images), ArraySource(mapped)):
        located = source.select([3, 1, 2]).locate(np.array([2, 0]))
        assert type(located.pixels) is np.ndarray
        assert np.shares_memory(located.pixels, source.images)
        assert located.sizes.tolist() == [[5, 6], [5, 6]]
        for start, expected in zip(located.starts, images[[2, 3]], strict=True):
            picture = located.pixels[start : start + 90].reshape(5, 6, 3)
            np.testing.assert_array_equal(picture, expected)
    assert ArraySource(images[:, ::2]).locate(np.arange(2)) is None


class Counting(ArraySource):
    reads = 0

    def read(self, sample_id, min_size=(0, 0)):
        self.reads += 1
        return super().read(sample_id, min_size)


def test_a_read_of_ones_own_is_called(photo_folder, monkeypatch):
    source = Counting(np.zeros((4, 5, 6, 3), np.uint8))
    list(Loader(source, Augmenter(Policy())))
    assert source.reads == 4
    folder, names = FolderSource(photo_folder), []
    read = folder.read
    monkeypatch.setattr(folder, "read", lambda i, size=(0, 0): (names.append(i), read(i, size))[1])
    list(Loader(folder, Augmenter(Policy(), size=8)))
    assert sorted(names) == list(range(11))
