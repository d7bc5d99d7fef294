"""Tar shards as a source: the same pictures as from files, and nothing lost or wrong silently."""

import collections
import hashlib
import itertools
import multiprocessing
import os
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import (
    Augmenter,
    BlockShuffle,
    FolderSource,
    Loader,
    Policy,
    SampleError,
    TarSource,
    check_no_leaks,
    stratified_split,
)
from fusewarp.engine import shard_index, tar_source
from fusewarp.engine.retry import Retry
from oracles.shard_readers import hashes, put_hashes
from oracles.shards import (
    header_at,
    picture,
    pixels_of,
    records,
    tar_bytes,
    without_checksum,
    write_shard,
)

POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True, rescale=1 / 255)
QUICK = Retry(attempts=4, first_delay=0.001, longest_delay=0.002, longest_total=5)


@pytest.fixture
def shards(tmp_path) -> str:
    """Seven records in three shards, one of which is empty."""
    write_shard(tmp_path / "data-000000.tar", records(4))
    write_shard(tmp_path / "data-000001.tar", [])
    write_shard(tmp_path / "data-000002.tar", records(3, first=4))
    return str(tmp_path / "data-{000000..000002}.tar")


def names_of(first, last):
    return [f"data-{0 if n < 4 else 2:06d}.tar/{n:04d}" for n in range(first, last)]


def test_pictures_names_and_labels(shards):
    source = TarSource(shards, "cls")
    assert (len(source), list(source.names)) == (7, names_of(0, 7))
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    for number in reversed(range(7)):
        np.testing.assert_array_equal(source.read(number), pixels_of(picture(number)))
    assert (source.channels, source.dtype, source.image_size) == (3, np.uint8, None)
    assert (source.weights, source.class_names, source.skipped) == (None, [], [])


def test_without_labels(shards):
    source = TarSource(shards)
    assert (source.labels, source.class_names) == (None, [])


def test_color_modes(shards):
    source = TarSource(shards, color_mode="grayscale")
    assert source.read(0).shape == (6, 9, 1)


def test_select_keeps_everything_together(shards):
    part = TarSource(shards, "cls").select([5, 0, 4]).select([2, 0])
    assert list(part.names) == [names_of(0, 7)[4], names_of(0, 7)[5]]
    assert part.labels.tolist() == [1, 2]
    np.testing.assert_array_equal(part.read(1), pixels_of(picture(5)))
    assert list(part.names[1:]) == names_of(5, 6)
    assert repr(part.names).endswith("2 names)")


def test_it_splits_as_other_sources(shards):
    source = TarSource(shards, "cls", class_names=["a", "b", "c"])
    train, validation = (
        source.select(ids) for ids in stratified_split(source.names, source.labels, 0.3)
    )
    assert sorted([*train.names, *validation.names]) == names_of(0, 7)
    check_no_leaks(train, validation)
    with pytest.raises(ValueError, match=r"3 of|both|validation"):
        check_no_leaks(source, validation)


def test_shards_of_one_name_in_two_folders(tmp_path):
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder / "a.tar", records(1))
    assert list(TarSource(str(tmp_path / "*" / "a.tar")).names) == ["1/a.tar/0000", "2/a.tar/0000"]


def test_texts_and_fields_as_labels(tmp_path):
    members = []
    for key, breed, age in [("a", "pug", 3), ("b", "lab", 0.5)]:
        members += [
            (f"{key}.jpg", picture(age, "jpg") if key == "a" else picture(9, "jpg")),
            (f"{key}.txt", breed.encode()),
            (f"{key}.json", f'{{"breed": "{breed}", "age": {age}}}'.encode()),
        ]
    path = write_shard(tmp_path / "s.tar", members)
    for label in ("txt", "json:breed"):
        source = TarSource(path, label)
        assert (source.labels.tolist(), source.class_names) == ([1, 0], ["lab", "pug"])
    ages = TarSource(path, "json:age")
    assert (ages.labels.tolist(), ages.labels.dtype) == ([3, 0.5], np.float32)


# --- the same as files


def write_tiles(folder, side=100):
    """Cut three photos into 60 JPEGs: a folder for each photo."""
    for name in ("astronaut", "chelsea", "coffee"):
        photo = getattr(data, name)()
        (folder / name).mkdir(parents=True)
        places = [(row, col) for row in range(0, 300, side) for col in range(0, 451 - side, 50)]
        for row, col in places[:20]:
            tile = Image.fromarray(photo[row : row + side, col : col + side + 20])
            tile.save(folder / name / f"{row:03d}-{col:03d}.jpg", quality=90)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> tuple[Path, list[Path]]:
    """Sixty real JPEG tiles as a folder, and as five shards in the same order."""
    folder = tmp_path_factory.mktemp("tiles")
    write_tiles(folder / "files")
    source = FolderSource(folder / "files")
    shards = []
    for first in range(0, 60, 13):
        members = []
        for i in range(first, min(first + 13, 60)):
            members.append((f"{i:06d}.jpg", (folder / "files" / source.names[i]).read_bytes()))
            members.append((f"{i:06d}.cls", str(source.labels[i]).encode()))
        shards.append(write_shard(folder / f"tiles-{first // 13:03d}.tar", members))
    return folder / "files", shards


