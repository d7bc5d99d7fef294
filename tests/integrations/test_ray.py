"""The adapter against a local Ray cluster, with one actor and with two."""

import hashlib
import os
import secrets
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from fusewarp import (  # noqa: E402
    ArraySource,
    Augmenter,
    FolderSource,
    Loader,
    Policy,
    SampleError,
)
from fusewarp.integrations.ray import dataset as dataset_module  # noqa: E402
from fusewarp.ray import Augment, AugmentRows, as_dataset  # noqa: E402
from oracles.ray_workers import DeadlySource, ThreadsOfActor  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:The minimum number of"),
]

TESTS = Path(__file__).parents[1]
POLICY = Policy(rotation_range=20, zoom_range=0.3, horizontal_flip=True, rescale=1 / 255)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    folder = tempfile.mkdtemp(prefix="fwray")  # Ray's sockets need a short path
    seen = {
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        "FUSEWARP_CACHE": "1",
        "FUSEWARP_CACHE_DIR": str(tmp_path_factory.mktemp("kernels")),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else one is kept in the user's home
        ray.init(
            address="local",  # whatever other cluster there is
            num_cpus=4,  # two actors, and no test waits for one that Ray is still ending
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            _temp_dir=folder,
            runtime_env={"env_vars": seen},
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """22 JPEGs of different sizes in two classes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for number in range(22):
        path = folder / "ab"[number % 2] / f"{number:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        coarse.resize((150 - number, 90 + 2 * number)).save(path)
    return folder


def loader_of(source, **options):
    augmenter = Augmenter(POLICY, size=24, seed=5)
    return Loader(source, augmenter, 4, **options)


def array_loader(source=ArraySource, *args, **options):
    images = np.random.default_rng(8).integers(0, 256, (28, 20, 26, 3), np.uint8)
    return loader_of(source(images, np.arange(28) % 7, *args), **options)


def batches_of(dataset, size=4):
    return list(dataset.iter_batches(batch_size=size, batch_format="numpy"))


def multiset(batches, epoch=None):
    """Return (epoch, id, hash of the pixels) of all samples, sorted."""
    return sorted(
        (int(which), int(sample_id), hashlib.sha1(np.ascontiguousarray(image)).hexdigest())
        for batch in batches
        for which, sample_id, image in zip(
            batch["epoch"] if epoch is None else np.full(len(batch["image"]), epoch),
            batch["sample_id"],
            batch["image"],
            strict=True,
        )
    )


def multiset_of_loader(loader):
    return multiset(
        {
            "image": batch.images,
            "sample_id": batch.sample_ids,
            "epoch": np.full(len(batch.images), at // len(loader)),
        }
        for at, batch in enumerate(loader)
    )


def assert_same_batches(batches, loader):
    """The batches are those that the loader gives from its position on, in its order."""
    for batch, expected in zip(batches, loader, strict=True):
        np.testing.assert_array_equal(batch["sample_id"], expected.sample_ids)
        np.testing.assert_array_equal(batch["image"], expected.images)
        np.testing.assert_array_equal(batch["label"], expected.labels)
        assert batch["image"].dtype == expected.images.dtype


def test_one_actor_gives_the_batches_of_the_loader(photos):
    source = FolderSource(photos)
    source.weights = np.linspace(0, 1, len(source)).astype(np.float32)
    options = {"epochs": 3, "drop_remainder": True}
    batches = batches_of(as_dataset(loader_of(source, **options), num_actors=1))
    assert_same_batches(batches, loader_of(source, **options))
    ids = np.concatenate([batch["sample_id"] for batch in batches])
    np.testing.assert_array_equal(
        np.concatenate([batch["weight"] for batch in batches]), source.weights[ids]
    )
    assert np.concatenate([batch["epoch"] for batch in batches]).tolist() == [
        epoch for epoch in range(3) for _ in range(20)
    ]


@pytest.mark.parametrize("steps_per_task", [1, 2])
def test_nothing_is_lost_or_twice_when_an_actor_is_killed(tmp_path, monkeypatch, steps_per_task):
    """In a task of two steps it dies in the second, when the first may have been handed on."""
    monkeypatch.setattr(dataset_module, "_STEPS_PER_TASK", steps_per_task)
    deadly_id, mark = array_loader().sample_ids(0, 3)[2], tmp_path / "died"
    dataset = as_dataset(array_loader(DeadlySource, deadly_id, mark, epochs=3), num_actors=2)
    dataset.context.target_max_block_size = 4 * 24 * 24 * 3 * 4  # one batch
    batches = batches_of(dataset)
    assert mark.exists()
    assert multiset(batches) == multiset_of_loader(array_loader(epochs=3))
    assert_same_batches(batches, array_loader(epochs=3))


def test_goes_on_in_the_middle_of_an_epoch():
    dataset = as_dataset(array_loader(epochs=2), 3, start_step=5, num_actors=2)
    whole = array_loader(epochs=2)
    whole.load_state_dict({"seed": 5, "epoch": 3, "step": 5})
    assert_same_batches(batches_of(dataset), whole)


def test_trainers_that_share_a_dataset_have_each_sample_once():
    """And in whatever order: it is split, and not told to keep the order."""
    dataset = as_dataset(array_loader(), num_actors=2)
    dataset.context.execution_options.preserve_order = False
    taken = []

    def train(share):
        taken.extend(share.iter_batches(batch_size=4, batch_format="numpy"))

    trainers = [
        threading.Thread(target=train, args=(share,)) for share in dataset.streaming_split(2)
    ]
    for trainer in trainers:
        trainer.start()
    for trainer in trainers:
        trainer.join()
    assert multiset(taken) == multiset_of_loader(array_loader())


def test_augment_takes_ids_and_epochs_of_any_dataset(photos):
    loader = loader_of(FolderSource(photos), epochs=2)
    rows = [
        {"sample_id": sample_id, "epoch": epoch, "note": f"{epoch}-{sample_id}"}
        for sample_id in range(22)
        for epoch in (0, 1)
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=3).map_batches(
        Augment,
        fn_constructor_args=(loader,),
        batch_size=6,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    batches = batches_of(dataset, 5)
    assert multiset(batches) == multiset_of_loader(loader)
    for batch in batches:
        told = [f"{epoch}-{i}" for epoch, i in zip(batch["epoch"], batch["sample_id"], strict=True)]
        assert batch["note"].tolist() == told
        np.testing.assert_array_equal(batch["label"], loader.source.labels[batch["sample_id"]])


def test_augment_rows_decodes_what_a_dataset_brings_along(photos, tmp_path):
    source = FolderSource(photos)
    ids = list(range(len(source)))
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"sample_id": ids, "jpeg": [source.encoded(i)[0] for i in ids]})
    parquet.write_table(table, tmp_path / "photos.parquet")
    dataset = ray.data.read_parquet(str(tmp_path / "photos.parquet")).map_batches(
        AugmentRows,
        fn_constructor_args=(Augmenter(POLICY, size=24, seed=5), "jpeg"),
        batch_size=8,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    assert multiset(batches_of(dataset), 0) == multiset_of_loader(loader_of(source))


def test_augment_rows_takes_what_ray_reads_of_image_files(photos):
    augmenter = Augmenter(POLICY, size=24, seed=5)

    def augmented(files, column):
        dataset = files.map_batches(
            AugmentRows,
            fn_constructor_args=(augmenter, column, "path"),
            batch_size=8,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        batches = batches_of(dataset)
        assert {frozenset(batch) for batch in batches} == {frozenset({"image", "path"})}
        return {
            path: image
            for batch in batches
            for path, image in zip(batch["path"], batch["image"], strict=True)
        }

    encoded = augmented(ray.data.read_binary_files(str(photos), include_paths=True), "bytes")
    decoded = augmented(ray.data.read_images(str(photos), include_paths=True, mode="RGB"), "image")
    assert len(encoded) == 22
    assert encoded.keys() == decoded.keys()
    for path, image in encoded.items():
        assert np.abs(image - decoded[path]).mean() < 0.03  # the same map, another JPEG decoder


def test_to_tf():
    tf = pytest.importorskip("tensorflow")
    dataset = as_dataset(array_loader(), num_actors=1)
    size = (None, 24, 24, 3)
    batches = list(
        dataset.to_tf(
            "image",
            "label",
            batch_size=4,
            feature_type_spec=tf.TensorSpec(size, tf.float32, name="image"),
            label_type_spec=tf.TensorSpec((None,), tf.int64, name="label"),
        )
    )
    for (images, labels), expected in zip(batches, array_loader(), strict=True):
        np.testing.assert_array_equal(images.numpy(), expected.images)
        np.testing.assert_array_equal(labels.numpy(), expected.labels)


def test_iter_torch_batches():
    torch = pytest.importorskip("torch")
    dataset = as_dataset(array_loader(), num_actors=1)
    batches = list(dataset.iter_torch_batches(batch_size=4))
    assert isinstance(batches[0]["image"], torch.Tensor)
    as_arrays = [{name: value.numpy() for name, value in batch.items()} for batch in batches]
    assert_same_batches(as_arrays, array_loader())


@pytest.fixture
def spoilt(photos, tmp_path):
    """The photos, of which number 6 is no picture."""
    shutil.copytree(photos, tmp_path / "photos")
    source = FolderSource(tmp_path / "photos")
    source.paths[6].write_bytes(b"\xff\xd8\xff no picture")
    return source


def test_a_picture_that_cannot_be_read_is_named(spoilt):
    with pytest.raises(SampleError, match=spoilt.names[6]):
        batches_of(as_dataset(loader_of(spoilt), num_actors=1))


def test_skipping_leaves_out_that_picture_alone(spoilt, photos):
    loader = loader_of(spoilt, on_error="skip")
    batches = batches_of(as_dataset(loader, num_actors=1))
    whole = multiset_of_loader(loader_of(FolderSource(photos)))
    assert multiset(batches) == [sample for sample in whole if sample[1] != 6]

    # what docs/ray.md tells who wants to know which
    came = np.concatenate([batch["sample_id"] for batch in batches])
    due = np.concatenate([loader.sample_ids(0, step) for step in range(len(loader))])
    loader.make(np.setdiff1d(due, came), 0)
    assert [skipped.name for skipped in loader.skipped] == [spoilt.names[6]]


def test_an_actor_has_as_many_threads_as_cpus():
    dataset = ray.data.from_items([0]).map_batches(
        ThreadsOfActor,
        fn_constructor_args=(Augmenter(POLICY, threads=7),),
        batch_format="numpy",
        num_cpus=2,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    assert dataset.take_all() == [{"threads": 2}]
