import numpy as np
import pytest

from fusewarp import Augmenter, Loader, Policy
from fusewarp.engine.buffers import Scratch, borrowed_scratch
from fusewarp.engine.staging import Staging


def test_scratch_is_used_again_unless_it_is_huge(monkeypatch):
    monkeypatch.setattr(Scratch, "MOST_KEPT", 1000)
    scratch = Scratch()
    first = scratch.take(800)
    assert np.shares_memory(scratch.take(500), first)
    assert len(scratch.take(500)) == 500
    huge = scratch.take(1001)
    assert len(huge) == 1001
    assert not np.shares_memory(scratch.take(900), huge)


def test_scratch_that_is_lent_is_not_lent_again():
    with borrowed_scratch() as outer:
        with borrowed_scratch() as inner:
            assert inner is not outer
        with borrowed_scratch() as again:
            assert again is inner
    with pytest.raises(KeyError), borrowed_scratch():
        raise KeyError
    with borrowed_scratch() as last:
        assert last is outer  # the error has returned it


class Recorder:
    """Copies what a `Staging` hands on."""

    def __init__(self):
        self.pictures, self.groups = {}, []

    def __call__(self, located, rows):
        self.groups.append(rows)
        for at, row in enumerate(range(rows.start, rows.stop)):
            size = located.sizes[at]
            start = located.starts[at]
            flat = located.pixels[start : start + size.prod() * 3]
            assert row not in self.pictures
            self.pictures[row] = flat.reshape(*size, 3).copy()
            assert located.extents[at].tolist() == size.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("missing", [(), (0,), (3, 4), (11,), tuple(range(12))])
@pytest.mark.parametrize("group_bytes", [1, 400, 2**20])
def test_every_picture_comes_through_in_its_row(dtype, missing, group_bytes, monkeypatch):
    monkeypatch.setattr(Staging, "GROUP_BYTES", -(-group_bytes // 4) * 4)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*rng.integers(1, 9, 2), 3)).astype(dtype) for _ in range(12)]
    recorder = Recorder()
    staging = Staging(recorder, Scratch(), dtype)
    for row, image in enumerate(images):
        room = staging.room(image.size)
        room[:] = 0  # a decoder that fails has written something
        if row not in missing:
            staging.copy(row, image)
    staging.flush()
    assert sorted(recorder.pictures) == [row for row in range(12) if row not in missing]
    for row, picture in recorder.pictures.items():
        np.testing.assert_array_equal(picture, images[row])
    if not missing:
        assert (len(recorder.groups) == 1) == (group_bytes == 2**20)


class Sizes:
    """A source of nothing but `read`: pictures of any size and stride."""

    labels = weights = image_size = None
    channels, dtype = 3, np.dtype(np.float32)

    def __init__(self):
        rng = np.random.default_rng(3)
        sizes = rng.integers(1, 60, (20, 2))
        self.images = [rng.normal(0, 99, (h, w, 3)).astype(np.float32) for h, w in sizes]

    @property
    def names(self):
        return [str(i) for i in range(20)]

    def __len__(self):
        return 20

    def read(self, sample_id, min_size=(0, 0)):
        return np.asfortranarray(self.images[sample_id])


@pytest.mark.parametrize("group_bytes", [4, 20_000, Staging.GROUP_BYTES])
def test_a_source_with_only_a_read_gives_what_apply_gives(group_bytes, monkeypatch):
    monkeypatch.setattr(Staging, "GROUP_BYTES", group_bytes)
    source = Sizes()
    augmenter = Augmenter(Policy(rotation_range=90, fill_mode="reflect"), size=(12, 13))
    for batch in Loader(source, augmenter, 7):
        for sample_id, image in zip(batch.sample_ids, batch.images, strict=True):
            expected = augmenter.apply(source.images[sample_id][np.newaxis], [sample_id])[0]
            np.testing.assert_array_equal(image, expected)