def loader_of(source, threads=1, **options):
    augmenter = Augmenter(POLICY, size=(48, 64), seed=5, threads=threads)
    return Loader(source, augmenter, batch_size=7, **options)


def seen(loader, batches=None):
    """Count (id, label, hash of the pixels)."""
    counts = collections.Counter()
    for batch in loader if batches is None else batches:
        for sample_id, label, image in zip(
            batch.sample_ids, batch.labels, batch.images, strict=True
        ):
            counts[int(sample_id), int(label), hashlib.sha1(image.tobytes()).hexdigest()] += 1
    return counts


@pytest.mark.parametrize("threads", [1, 2])
def test_two_epochs_equal_those_of_a_folder(tiles, threads):
    folder, paths = tiles
    source = TarSource(paths, "cls")
    assert [name.rsplit("/", 1)[1] for name in source.names] == [f"{i:06d}" for i in range(60)]
    ours, theirs = loader_of(source, threads), loader_of(FolderSource(folder), threads)
    for _ in range(2):
        expected = seen(theirs)
        assert seen(ours) == expected
        assert len(expected) == 60


@pytest.mark.parametrize("threads", [1, 2])
def test_going_on_in_the_middle_is_exact(tiles, threads):
    source = TarSource(tiles[1], "cls")
    whole = [seen(None, [batch]) for batch in loader_of(source, threads, epochs=2)]
    first = loader_of(source, threads, epochs=2)
    batches = iter(first)
    begun = [seen(None, [next(batches)]) for _ in range(12)]
    second = loader_of(pickle.loads(pickle.dumps(source)), 3 - threads)
    second.load_state_dict(first.state_dict())
    assert begun + [seen(None, [batch]) for batch in second] == whole


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_other_processes_read_the_same(shards, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    source = TarSource(shards).select([6, 0, 3])
    expected = hashes(source)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put_hashes, args=(source, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join(60)


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_records(tmp_path):
    body = picture(0, "jpg", (8, 8))
    for shard in range(4):
        members = [(f"{shard * 2500 + n:06d}.jpg", body) for n in range(2500)]
        write_shard(tmp_path / f"s-{shard}.tar", members)
    source = TarSource(str(tmp_path / "s-*.tar"))
    augmenter = Augmenter(Policy(), size=(8, 8), threads=2)
    batches = iter(Loader(source, augmenter, batch_size=50))
    for _ in range(20):
        next(batches)
    tracemalloc.start()
    try:
        for _ in range(30):
            next(batches)
        early = tracemalloc.get_traced_memory()[0]
        count = sum(len(batch.sample_ids) for batch in batches)
        late, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000 - 50 * 50
    assert late - early < 200_000
    assert peak - early < 2_000_000


# --- faults


def test_an_index_is_used_again(shards, monkeypatch):
    TarSource(shards, "cls")
    monkeypatch.setattr(shard_index, "build_index", None)
    assert TarSource(shards, "cls").labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_indices_go_into_the_folder_that_is_named(shards, tmp_path):
    TarSource(shards, index_folder=tmp_path / "new" / "indices")
    assert len(os.listdir(tmp_path / "new" / "indices")) == 3
    assert not list(tmp_path.glob("*.npz"))


def test_a_shard_is_cut_off_while_it_is_read(shards, tmp_path):
    path = tmp_path / "data-000002.tar"
    start = header_at(path.read_bytes(), "0005.png") + 512
    source = TarSource(shards, "cls")
    source.read(4)
    os.truncate(path, start + 10)  # in place: the open file sees it
    np.testing.assert_array_equal(source.read(4), pixels_of(picture(4)))
    with pytest.raises(SampleError) as caught:
        source.read(5)
    message = str(caught.value)
    assert f"data-000002.tar/0005 (bytes {start} to " in message
    assert "cannot be read: 522 of " in message
    fresh = pickle.loads(pickle.dumps(source))
    with pytest.raises(SampleError, match=r"0004 .* changed after it was indexed"):
        fresh.read(4)
    with pytest.raises(ValueError, match=r"The shard .*data-000002\.tar is cut off"):
        TarSource(shards, "cls")


def test_a_loader_skips_and_lists_what_was_cut_off(shards, tmp_path):
    path = tmp_path / "data-000002.tar"
    source = TarSource(shards, "cls")
    source.read(4)
    os.truncate(path, header_at(path.read_bytes(), "0005.png") + 520)
    loader = Loader(source, Augmenter(Policy(), size=(6, 9)), batch_size=3, on_error="skip")
    with pytest.warns(UserWarning, match="2 sample"):
        ids = np.concatenate([batch.sample_ids for batch in loader])
    assert sorted(ids) == [0, 1, 2, 3, 4]
    assert sorted(skipped.name for skipped in loader.skipped) == names_of(5, 7)


def test_a_shard_is_replaced_while_it_is_read(shards, tmp_path):
    path = tmp_path / "data-000002.tar"
    source = TarSource(shards, "cls")
    before = path.stat()
    write_shard(path, records(3, first=14))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SampleError, match=r"data-000002\.tar/0005 .* header before it is not the"):
        source.read(5)
    assert TarSource(shards, "cls").names[5] == "data-000002.tar/0015"


def test_a_shard_is_gone(shards, tmp_path):
    opened = TarSource(shards, "cls")
    source = pickle.loads(pickle.dumps(opened))
    os.remove(tmp_path / "data-000002.tar")
    np.testing.assert_array_equal(opened.read(6), pixels_of(picture(6)))  # its file is still open
    with pytest.raises(SampleError, match=r"data-000002\.tar/0006 .*No such file"):
        source.read(6)
    with pytest.raises(FileNotFoundError, match=r"The shard .*data-000002\.tar cannot be read"):
        TarSource(shards, "cls")


def test_a_wrong_checksum_loses_nothing_silently(shards, tmp_path):
    path = tmp_path / "data-000002.tar"
    path.write_bytes(without_checksum(path.read_bytes(), "0006.png"))
    with pytest.raises(ValueError, match=r"data-000002\.tar is damaged: the header at byte \d+"):
        TarSource(shards, "cls")


def test_records_that_lack_something(tmp_path):
    members = [
        *records(1),
        ("a.cls", b"1"),
        ("b.png", picture(1)),
        ("c.png", picture(2)),
        ("c.cls", b"x"),
    ]
    path = write_shard(tmp_path / "s.tar", members)
    for _ in range(2):  # read anew, and from the index
        with pytest.raises(ValueError, match=r"3 of 4 records lack something: s\.tar/a has \.cls"):
            TarSource(path, "cls")
        source = TarSource(path, "cls", on_error="skip")
        assert list(source.names) == ["s.tar/0000"]
        assert [name for name, _ in source.skipped] == ["s.tar/a", "s.tar/b", "s.tar/c"]


def test_one_of_several_pictures_is_chosen(tmp_path):
    members = [("a.input.png", picture(1)), ("a.target.png", picture(2))]
    path = write_shard(tmp_path / "s.tar", members)
    for number, image in [(1, "input.png"), (2, ".target.PNG")]:
        found = TarSource(path, image=image).read(0)
        np.testing.assert_array_equal(found, pixels_of(picture(number)))
    with pytest.raises(ValueError, match=r"has \.input\.png, \.target\.png, and no picture"):
        TarSource(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "cls", "class_names": ["a", "b"]}, r"0002 has the label 2, which is none of"),
        ({"label": "cls", "class_names": "abc"}, "`class_names` must be a list"),
        ({"class_names": ["a"]}, "given with `label`"),
        ({"label": "png"}, "`label` must be"),
        ({"decode": "slow"}, "`decode` must be"),
        ({"color_mode": "bgr"}, "`color_mode` must be"),
        ({"on_error": "ignore"}, "`on_error` must be"),
        ({"label": "txt"}, "7 of 7 records lack something"),
        ({"label": "txt", "on_error": "skip"}, "The 3 shards hold no pictures"),
    ],
)
def test_what_cannot_be_meant(shards, options, message):
    with pytest.raises(ValueError, match=message):
        TarSource(shards, **options)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (tar_bytes([]), "hold no pictures")]
)
def test_empty_shards(tmp_path, content, message):
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        TarSource(tmp_path / "s.tar")


