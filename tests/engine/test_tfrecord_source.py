"""TFRecord files as a source: the same as files, and nothing lost or wrong silently."""

import collections
import hashlib
import itertools
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("google.protobuf")
pytest.importorskip("google_crc32c")

from fusewarp import (
    Augmenter,
    BlockShuffle,
    FolderSource,
    Loader,
    Policy,
    SampleError,
    TFRecordSource,
    check_no_leaks,
    stratified_split,
)
from fusewarp.engine import shard_index, tfrecord_source
from fusewarp.engine.retry import Retry
from oracles.examples import example, examples, flipped, frame, write_tfrecord
from oracles.shard_readers import hashes, put_hashes
from oracles.shards import picture, pixels_of

POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True, rescale=1 / 255)
QUICK = Retry(attempts=4, first_delay=0.001, longest_delay=0.002, longest_total=5)


@pytest.fixture
def shards(tmp_path) -> str:
    """Seven records in three files, one of which is empty; named as ImageNet's are."""
    write_tfrecord(tmp_path / "train-00000-of-00003", examples(4))
    write_tfrecord(tmp_path / "train-00001-of-00003", [])
    write_tfrecord(tmp_path / "train-00002-of-00003", examples(3, first=4))
    return str(tmp_path / "train-*")


def names_of(first, last):
    return [f"train-{0 if n < 4 else 2:05d}-of-00003:{n - 4 * (n > 3)}" for n in range(first, last)]


def test_pictures_names_and_labels(shards):
    for _ in range(2):  # indexed, and from the indices that then lie there and fit the pattern
        source = TFRecordSource(shards)
        assert (len(source), list(source.names)) == (7, names_of(0, 7))
        assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
        for number in reversed(range(7)):
            np.testing.assert_array_equal(source.read(number), pixels_of(picture(number)))
        assert (source.weights, source.class_names, source.skipped) == (None, [], [])
        assert source.block_sizes.tolist() == [4, 3]


def test_names_of_a_feature_and_no_labels(shards):
    source = TFRecordSource(shards, None, name="image/filename")
    assert source.names[5] == "train-00002-of-00003/0005"
    assert (source.labels, source.class_names) == (None, [])


def test_texts_and_fractions_as_labels(tmp_path):
    records = [
        example(image=picture(n), breed=breed, age=age)
        for n, (breed, age) in enumerate([("pug", 3.0), ("lab", 0.5), ("pug", 1.25)])
    ]
    path = write_tfrecord(tmp_path / "dogs.tfrecord", records)
    source = TFRecordSource(path, "breed", image="image")
    assert (source.labels.tolist(), source.class_names) == ([1, 0, 1], ["lab", "pug"])
    ages = TFRecordSource(path, "age", image="image")
    assert (ages.labels.tolist(), ages.labels.dtype) == ([3, 0.5, 1.25], np.float32)


