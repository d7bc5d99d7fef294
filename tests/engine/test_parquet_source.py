"""Parquet files as a source: the same pictures as from files, nothing lost or wrong silently."""

import collections
import hashlib
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from fusewarp import (
    Augmenter,
    BlockShuffle,
    FolderSource,
    Loader,
    ParquetSource,
    Policy,
    SampleError,
    TarSource,
    check_no_leaks,
    stratified_split,
)
from fusewarp.engine import parquet_source
from fusewarp.engine.retry import Retry
from oracles.shard_readers import hashes, put_hashes
from oracles.shards import picture, pixels_of, write_shard

pa = pytest.importorskip("pyarrow")

from oracles.parquet_files import (  # noqa: E402
    as_structs,
    chunk_of,
    footer_of,
    note_reads,
    spoil,
    table_of,
    write,
)

POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True, rescale=1 / 255)
QUICK = Retry(attempts=4, first_delay=0.001, longest_delay=0.002, longest_total=5)


@pytest.fixture
def files(tmp_path) -> str:
    """Eleven rows in three files, of which the second is empty: row groups of 4, 2, 4, 1."""
    write(tmp_path / "data-0.parquet", table_of(0, 6))
    write(tmp_path / "data-1.parquet", table_of(6, 6).cast(table_of(0, 1).schema))
    write(tmp_path / "data-2.parquet", table_of(6, 11))
    return str(tmp_path / "data-{0..2}.parquet")


def names_of(first, stop):
    return [
        f"data-0.parquet/{n}" if n < 6 else f"data-2.parquet/{n - 6}" for n in range(first, stop)
    ]


def test_pictures_names_and_labels(files, tmp_path):
    source = ParquetSource(files, label="label")
    assert (len(source), list(source.names)) == (11, names_of(0, 11))
    assert source.labels.tolist() == [n % 3 for n in range(11)]
    assert source.labels.dtype == np.int64
    assert source.shards[2] == str(tmp_path / "data-2.parquet")
    for number in reversed(range(11)):
        np.testing.assert_array_equal(source.read(number), pixels_of(picture(number)))
    assert (source.channels, source.dtype, source.image_size) == (3, np.uint8, None)
    assert (source.weights, source.class_names, source.skipped) == (None, [], [])
    assert source.block_sizes.tolist() == [4, 2, 4, 1]
    assert source.cache_info().num_reads == 4


def test_without_labels(files):
    source = ParquetSource(files, color_mode="grayscale")
    assert (source.labels, source.class_names) == (None, [])
    assert source.read(0).shape == (6, 9, 1)


def test_select_keeps_everything_together(tmp_path):
    path = write(tmp_path / "s.parquet", table_of(0, 9, w=range(9)))
    source = ParquetSource(path, label="label", weight="w")
    part = source.select([7, 0, 5]).select([2, 0])
    assert list(part.names) == ["s.parquet/5", "s.parquet/7"]
    assert (part.labels.tolist(), part.weights.tolist()) == ([2, 1], [5, 7])
    np.testing.assert_array_equal(part.read(1), pixels_of(picture(7)))
    assert list(part.names[1:]) == ["s.parquet/7"]
    assert repr(part.names).endswith("2 names)")
    assert source.select([0, 2, 3, 8, 4]).block_sizes.tolist() == [3, 1, 1]
    source.read(6)
    assert source.cache_info().num_reads == 1  # one cache for both


def test_it_splits_as_other_sources(files):
    source = ParquetSource(files, label="label", class_names=["a", "b", "c"])
    train, validation = (
        source.select(ids) for ids in stratified_split(source.names, source.labels, 0.3)
    )
    assert sorted([*train.names, *validation.names]) == names_of(0, 11)
    check_no_leaks(train, validation)
    with pytest.raises(ValueError, match=r"both|validation"):
        check_no_leaks(source, validation)


# --- labels


