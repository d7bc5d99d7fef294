"""Tar shards in a real S3 service: the same pictures, through whatever faults, and what is told."""

import collections
import gc
import hashlib
import multiprocessing
import os
import pickle
import random
import time
import weakref

import numpy as np
import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

import s3fs

from fusewarp import Augmenter, Loader, Policy, SampleError, TarSource
from fusewarp.engine import tar_source
from fusewarp.engine.retry import Retry
from fusewarp.engine.shard_store import ShardStore
from oracles.s3_store import BUCKET, FaultyProxy, S3Server, options
from oracles.shard_readers import hashes, put_hashes
from oracles.shards import picture, pixels_of, records, tar_bytes, write_shard

POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True, rescale=1 / 255)
QUICK = Retry(attempts=4, first_delay=0.001, longest_delay=0.002, longest_total=5)
COUNT = 22
SHARDS = "data-{000..003}.tar"


def members_of(shard):
    return records(min(6, COUNT - 6 * shard), first=6 * shard)


@pytest.fixture(scope="module")
def server():
    server = S3Server()
    for shard in range(4):
        server.put(f"data-{shard:03d}.tar", tar_bytes(members_of(shard)))
    yield server
    server.close()


@pytest.fixture
def proxy(server, monkeypatch):
    monkeypatch.setattr(tar_source, "RETRY", QUICK)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    proxy = FaultyProxy(server.address)
    yield proxy
    s3fs.S3FileSystem.clear_instance_cache()
    gc.collect()
    proxy.close()


@pytest.fixture
def local(tmp_path):
    for shard in range(4):
        write_shard(tmp_path / f"data-{shard:03d}.tar", members_of(shard))
    return TarSource(str(tmp_path / SHARDS), "cls")


@pytest.fixture
def remote(proxy, tmp_path):
    def source(shards=SHARDS, **more):
        return TarSource(
            f"s3://{BUCKET}/{shards}",
            "cls",
            index_folder=tmp_path / "indices",
            storage_options=options(proxy, **more),
        )

    return source


def seen(source, threads=2, epochs=2, **more):
    """Count (epoch, id, label, hash of the pixels)."""
    augmenter = Augmenter(POLICY, size=(16, 12), seed=5, threads=threads)
    loader = Loader(source, augmenter, batch_size=4, **more)
    counts = collections.Counter()
    for epoch in range(epochs):
        for batch in loader:
            for row in zip(batch.sample_ids, batch.labels, batch.images, strict=True):
                digest = hashlib.sha1(row[2].tobytes()).hexdigest()
                counts[epoch, int(row[0]), int(row[1]), digest] += 1
    return counts


@pytest.mark.parametrize("threads", [1, 3])
def test_two_epochs_equal_those_of_local_shards(remote, local, threads):
    expected = seen(local)
    assert len(expected) == 2 * COUNT
    assert seen(remote(), threads) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_faults_of_every_kind_lose_nothing_and_repeat_nothing(remote, local, proxy, seed):
    rng = random.Random(seed)
    kinds = [503, 500, 429, "half", "short", "closed", "slow"]
    count = collections.Counter()
    in_a_row = collections.Counter()

    def next_fault(*request):
        kind = "ok" if in_a_row[request] == 2 or rng.random() < 0.6 else rng.choice(kinds)
        in_a_row[request] = 0 if kind in ("ok", "slow") else in_a_row[request] + 1
        count[kind] += 1
        return kind

    proxy.next_fault = next_fault
    assert seen(remote()) == seen(local)
    assert set(count) == {*kinds, "ok"}
    assert count["ok"] + count["slow"] >= 2 * COUNT  # a request each, however often it was made


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (503, "asked 4 times .*Service Unavailable"),
        (429, "asked 4 times .*429"),
        ("half", "asked 4 times .*ClientPayloadError"),
        ("short", r"asked 4 times .*: \d+ of \d+ bytes came"),
        ("closed", "asked 4 times .*ConnectionClosedError"),
        (403, "Forbidden"),
        (404, "Not Found"),
    ],
)
def test_a_fault_that_lasts_names_shard_and_record(remote, proxy, fault, told):
    source = remote()
    proxy.faults = [fault]
    with pytest.raises(SampleError, match=told) as caught:
        source.read(13)
    assert f"s3://{BUCKET}/data-002.tar/0013 (bytes " in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "requests"), [(503, 4), (400, 1), (403, 1), (404, 1), (416, 1), (501, 1)]
)
def test_only_what_may_pass_is_asked_again(remote, proxy, fault, requests):
    source = remote()
    proxy.faults = [fault]
    proxy.requests.clear()
    with pytest.raises(SampleError):
        source.read(13)
    assert len(proxy.requests) == requests


def test_an_index_that_cannot_be_made_is_not_kept(remote, proxy, tmp_path):
    proxy.next_fault = lambda method, path, range_: (
        "half" if range_ and "data-001" in path else "ok"
    )
    with pytest.raises(OSError, match=rf"The shard s3://{BUCKET}/data-001\.tar cannot be read"):
        remote()
    assert not [name for name in os.listdir(tmp_path / "indices") if "data-001" in name]
    proxy.next_fault = lambda *request: "ok"
    assert len(remote()) == COUNT


