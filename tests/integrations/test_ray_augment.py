"""What happens in an actor, and what is refused before there is one: without a cluster."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray")
pytest.importorskip("ray.data")

from fusewarp import (
    ArraySource,
    Augmenter,
    FolderSource,
    Loader,
    Policy,
    SampleError,
)
from fusewarp.integrations.ray.actor import loader_of_this_actor
from fusewarp.integrations.ray.dataset import steps_per_task
from fusewarp.ray import Augment, AugmentRows, as_dataset

POLICY = Policy(rotation_range=20, zoom_range=0.3, horizontal_flip=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 40, 52, 3), np.uint8)


def make_loader(**options):
    augmenter = Augmenter(POLICY, size=16, seed=3)
    return Loader(ArraySource(IMAGES, np.arange(12)), augmenter, 4, **options)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def join(batches, name):
    return np.concatenate([batch[name] for batch in batches])


def test_augment_keeps_columns_and_order():
    ids = np.array([7, 2, 7, 0])
    (rows,) = Augment(make_loader(), 5)({"sample_id": ids, "x": np.arange(4)})
    expected = make_loader().make(ids, 5)
    np.testing.assert_array_equal(rows["image"], expected.images)
    np.testing.assert_array_equal(rows["label"], ids)
    assert rows["x"].tolist() == [0, 1, 2, 3]
    assert "weight" not in rows


def test_a_column_of_epochs_decides():
    ids, epochs = np.array([3, 3, 3, 4]), np.array([1, 0, 0, 2])
    batches = list(Augment(make_loader(), 9)({"sample_id": ids, "epoch": epochs}))
    loader = make_loader()
    expected = [loader.make([i], epoch).images for i, epoch in zip(ids, epochs, strict=True)]
    np.testing.assert_array_equal(join(batches, "image"), np.concatenate(expected))
    assert join(batches, "epoch").tolist() == epochs.tolist()


def test_an_empty_batch_makes_none():
    empty = np.zeros(0, np.int64)
    assert list(Augment(make_loader())({"sample_id": empty, "epoch": empty})) == []
    assert list(AugmentRows(Augmenter(POLICY))({"sample_id": empty, "image": IMAGES[:0]})) == []


def test_skipped_rows_leave_with_all_their_columns(photo_folder):
    source = FolderSource(photo_folder)
    source.paths[4].write_bytes(b"")
    loader = Loader(source, Augmenter(POLICY, size=16), on_error="skip")
    ids = np.array([5, 4, 3, 4])
    with pytest.warns(UserWarning, match=f"{source.names[4]} was left out"):
        (rows,) = Augment(loader)({"sample_id": ids, "x": np.arange(4)})
    assert rows["x"].tolist() == [0, 2]
    np.testing.assert_array_equal(rows["image"], loader.make([5, 3], 0).images)
    with pytest.warns(UserWarning, match="was left out"):
        assert list(Augment(loader)({"sample_id": ids[[1]]})) == []


def test_encoded_rows_have_the_pixels_of_a_loader(photo_folder):
    source = FolderSource(photo_folder)
    augmenter = Augmenter(POLICY, size=16, seed=3)
    ids = np.array([9, 0, 2, 0, 6])
    rows = {"id": ids, "file": objects([source.encoded(i)[0] for i in ids]), "x": np.arange(5)}
    (augmented,) = AugmentRows(augmenter, "file", "id", epoch=4)(rows)
    np.testing.assert_array_equal(augmented["image"], Loader(source, augmenter).make(ids, 4).images)
    assert set(augmented) == {"id", "x", "image"}


@pytest.mark.parametrize("images", [IMAGES, objects(list(IMAGES))], ids=["array", "objects"])
def test_arrays_of_rows_are_augmented(images):
    augmenter = Augmenter(POLICY, size=16, seed=3)
    ids = np.arange(100, 112)
    (augmented,) = AugmentRows(augmenter)({"sample_id": ids, "image": images})
    np.testing.assert_array_equal(augmented["image"], augmenter.apply(IMAGES, ids))


@pytest.mark.parametrize("where", [0, 1])
def test_a_row_without_a_picture_is_told_or_skipped_wherever_it_stands(where):
    data = objects([png(image) for image in IMAGES[:3]])
    data[where] = None
    rows = {"sample_id": np.arange(3), "image": data}
    augmenter = Augmenter(POLICY, size=16)
    with pytest.raises(SampleError, match=f"sample id {where} has no picture"):
        list(AugmentRows(augmenter)(rows))
    with pytest.warns(UserWarning, match="was left out"):
        (kept,) = AugmentRows(augmenter, on_error="skip")(rows)
    assert kept["sample_id"].tolist() == [i for i in range(3) if i != where]


def test_a_null_among_ids_of_text_is_refused():
    rows = {"path": objects(["a", None]), "image": objects([png(IMAGES[0])] * 2)}
    with pytest.raises(ValueError, match="column 'path' holds None among texts"):
        list(AugmentRows(Augmenter(POLICY, size=16), sample_id="path")(rows))


def test_another_way_with_errors_is_refused():
    with pytest.raises(ValueError, match="on_error"):
        AugmentRows(Augmenter(POLICY, size=16), on_error="ignore")


def test_what_is_no_loader_is_refused():
    with pytest.raises(TypeError, match="`loader` must be a Loader, got str"):
        as_dataset("photos", num_actors=1)


def test_grey_rows():
    data = objects([png(image) for image in IMAGES])
    rows = {"sample_id": np.arange(12), "image": data}
    augmenter = Augmenter(POLICY, size=16)
    (augmented,) = AugmentRows(augmenter, color_mode="grayscale")(rows)
    assert augmented["image"].shape == (12, 16, 16, 1)


def test_text_ids_are_numbers_of_their_own():
    augmenter = Augmenter(Policy(rotation_range=180), size=16)
    same = objects([png(IMAGES[0])] * 12)
    names = objects([f"photos/{number}.png" for number in range(12)])
    augment = AugmentRows(augmenter, sample_id="path")
    (rows,) = augment({"path": names, "image": same})
    assert len({image.tobytes() for image in rows["image"]}) == 12
    (turned,) = augment({"path": names[::-1], "image": same})
    np.testing.assert_array_equal(turned["image"], rows["image"][::-1])


def test_one_id_for_two_pictures_is_refused():
    rows = {"sample_id": np.array([1, 1]), "image": objects([png(IMAGES[0]), png(IMAGES[1])])}
    with pytest.raises(ValueError, match="Two pictures have the sample id 1"):
        list(AugmentRows(Augmenter(POLICY, size=16))(rows))


def test_a_row_that_is_no_picture_is_named_or_left_out():
    augmenter = Augmenter(POLICY, size=16)
    paths = objects(["a.png", "b.png", "c.png"])
    rows = {"path": paths, "bytes": objects([png(IMAGES[0]), b"none", png(IMAGES[2])])}
    with pytest.raises(SampleError, match=r"the row with the sample id 'b\.png' cannot be decoded"):
        list(AugmentRows(augmenter, "bytes", "path")(rows))
    skipping = AugmentRows(augmenter, "bytes", "path", on_error="skip")
    with pytest.warns(UserWarning, match=r"'b\.png' was left out"):
        (left,) = skipping(rows)
    assert left["path"].tolist() == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"id": np.arange(2)}, "no column 'sample_id', only \\['id'\\]"),
        ({"sample_id": np.array([0.5, 1])}, "'sample_id' must hold integers, got float64"),
        ({"sample_id": np.arange(2), "epoch": np.array(["0", "1"])}, "'epoch' must hold integers"),
        ({"sample_id": np.array([12])}, "0 to 11"),
        ({"sample_id": np.array([-1])}, "0 to 11"),
    ],
)
def test_ids_that_are_none(rows, message):
    with pytest.raises(ValueError, match=message):
        list(Augment(make_loader())(rows))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_actors": 0}, ValueError, "`num_actors` must be at least 1, got 0"),
        ({"num_actors": 1.5}, TypeError, "`num_actors` must be an integer, got 1.5"),
        ({"cpus_per_actor": 0}, ValueError, "`cpus_per_actor` must be at least 1"),
        ({"epoch": -1}, ValueError, "`epoch` must be at least 0, got -1"),
        ({"start_step": -1}, ValueError, "`start_step` must be at least 0"),
        ({"start_step": 3}, ValueError, "`start_step` must be below 3, the loader's steps, got 3"),
    ],
)
def test_arguments_are_checked_before_ray_starts(options, error, message):
    with pytest.raises(error, match=message):
        as_dataset(make_loader(), **{"num_actors": 1, **options})


def test_a_loader_that_never_ends_is_refused():
    with pytest.raises(ValueError, match="never ends"):
        as_dataset(make_loader(epochs=None), num_actors=1)


def test_a_cache_is_refused(photo_folder):
    loader = Loader(FolderSource(photo_folder), Augmenter(POLICY, size=16), cache="memory")
    for make in (Augment, lambda loader: as_dataset(loader, num_actors=1)):
        with pytest.raises(ValueError, match='cache="memory"'):
            make(loader)


def test_a_cuda_device_is_refused():
    loader = make_loader()
    loader.augmenter.device = SimpleNamespace(kind="cuda", index=1)
    for make in (
        Augment,
        lambda loader: as_dataset(loader, num_actors=1),
        lambda loader: AugmentRows(loader.augmenter),
    ):
        with pytest.raises(ValueError, match="works on cuda:1"):
            make(loader)


def test_tasks_are_few_but_enough_for_all_actors():
    assert steps_per_task(1, 8) == 1
    assert steps_per_task(40, 8) == 1
    assert steps_per_task(64, 8) == 2
    assert steps_per_task(3000, 8) == 4
    assert steps_per_task(100_000, 8) == 100


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": False},
        {"shard": (1, 5)},
        {"shard": (4, 5), "even_shards": "repeat"},
        {"shard": (0, 5), "even_shards": "drop", "drop_remainder": True},
        {"drop_remainder": True},
    ],
)
def test_an_actor_has_the_loader_it_was_given(options):
    augmenter = Augmenter(POLICY, size=16, seed=3)
    loader = Loader(ArraySource(IMAGES), augmenter, 2, on_error="skip", **options)
    own = loader_of_this_actor(loader)
    assert len(own) == len(loader)
    assert own.on_error == "skip"
    for step in range(len(loader)):
        np.testing.assert_array_equal(own.sample_ids(7, step), loader.sample_ids(7, step))