# --- the same as files


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> tuple[Path, list[str]]:
    """Sixty real JPEG tiles as a folder, and as five files in the same order."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("tiles")
    for name in ("astronaut", "chelsea", "coffee"):
        photo = getattr(data, name)()
        (folder / "files" / name).mkdir(parents=True)
        places = [(row, col) for row in range(0, 300, 100) for col in range(0, 351, 50)]
        for row, col in places[:20]:
            tile = Image.fromarray(photo[row : row + 100, col : col + 120])
            tile.save(folder / "files" / name / f"{row:03d}-{col:03d}.jpg", quality=90)
    source = FolderSource(folder / "files")
    paths = []
    for first in range(0, 60, 13):
        rows = range(first, min(first + 13, 60))
        encoded = [(folder / "files" / source.names[i]).read_bytes() for i in rows]
        kinds = [source.names[i].split("/")[0] for i in rows]
        table = pa.table({"image": as_structs(encoded), "kind": kinds})
        paths.append(write(folder / f"tiles-{first // 13}.parquet", table, 5))
    return folder / "files", paths


def loader_of(source, threads=1, **options):
    augmenter = Augmenter(POLICY, size=(48, 64), seed=5, threads=threads)
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
    folder, paths = tiles
    source = ParquetSource(paths, label="kind")
    ours, theirs = loader_of(source, threads), loader_of(FolderSource(folder), threads)
    for _ in range(2):
        expected = seen(theirs)
        assert seen(ours) == expected
        assert len(expected) == 60


@pytest.mark.parametrize("threads", [1, 2])
def test_going_on_in_the_middle_is_exact(tiles, threads):
    source = ParquetSource(tiles[1], label="kind")
    whole = [seen([batch]) for batch in loader_of(source, threads, epochs=2)]
    first = loader_of(source, threads, epochs=2)
    batches = iter(first)
    begun = [seen([next(batches)]) for _ in range(12)]
    second = loader_of(pickle.loads(pickle.dumps(source)), 3 - threads)
    second.load_state_dict(first.state_dict())
    assert begun + [seen([batch]) for batch in second] == whole


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_other_processes_read_the_same(files, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    source = ParquetSource(files).select([10, 0, 3])
    expected = hashes(source)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put_hashes, args=(source, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join(60)


# --- what is read


@pytest.fixture
def reads(monkeypatch):
    return note_reads(monkeypatch)


def test_only_the_pictures_of_one_group_are_read(tmp_path, reads):
    other = [np.random.default_rng(n).bytes(5000) for n in range(40)]
    table = pa.table({"o": other, "image": as_structs([picture(n) for n in range(40)])})
    path = write(tmp_path / "s.parquet", table.append_column("n", [list(range(40))]), 10)
    source = ParquetSource(path, label="n")
    length = footer_of(path)[1]
    labels = sum(chunk_of(path, group, "n")[1] for group in range(4))
    assert sum(read[2] for read in reads) == max(length, min(2**16, os.path.getsize(path))) + labels
    reads.clear()
    source.read(25)
    expected = [footer_of(path), chunk_of(path, 2, "image.bytes")]
    assert [read[1:] for read in reads] == expected
    for number in range(20, 30):
        source.read(number)
    assert len(reads) == 2
    source.read(19)
    assert reads[3][1:] == chunk_of(path, 1, "image.bytes")


GROUP_BYTES = 8000


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Two hundred pictures in 4 files with row groups of 10."""
    folder = tmp_path_factory.mktemp("blocks")
    for file in range(4):
        body = [picture(50 * file + n, "jpg", (16, 16)) for n in range(50)]
        write(folder / f"b-{file}.parquet", pa.table({"image": body}), 10)
        assert sum(map(len, body)) + 5 * 44 <= 5 * GROUP_BYTES
    return folder / "b-*.parquet"


def epochs_of(source, shuffle, threads, count):
    augmenter = Augmenter(Policy(), size=8, threads=threads)
    loader = Loader(source, augmenter, 8, shuffle=shuffle, epochs=count)
    return np.concatenate([batch.sample_ids for batch in loader])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_block_order_reads_each_group_once_an_epoch(blocks, threads, reads):
    source = ParquetSource(blocks, cache_bytes=6 * GROUP_BYTES)  # of two windows
    shuffle = BlockShuffle(source.block_sizes, window=3)
    reads.clear()
    ids = epochs_of(source, shuffle, threads, 3)
    assert (np.bincount(ids) == 3).all()
    assert not (ids[:200] == ids[200:400]).all()
    info = source.cache_info()
    assert info.used_bytes <= info.budget_bytes
    assert 60 - 2 * 6 <= info.num_reads <= 60  # of 20 groups; some stay for the next epoch
    assert len(reads) == 2 * info.num_reads  # a footer and the pictures