def test_a_damaged_picture_is_named(tmp_path):
    path = write_shard(tmp_path / "s.tar", [("a.jpg", picture(1, "jpg")[:-60])])
    with pytest.raises(SampleError, match=r"s\.tar/a \(bytes 512 to \d+\) cannot be decoded"):
        TarSource(path).read(0)


# --- stores


@pytest.fixture
def flaky(monkeypatch, shards, tmp_path):
    pytest.importorskip("fsspec")
    from oracles.flaky_store import FlakyStore

    monkeypatch.setattr(tar_source, "RETRY", QUICK)
    server = FlakyStore()
    for number in (0, 1, 2):
        name = f"data-{number:06d}.tar"
        server.files[f"/b/{name}"] = (tmp_path / name).read_bytes()
    yield server
    server.close()


def remote_source(flaky, tmp_path):
    return TarSource(
        "flaky://b/data-{000000..000002}.tar",
        "cls",
        index_folder=tmp_path / "indices",
        storage_options=flaky.options,
        threads=2,
    )


def test_a_store_gives_the_same(flaky, shards, tmp_path):
    remote, local = remote_source(flaky, tmp_path), TarSource(shards, "cls")
    assert list(remote.names) == list(local.names)
    policy = Policy(rotation_range=20)
    for ours, theirs in zip(
        *(Loader(s, Augmenter(policy, size=(8, 8)), 3) for s in (remote, local)), strict=True
    ):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_a_picture_is_one_request(flaky, tmp_path):
    source = remote_source(flaky, tmp_path)
    flaky.ranges.clear()
    source.read(5)
    assert len(flaky.ranges) == 1
    start, stop = flaky.ranges[0]
    assert stop - start == 512 + len(picture(5))