def test_a_loader_skips_what_a_store_does_not_give(remote, proxy):
    source = remote()
    proxy.next_fault = lambda method, path, range_: 503 if "data-001" in path else "ok"
    loader = Loader(source, Augmenter(Policy(), size=8), batch_size=4, on_error="skip")
    with pytest.warns(UserWarning, match="6 sample"):
        ids = np.concatenate([batch.sample_ids for batch in loader])
    assert sorted(ids) == [*range(6), *range(12, COUNT)]
    assert sorted(skipped.sample_id for skipped in loader.skipped) == [*range(6, 12)]


def test_what_is_not_there(remote, tmp_path, proxy):
    with pytest.raises(FileNotFoundError, match=rf"s3://{BUCKET}/data-004\.tar cannot be read"):
        remote("data-{003..004}.tar")
    for shards in ("data-000.tar", "*.tar"):
        with pytest.raises(FileNotFoundError, match="s3://nowhere/"):
            TarSource(
                f"s3://nowhere/{shards}", index_folder=tmp_path, storage_options=options(proxy)
            )


def test_a_wrong_key(remote, server):
    source = remote()
    server.allow(0)
    try:
        with pytest.raises(SampleError, match=r"data-000\.tar/0001 .*Access Key Id you provided"):
            source.read(1)
        with pytest.raises(OSError, match=r"The shard s3://.* cannot be read \(Forbidden\)"):
            remote()
        with pytest.raises(OSError, match=rf"s3://{BUCKET}/\*\.tar cannot be listed \(The AWS Acc"):
            remote("*.tar")
    finally:
        server.allow(float("inf"))
    np.testing.assert_array_equal(source.read(1), pixels_of(picture(1)))


# --- what the store's library keeps


@pytest.fixture
def growing(server):
    """Put shards whose names begin with "grow/" here; none is left."""
    names = set()

    def put(name, members):
        server.put(name, tar_bytes(members))
        names.add(name)

    yield put
    for name in names:
        server.delete(name)


def test_a_listing_of_before_hides_no_shard(remote, growing):
    growing("grow/0.tar", records(2))
    assert len(remote("grow/*.tar")) == 2
    growing("grow/1.tar", records(3, first=2))
    assert len(remote("grow/*.tar")) == 5
    assert len(remote("grow/{0..1}.tar")) == 5


@pytest.mark.parametrize("shards", ["grow/*.tar", "grow/0.tar"])
def test_a_shard_that_was_replaced_is_indexed_anew(remote, growing, shards):
    growing("grow/0.tar", records(2))
    remote("grow/*.tar")
    growing("grow/0.tar", records(2, first=7))  # as long as before
    source = remote(shards)
    np.testing.assert_array_equal(source.read(1), pixels_of(picture(8)))
    assert source.labels.tolist() == [1, 2]


def test_a_shard_that_is_replaced_while_it_is_indexed_is_refused(remote, growing, proxy):
    growing("grow/0.tar", records(2))

    def next_fault(method, path, range_):
        if range_:
            growing("grow/0.tar", records(2, first=7))
        return "ok"

    proxy.next_fault = next_fault
    with pytest.raises(ValueError, match="was changed while it was read; begin again"):
        remote("grow/*.tar")


def test_a_shard_that_was_cut_off_later(remote, growing, proxy):
    growing("grow/0.tar", records(9))
    source = remote("grow/0.tar")
    growing("grow/0.tar", records(1))
    proxy.requests.clear()
    with pytest.raises(SampleError, match=r"grow/0\.tar/0008 .*range .*not satisfiable"):
        source.read(8)
    assert len(proxy.requests) == 1


# --- other processes


def test_a_pickled_source_reads(remote):
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(remote())).read(13), pixels_of(picture(13))
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_other_processes_read_the_same(remote, local, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    chosen = [21, 0, 13, 7]
    expected = hashes(local.select(chosen))
    source = remote().select(chosen)
    assert hashes(source) == expected  # connections are open, and their thread is running
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [context.Process(target=put_hashes, args=(source, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    assert hashes(source) == expected  # at the same time as they
    assert [queue.get(timeout=60) for _ in processes] == [expected] * 2
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert hashes(source) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_connections_of_its_parent_alone(proxy):
    """s3fs closes them when a file system goes, with a thread that the child has not: a second."""
    store, path = ShardStore(options(proxy), QUICK), f"s3://{BUCKET}/data-000.tar"
    stamp = store.stamp(path)
    header = store.read(path, 0, 512, stamp)
    system = weakref.ref(store._remote[path][0])
    child = os.fork()
    if child == 0:
        same = store.read(path, 0, 512, stamp) == header
        own = store._remote[path][0] is not system()
        del store
        gc.collect()
        os._exit(0 if same and own and system() is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    began = time.monotonic()
    assert store.read(path, 0, 512, stamp) == header
    assert time.monotonic() - began < 5