def test_a_full_shuffle_reads_a_group_again_and_again(blocks):
    source = ParquetSource(blocks, cache_bytes=6 * GROUP_BYTES)
    epochs_of(source, True, 1, 1)
    assert source.cache_info().num_reads > 100  # 200 pictures in 20 groups, of which 6 fit
    whole = ParquetSource(blocks)
    epochs_of(whole, True, 2, 3)
    assert whole.cache_info().num_reads == 20  # all of them fit


def test_memory_is_flat(tmp_path):
    """What pyarrow holds stays within the budget and what the threads are reading."""
    rng = np.random.default_rng(0)
    small = picture(0, "jpg", (8, 8))
    body = [small + rng.bytes(20_000) for _ in range(400)]  # decoders stop at the end of the JPEG
    path = write(tmp_path / "s.parquet", pa.table({"image": body}), 20)
    del body
    source = ParquetSource(path, cache_bytes=5 * 420_000)
    before, held = pa.total_allocated_bytes(), []
    loader = Loader(source, Augmenter(Policy(), size=8, threads=2), 16, epochs=3)
    for _ in loader:
        held.append(pa.total_allocated_bytes() - before)
    assert source.cache_info().num_reads > 200
    assert max(held) <= (5 + 2 * 5) * 420_000  # a thread has pages, copies, and room to grow
    assert pa.total_allocated_bytes() - before <= 5 * 420_000


# --- faults


def message_of(error, make, *arguments, **options):
    with pytest.raises(error) as caught:
        make(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kind"}, r"data-\d\.parquet has no column 'kind'; it has \['image', 'label'\]"),
        ({"weight": "w"}, r"data-\d\.parquet has no column 'w'; .* Correct `weight`"),
        ({"name": "key"}, r"has no column 'key'; .* Correct `name`"),
        ({"image": "photo"}, r"has no column 'photo'; .* Correct `image`"),
        ({"image": "label"}, r"data-\d\.parquet has int64 in column 'label'; pictures are binary"),
        ({"label": "image"}, r"has binary in column 'image'; labels are text, whole numbers"),
        ({"weight": "image"}, r"has binary in column 'image'; weights are numbers"),
        ({"name": "image"}, r"has binary in column 'image'; names are text or whole numbers"),
        (
            {"label": "label", "class_names": ["a", "b"]},
            r"data-0\.parquet/2 has the label 2, which",
        ),
        ({"label": "label", "class_names": []}, r"has the label 0, which is none of the 0"),
        ({"label": "label", "class_names": "abc"}, "`class_names` must be a list"),
        ({"class_names": ["a"]}, "given with `label`"),
        ({"decode": "slow"}, "`decode` must be"),
        ({"color_mode": "bgr"}, "`color_mode` must be"),
        ({"on_error": "ignore"}, "`on_error` must be"),
        ({"cache_bytes": -1}, "`cache_bytes` must be a number of bytes, got -1"),
        ({"cache_bytes": 1.5}, "`cache_bytes` must be"),
    ],
)
def test_what_cannot_be_meant(files, options, message):
    with pytest.raises(ValueError, match=message):
        ParquetSource(files, **options)


def test_files_that_are_named_twice_or_not_there(files, tmp_path):
    with pytest.raises(
        ValueError, match=r"data-0\.parquet twice; its pictures would be seen twice"
    ):
        ParquetSource([files, tmp_path / "data-0.parquet"])
    with pytest.raises(
        FileNotFoundError, match=r"The file .*data-3\.parquet cannot be read \(No su"
    ):
        ParquetSource(tmp_path / "data-{0..3}.parquet")
    with pytest.raises(FileNotFoundError, match=r"fits .*\*\.arrow"):
        ParquetSource(tmp_path / "*.arrow")
    with pytest.raises(OSError, match=r"named by a pattern: .*/\*\.parquet"):
        ParquetSource(tmp_path)