@pytest.mark.parametrize("faults", [[503, 503, "ok"], ["half", "ok"], ["short", "short", "ok"]])
def test_a_store_that_fails_for_a_moment(flaky, tmp_path, faults):
    flaky.faults = list(faults)
    source = remote_source(flaky, tmp_path)
    flaky.faults = list(faults)
    np.testing.assert_array_equal(source.read(5), pixels_of(picture(5)))
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_store_that_fails_always(flaky, tmp_path):
    source = remote_source(flaky, tmp_path)
    flaky.faults = [503]
    with pytest.raises(SampleError) as caught:
        source.read(5)
    message = str(caught.value)
    assert "flaky://b/data-000002.tar/0005 (bytes 2" in message
    assert "asked 4 times" in message
    assert "503" in message
    shutil.rmtree(tmp_path / "indices")
    with pytest.raises(
        OSError, match=r"The shard flaky://b/data-00000\d.tar cannot be read .asked 4"
    ):
        remote_source(flaky, tmp_path)


def test_half_a_body_always(flaky, tmp_path):
    source = remote_source(flaky, tmp_path)
    flaky.faults = ["short"]
    wanted = 512 + len(picture(5))
    with pytest.raises(SampleError, match=rf"{wanted // 2} of {wanted} bytes came"):
        source.read(5)


def test_a_shard_of_a_store_that_changed_is_indexed_anew(flaky, tmp_path, monkeypatch):
    remote_source(flaky, tmp_path)
    built = []
    build = shard_index.build_index
    monkeypatch.setattr(
        shard_index, "build_index", lambda *args: built.append(args[1][-10:]) or build(*args)
    )
    flaky.files["/b/data-000002.tar"] = tar_bytes(records(3, first=14))
    assert remote_source(flaky, tmp_path).names[4] == "data-000002.tar/0014"
    assert built == ["000002.tar"]  # its headers are others
    flaky.tags["/b/data-000000.tar"] = "second"
    for _ in range(2):
        assert len(remote_source(flaky, tmp_path)) == 7
    assert built == ["000002.tar", "000000.tar"]


def test_stores_need_a_folder_for_the_index(flaky):
    with pytest.raises(ValueError, match="need an `index_folder`"):
        TarSource("flaky://b/data-000000.tar", storage_options=flaky.options)


def test_memory_as_a_store(shards, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for number in (0, 2):
        name = f"data-{number:06d}.tar"
        memory.pipe_file(f"/fusewarp-source/{name}", (tmp_path / name).read_bytes())
    source = TarSource("memory://fusewarp-source/*.tar", "cls", index_folder=tmp_path / "i")
    assert list(source.names) == names_of(0, 7)
    np.testing.assert_array_equal(source.read(6), pixels_of(picture(6)))
    memory.rm("/fusewarp-source", recursive=True)


def test_block_sizes_are_those_of_the_shards(tmp_path):
    body = picture(0, "jpg", (8, 8))
    for shard, count in enumerate([3, 1, 4]):
        write_shard(tmp_path / f"s-{shard}.tar", [(f"{shard}{n}.jpg", body) for n in range(count)])
    source = TarSource(str(tmp_path / "s-*.tar"))
    assert source.block_sizes.tolist() == [3, 1, 4]
    assert source.select([0, 2, 3, 7, 6]).block_sizes.tolist() == [2, 1, 2]
    shuffle = BlockShuffle(source.block_sizes, window=1)
    loader = Loader(source, Augmenter(Policy(), size=8), 1, shuffle=shuffle)
    names = [source.names[batch.sample_ids[0]].split("/")[0] for batch in loader]
    assert sorted(names) == sorted(["s-0.tar"] * 3 + ["s-1.tar"] + ["s-2.tar"] * 4)
    assert sum(one != other for one, other in itertools.pairwise(names)) == 2