@pytest.mark.slow  # TensorFlow is imported
def test_files_that_tensorflow_wrote(tmp_path):
    tf = pytest.importorskip("tensorflow")
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for number in range(5):
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture(number, "jpg")]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[number - 2]))
            features = tf.train.Features(feature={"image": image, "label": label})
            writer.write(tf.train.Example(features=features).SerializeToString())
    source = TFRecordSource(tmp_path / "a.tfrecord", "label", image="image")
    assert source.labels.tolist() == [-2, -1, 0, 1, 2]
    for i, record in enumerate(tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord"))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        assert source.encoded(i)[0] == features["image"].bytes_list.value[0]


def test_select_splits_and_grey(shards):
    source = TFRecordSource(shards, class_names=["a", "b", "c"], color_mode="grayscale")
    assert source.read(0).shape == (6, 9, 1)
    part = source.select([5, 0, 4]).select([2, 0])
    assert list(part.names) == [*names_of(4, 5), *names_of(5, 6)]
    assert part.labels.tolist() == [1, 2]
    assert repr(part.names).endswith("2 names)")
    train, validation = (
        source.select(ids) for ids in stratified_split(source.names, source.labels, 0.3)
    )
    assert sorted([*train.names, *validation.names]) == names_of(0, 7)
    check_no_leaks(train, validation)


# --- the same as files


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Forty JPEGs as a folder, and in three TFRecord files in the same order."""
    folder = tmp_path_factory.mktemp("tiles")
    for number in range(40):
        path = folder / "files" / "abc"[number % 3] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, "jpg", (40, 50)))
    source = FolderSource(folder / "files")
    records = [
        example(
            image__encoded=(folder / "files" / name).read_bytes(), image__class__label=int(label)
        )
        for name, label in zip(source.names, source.labels, strict=True)
    ]
    for first in range(0, 40, 15):
        write_tfrecord(folder / f"tiles-{first // 15}.tfrecord", records[first : first + 15])
    return folder / "files", str(folder / "tiles-{0..2}.tfrecord")


def loader_of(source, threads=1, **options):
    augmenter = Augmenter(POLICY, size=(24, 32), seed=5, threads=threads)
    return Loader(source, augmenter, batch_size=7, **options)


def seen(batches):
    """Count (id, label, hash of the pixels)."""
    counts = collections.Counter()
    for batch in batches:
        for sample_id, label, image in zip(
            batch.sample_ids, batch.labels, batch.images, strict=True
        ):
            counts[int(sample_id), int(label), hashlib.sha1(image.tobytes()).hexdigest()] += 1
    return counts


@pytest.mark.parametrize("threads", [1, 2])
def test_two_epochs_equal_those_of_a_folder(tiles, threads):
    folder, shards = tiles
    ours = loader_of(TFRecordSource(shards), threads)
    theirs = loader_of(FolderSource(folder), threads)
    for _ in range(2):
        expected = seen(theirs)
        assert seen(ours) == expected
        assert len(expected) == 40


def test_going_on_in_the_middle_is_exact(tiles):
    source = TFRecordSource(tiles[1])
    whole = [seen([batch]) for batch in loader_of(source, 2, epochs=2)]
    first = loader_of(source, 2, epochs=2)
    batches = iter(first)
    begun = [seen([next(batches)]) for _ in range(8)]
    second = loader_of(pickle.loads(pickle.dumps(source)), 1)
    second.load_state_dict(first.state_dict())
    assert begun + [seen([batch]) for batch in second] == whole


def test_blocks_of_files_are_shuffled(tiles):
    source = TFRecordSource(tiles[1])
    loader = loader_of(source, shuffle=BlockShuffle(source.block_sizes, window=1))
    shards = [source.names[i][:7] for batch in loader for i in batch.sample_ids]
    assert collections.Counter(shards) == {"tiles-0": 15, "tiles-1": 15, "tiles-2": 10}
    assert sum(one != other for one, other in itertools.pairwise(shards)) == 2


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_other_processes_read_the_same(shards, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    source = TFRecordSource(shards).select([6, 0, 3])
    expected = hashes(source)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put_hashes, args=(source, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join(60)


def test_many_threads_read_at_once(tiles):
    source = TFRecordSource(tiles[1])
    expected = [source.encoded(i)[0] for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        ids = [7 * i % 40 for i in range(400)]
        found = list(pool.map(lambda i: source.encoded(i)[0], ids))
    assert found == [expected[i] for i in ids]


# --- faults


def test_an_index_is_used_again(shards, tmp_path, monkeypatch):
    TFRecordSource(shards, index_folder=tmp_path / "new" / "indices")
    assert len(os.listdir(tmp_path / "new" / "indices")) == 3
    monkeypatch.setattr(shard_index, "build_index", None)
    source = TFRecordSource(shards, index_folder=tmp_path / "new" / "indices")
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert len(list(tmp_path.glob("train-*"))) == 3


@pytest.fixture
def second(tmp_path):
    return tmp_path / "train-00002-of-00003"


def test_data_that_are_damaged_later(shards, second):
    source = TFRecordSource(shards)
    place = source._record(5).place
    with open(second, "r+b") as file:  # in place: the open file sees it
        file.write(flipped(second.read_bytes(), place.start + 60))
    with pytest.raises(SampleError) as caught:
        source.read(5)
    end = place.start + place.length
    message = str(caught.value)
    assert f"train-00002-of-00003:1 (bytes {place.start} to {end}) is damaged: its" in message
    np.testing.assert_array_equal(source.read(4), pixels_of(picture(4)))


def test_data_that_are_damaged_before(shards, second):
    source = TFRecordSource(shards)
    second.write_bytes(flipped(second.read_bytes(), source._record(5).place.start + 60))
    with pytest.raises(ValueError, match=r"1 of 7 .*: train-00002-of-00003:1 is damaged: its"):
        TFRecordSource(shards)
    source = TFRecordSource(shards, on_error="skip")
    assert list(source.names) == names_of(0, 5) + names_of(6, 7)
    assert [name for name, _ in source.skipped] == names_of(5, 6)
    np.testing.assert_array_equal(source.read(5), pixels_of(picture(6)))


def test_a_file_is_cut_off_while_it_is_read(shards, second):
    source = TFRecordSource(shards)
    source.read(4)
    os.truncate(second, source._record(5).place.start + 10)
    np.testing.assert_array_equal(source.read(4), pixels_of(picture(4)))
    with pytest.raises(SampleError, match=r"00003:1 \(bytes \d+ to \d+\) cannot be read: 22 of "):
        source.read(5)
    fresh = pickle.loads(pickle.dumps(source))
    with pytest.raises(SampleError, match=r"00003:0 .* changed after it was indexed"):
        fresh.read(4)
    with pytest.raises(ValueError, match=r"The shard .*train-00002-of-00003 is cut off at byte"):
        TFRecordSource(shards)


def test_a_loader_skips_and_lists_what_was_cut_off(shards, second):
    source = TFRecordSource(shards)
    source.read(4)
    os.truncate(second, source._record(5).place.start + 10)
    loader = Loader(source, Augmenter(Policy(), size=(6, 9)), batch_size=3, on_error="skip")
    with pytest.warns(UserWarning, match="2 sample"):
        ids = np.concatenate([batch.sample_ids for batch in loader])
    assert sorted(ids) == [0, 1, 2, 3, 4]
    assert sorted(skipped.name for skipped in loader.skipped) == names_of(5, 7)


def test_a_file_is_replaced_while_it_is_read(shards, second):
    source = TFRecordSource(shards)
    before = second.stat()
    write_tfrecord(second, examples(3, first=13))  # of the same size, place by place
    assert second.stat().st_size == before.st_size
    os.utime(second, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SampleError, match=r"00003:1 .* is not the one that was indexed: the shard"):
        source.read(5)
    fresh = TFRecordSource(shards)
    np.testing.assert_array_equal(fresh.read(5), pixels_of(picture(14)))


def test_a_file_is_gone(shards, second):
    opened = TFRecordSource(shards)
    source = pickle.loads(pickle.dumps(opened))
    opened.read(6)
    os.remove(second)
    np.testing.assert_array_equal(opened.read(6), pixels_of(picture(6)))  # its file is still open
    with pytest.raises(SampleError, match=r"00003:2 .*No such file"):
        source.read(6)
    with pytest.raises(FileNotFoundError, match=r"The shard .*00002-of-00003 cannot be read"):
        TFRecordSource(shards.replace("*", "{00000..00002}-of-00003"))


def test_records_that_lack_something(tmp_path):
    records = [
        *examples(1),
        example(image__class__label=1),
        example(image__encoded=picture(1)),
        b"no example",
        *examples(1, first=4),
    ]
    path = write_tfrecord(tmp_path / "s", records)
    for _ in range(2):  # read anew, and from the index
        with pytest.raises(ValueError, match=r"3 of 5 records .*: s:1 has no feature 'image/encod"):
            TFRecordSource(path)
        source = TFRecordSource(path, on_error="skip")
        assert list(source.names) == ["s:0", "s:4"]
        assert [name for name, _ in source.skipped] == ["s:1", "s:2", "s:3"]
        np.testing.assert_array_equal(source.read(1), pixels_of(picture(4)))


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(1, "jpg"))
    with pytest.raises(ValueError, match=r"The shard .*a\.jpg is no TFRecord file"):
        TFRecordSource(tmp_path / "a.jpg")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match=r"The 1 shards hold no pictures \(.*empty the first"):
        TFRecordSource(tmp_path / "empty")


def test_a_damaged_picture_is_named(tmp_path):
    body = picture(1, "jpg")[:-60]
    path = write_tfrecord(tmp_path / "s", [example(image__encoded=body)])
    with pytest.raises(SampleError, match=r"s:0 \(bytes 12 to \d+\) cannot be decoded"):
        TFRecordSource(path, None).read(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b"]}, r"train-00000-of-00003:2 has the label 2, which is none of"),
        ({"class_names": "abc"}, "`class_names` must be a list"),
        ({"label": None, "class_names": ["a"]}, "given with `label`"),
        ({"label": ""}, "`label` must be the key of a feature"),
        ({"image": "encoded"}, "7 of 7 records lack something: .* no feature 'encoded', its `imag"),
        ({"name": "file"}, "7 of 7 records lack something: .* no feature 'file', its `name`"),
        ({"name": "image/class/label"}, "has two records of the name '0', which must"),
        ({"decode": "slow"}, "`decode` must be"),
        ({"color_mode": "bgr"}, "`color_mode` must be"),
        ({"on_error": "ignore"}, "`on_error` must be"),
        ({"label": "txt", "on_error": "skip"}, "The 3 shards hold no pictures"),
    ],
)
def test_what_cannot_be_meant(shards, options, message):
    with pytest.raises(ValueError, match=message):
        TFRecordSource(shards, **options)


def test_shards_that_are_named_twice(shards, tmp_path):
    with pytest.raises(ValueError, match=r"names .*train-00000-of-00003 twice"):
        TFRecordSource([shards, tmp_path / "train-00000-of-00003"])


# --- stores


@pytest.fixture
def flaky(monkeypatch, shards, tmp_path):
    pytest.importorskip("fsspec")
    from oracles.flaky_store import FlakyStore

    monkeypatch.setattr(tfrecord_source, "RETRY", QUICK)
    server = FlakyStore()
    for number in (0, 2):
        name = f"train-{number:05d}-of-00003"
        server.files[f"/b/{name}"] = (tmp_path / name).read_bytes()
    yield server
    server.close()


def remote_source(flaky, tmp_path):
    return TFRecordSource(
        "flaky://b/train-{00000,00002}-of-00003",
        index_folder=tmp_path / "indices",
        storage_options=flaky.options,
        threads=2,
    )


def test_a_store_gives_the_same(flaky, shards, tmp_path):
    remote, local = remote_source(flaky, tmp_path), TFRecordSource(shards)
    assert list(remote.names) == list(local.names)
    assert [remote.encoded(i)[0] for i in range(7)] == [local.encoded(i)[0] for i in range(7)]
    flaky.ranges.clear()
    remote.read(5)
    ((start, stop),) = flaky.ranges
    assert stop - start == 16 + len(examples(1, first=5)[0])


@pytest.mark.parametrize("faults", [[503, 503, "ok"], ["half", "ok"], ["short", "short", "ok"]])
def test_a_store_that_fails_for_a_moment(flaky, tmp_path, faults):
    flaky.faults = list(faults)
    source = remote_source(flaky, tmp_path)
    flaky.faults = list(faults)
    np.testing.assert_array_equal(source.read(5), pixels_of(picture(5)))


def test_a_store_that_fails_always(flaky, tmp_path):
    source = remote_source(flaky, tmp_path)
    flaky.faults = [503]
    with pytest.raises(SampleError, match=r"flaky://b/train-00002.*:1 .* asked 4 times .*503"):
        source.read(5)
    shutil.rmtree(tmp_path / "indices")
    with pytest.raises(OSError, match=r"The shard flaky://b/train-0000\d-of-00003 cannot be read"):
        remote_source(flaky, tmp_path)


def test_a_file_of_a_store_that_changed(flaky, tmp_path):
    source = remote_source(flaky, tmp_path)
    flaky.files["/b/train-00002-of-00003"] = b"".join(map(frame, examples(3, first=13)))
    with pytest.raises(SampleError, match=r"00003:1 .* is not the one that was indexed"):
        source.read(5)
    fresh = remote_source(flaky, tmp_path)
    np.testing.assert_array_equal(fresh.read(5), pixels_of(picture(14)))


def test_stores_need_a_folder_for_the_index(flaky):
    with pytest.raises(ValueError, match="need an `index_folder`"):
        TFRecordSource("flaky://b/train-00000-of-00003", storage_options=flaky.options)