def test_files_that_hold_nothing(tmp_path):
    write(tmp_path / "a.parquet", table_of(0, 1).slice(0, 0))
    write(tmp_path / "b.parquet", table_of(0, 1).slice(0, 0))
    with pytest.raises(
        ValueError, match=r"The 2 files hold no pictures \(.*a\.parquet the first\)"
    ):
        ParquetSource(tmp_path / "*.parquet", label="label")


def test_a_damaged_page_is_named_and_the_others_are_read(tmp_path):
    options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False}
    path = write(tmp_path / "s.parquet", table_of(0, 12), **options)
    start, length = chunk_of(path, 1, "image")
    spoil(path, start + length - 100, 1)  # in the midst of a picture: only the checksum tells
    source = ParquetSource(path, label="label")
    for number in (0, 3, 8, 11):
        np.testing.assert_array_equal(source.read(number), pixels_of(picture(number)))
    with pytest.raises(SampleError) as caught:
        source.read(5)
    message = str(caught.value)
    assert f"{path}/5 (row group 1) cannot be read: " in message
    assert "CRC checksum verification failed" in message
    loader = Loader(source, Augmenter(Policy(), size=(6, 9)), batch_size=3, on_error="skip")
    with pytest.warns(UserWarning, match="4 sample"):
        ids = np.concatenate([batch.sample_ids for batch in loader])
    assert sorted(ids) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert sorted(skip.name for skip in loader.skipped) == [f"s.parquet/{n}" for n in range(4, 8)]


def test_a_damaged_picture_is_named(tmp_path):
    bodies = [picture(0, "jpg"), picture(1, "jpg")[:-60], b"", b"no picture"]
    source = ParquetSource(write(tmp_path / "s.parquet", pa.table({"image": bodies})))
    with pytest.raises(SampleError, match=r"s\.parquet/1 \(row group 0\) cannot be decoded"):
        source.read(1)
    with pytest.raises(SampleError, match=r"s\.parquet/2 \(row group 0\) is empty"):
        source.read(2)
    with pytest.raises(SampleError, match=r"s\.parquet/3 \(row group 0\)"):
        source.read(3)
    assert source.read(0).shape == (6, 9, 3)


def test_a_file_is_cut_off_while_it_is_read(files, tmp_path):
    source = ParquetSource(files)
    source.read(10)
    os.truncate(tmp_path / "data-2.parquet", 500)  # in place: the open file sees it
    np.testing.assert_array_equal(source.read(10), pixels_of(picture(10)))  # still in memory
    with pytest.raises(
        SampleError, match=r"data-2\.parquet/0 \(row group 0\) .* the file was cut o"
    ):
        source.read(6)
    fresh = pickle.loads(pickle.dumps(source))
    with pytest.raises(SampleError, match=r"data-2\.parquet/0 .* changed after it was indexed"):
        fresh.read(6)
    with pytest.raises(ValueError, match=r"data-2\.parquet is cut off"):
        ParquetSource(files)


def test_a_file_is_replaced_while_it_is_read(files, tmp_path):
    path = tmp_path / "data-2.parquet"
    source = ParquetSource(files, label="label")
    source.read(10)
    write(tmp_path / "new", table_of(20, 25))
    os.replace(tmp_path / "new", path)
    np.testing.assert_array_equal(source.read(6), pixels_of(picture(6)))  # the old one is open
    fresh = pickle.loads(pickle.dumps(source))
    with pytest.raises(
        SampleError, match=r"data-2\.parquet/0 .* make the source anew if it was repl"
    ):
        fresh.read(6)
    np.testing.assert_array_equal(ParquetSource(files).read(6), pixels_of(picture(20)))


def test_a_file_of_the_same_size_and_time_is_another(tmp_path):
    options = {"compression": "none", "use_dictionary": False}
    bodies = [np.random.default_rng(n).bytes(300) for n in range(8)]
    path = write(tmp_path / "s.parquet", pa.table({"image": bodies, "label": range(8)}), **options)
    before = os.stat(path)
    source = ParquetSource(path, label="label")
    write(path, pa.table({"image": bodies[::-1], "label": range(1, 9)}), **options)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    with pytest.raises(SampleError, match="the file was replaced: its footer is not the one"):
        source.read(0)


# --- stores


@pytest.fixture
def flaky(monkeypatch, files, tmp_path):
    pytest.importorskip("fsspec")
    from oracles.flaky_store import FlakyStore

    monkeypatch.setattr(parquet_source, "RETRY", QUICK)
    server = FlakyStore()
    for number in range(3):
        name = f"data-{number}.parquet"
        server.files[f"/b/{name}"] = (tmp_path / name).read_bytes()
    yield server
    server.close()


def remote_source(flaky):
    options = {"label": "label", "storage_options": flaky.options, "threads": 2}
    return ParquetSource("flaky://b/data-{0..2}.parquet", **options)


def test_a_store_gives_the_same(flaky, files):
    remote, local = remote_source(flaky), ParquetSource(files, label="label")
    assert list(remote.names) == list(local.names)
    augmenter = Augmenter(Policy(rotation_range=20), size=8)
    for ours, theirs in zip(*(Loader(s, augmenter, 3) for s in (remote, local)), strict=True):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_a_group_is_two_requests(flaky, tmp_path):
    source = remote_source(flaky)
    flaky.ranges.clear()
    for number in (6, 9, 8):
        source.read(number)
    expected = [footer_of(tmp_path / "data-2.parquet")]
    expected.append(chunk_of(tmp_path / "data-2.parquet", 0, "image"))
    assert flaky.ranges == [(start, start + length) for start, length in expected]


@pytest.mark.parametrize("faults", [[503, 503, "ok"], ["half", "ok"], ["short", "short", "ok"]])
def test_a_store_that_fails_for_a_moment(flaky, faults):
    flaky.faults = list(faults)
    source = remote_source(flaky)
    flaky.faults = ["ok", *faults]  # the footer, then the pictures
    np.testing.assert_array_equal(source.read(8), pixels_of(picture(8)))
    assert source.labels.tolist() == [n % 3 for n in range(11)]


def test_a_store_that_fails_always(flaky):
    source = remote_source(flaky)
    for faults in ([503], ["ok", 503]):
        flaky.faults = list(faults)
        message = message_of(SampleError, source.read, 8)
        assert "flaky://b/data-2.parquet/2 (row group 0) cannot be read: asked 4 times" in message
        assert "503" in message
    flaky.faults = [503]
    with pytest.raises(OSError, match=r"flaky://b/data-\d\.parquet cannot be read \(asked 4 times"):
        remote_source(flaky)
    flaky.faults = ["ok", 503]  # while labels are read, which pyarrow asks for
    with pytest.raises(OSError, match=r"flaky://b/data-\d\.parquet cannot be read \(asked 4 times"):
        remote_source(flaky)
    flaky.faults = ["ok"]
    np.testing.assert_array_equal(source.read(8), pixels_of(picture(8)))


def test_a_file_of_a_store_is_replaced(flaky, tmp_path):
    source = remote_source(flaky)
    write(tmp_path / "new.parquet", table_of(20, 25))
    flaky.files["/b/data-2.parquet"] = (tmp_path / "new.parquet").read_bytes()
    with pytest.raises(
        SampleError, match=r"data-2\.parquet/2 .*(footer is not the one|bytes came)"
    ):
        source.read(8)


def test_memory_as_a_store(files, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for number in range(3):
        name = f"data-{number}.parquet"
        memory.pipe_file(f"/fusewarp-parquet/{name}", (tmp_path / name).read_bytes())
    source = ParquetSource("memory://fusewarp-parquet/*.parquet", label="label")
    assert list(source.names) == names_of(0, 11)
    np.testing.assert_array_equal(source.read(10), pixels_of(picture(10)))
    memory.rm("/fusewarp-parquet", recursive=True)


def test_the_same_batches_as_from_tar_shards(tiles, tmp_path):
    folder, paths = tiles
    names = FolderSource(folder).names
    members = []
    for i, name in enumerate(names):
        members.append((f"{i:04d}.jpg", (folder / name).read_bytes()))
        members.append((f"{i:04d}.txt", name.split("/")[0].encode()))
    tar = TarSource(write_shard(tmp_path / "t.tar", members), "txt")
    assert seen(loader_of(tar)) == seen(loader_of(ParquetSource(paths, label="kind")))
