"""The frames of TFRecord files: TensorFlow's own, and every way in which they can be broken."""

import gzip
import struct
import sys
import zlib
from dataclasses import replace

import pytest

pytest.importorskip("google.protobuf")
pytest.importorskip("google_crc32c")

from fusewarp.engine import tfrecord_index
from fusewarp.engine.example_record import ExampleRule
from fusewarp.engine.shard_index import Place, index_path, open_index
from fusewarp.engine.shard_store import ShardStore
from fusewarp.engine.tfrecord_index import TFRecordRule, crc32c, frame_at, masked_crc
from oracles.examples import example, examples, flipped, frame, write_tfrecord
from oracles.shards import picture

RULE = TFRecordRule(ExampleRule("image/encoded", "image/class/label", None))


def opened(path, rule=RULE):
    return open_index(ShardStore(), str(path), rule, None)


@pytest.mark.slow  # TensorFlow is imported
def test_tensorflow_writes_what_these_tests_write(tmp_path):
    tf = pytest.importorskip("tensorflow")
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in [*examples(3), b""]:
            writer.write(record)
    write_tfrecord(tmp_path / "ours", [*examples(3), b""])
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("window", [1, 100, 340, 2**20])
def test_places_are_those_of_the_data(tmp_path, monkeypatch, window):
    monkeypatch.setattr(tfrecord_index, "_WINDOW", window)
    records = [*examples(6), example(image__encoded=b"x" * 5000, image__class__label=0)]
    path = write_tfrecord(tmp_path / "a", records)
    content, index = path.read_bytes(), opened(path)
    assert len(index) == 7
    for row, record in enumerate(records):
        start, length, crc = index.place(row)
        assert content[start : start + length] == record
        assert content[start + length :][:4] == struct.pack("<I", crc)
    assert index.labels.values.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert index.keys.tobytes() == b"0123456"


def test_the_file_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord_index, "_WINDOW", 500)
    path = write_tfrecord(tmp_path / "a", examples(30))
    read, lengths = ShardStore.read, []

    def counted(self, path, start, length, stamp):
        lengths.append((start, length))
        return read(self, path, start, length, stamp)

    monkeypatch.setattr(ShardStore, "read", counted)
    opened(path)
    assert sum(length for _, length in lengths) == path.stat().st_size
    assert all(
        start + length == lengths[i + 1][0] for i, (start, length) in enumerate(lengths[:-1])
    )


def test_no_records_at_all_is_a_file_of_none(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert len(opened(tmp_path / "empty")) == 0


def test_names_tell_records_apart(tmp_path):
    rule = TFRecordRule(ExampleRule("image/encoded", None, "image/filename"))
    path = write_tfrecord(tmp_path / "a", examples(3))
    assert opened(path, rule).keys.tobytes() == b"000000010002"
    write_tfrecord(path, examples(3) + examples(1, first=1))
    with pytest.raises(ValueError, match="has two records of the name '0001'"):
        opened(path, rule)


# --- files that are broken


@pytest.fixture
def content():
    return b"".join(map(frame, examples(5)))


def starts():
    ends = [0]
    for record in examples(5):
        ends.append(ends[-1] + 16 + len(record))
    return ends


@pytest.mark.parametrize("left", [3, 11, 12, 40, -1, -4])
def test_cut_off(tmp_path, content, left):
    """In the length, in its checksum, in the data, in their checksum."""
    end = starts()[3] + left if left > 0 else starts()[4] + left
    (tmp_path / "a").write_bytes(content[:end])
    with pytest.raises(
        ValueError, match=rf"a is cut off at byte {end}, in record 3, which begins "
    ):
        opened(tmp_path / "a")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("at", [0, 7, 8, 11])
def test_a_length_that_is_damaged(tmp_path, content, at):
    (tmp_path / "a").write_bytes(flipped(content, starts()[2] + at))
    with pytest.raises(
        ValueError, match=rf"a is damaged at byte {starts()[2]}: the length of reco"
    ):
        opened(tmp_path / "a")
    (tmp_path / "a").write_bytes(flipped(content, at))
    with pytest.raises(ValueError, match="a is no TFRecord file, or damaged at its beginning"):
        opened(tmp_path / "a")


@pytest.mark.parametrize("at", [12, 60, -1])
def test_data_that_are_damaged_are_noted(tmp_path, content, at):
    at = starts()[2] + at if at > 0 else starts()[3] + at
    (tmp_path / "a").write_bytes(flipped(content, at))
    for index in (opened(tmp_path / "a"), opened(tmp_path / "a")):
        assert index.keys.tobytes() == b"0134"
        ((key, message),) = index.defects
        assert key == "2"
        assert message.startswith(f"is damaged: its {len(examples(5)[2])} bytes have the checksum")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_picture_is_no_tfrecord(tmp_path, suffix):
    (tmp_path / "a").write_bytes(picture(1, suffix))
    with pytest.raises(ValueError, match="a is no TFRecord file"):
        opened(tmp_path / "a")


def test_a_few_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xd8")
    with pytest.raises(ValueError, match="a is cut off at byte 2, in record 0"):
        opened(tmp_path / "a")


@pytest.mark.parametrize(
    ("pack", "packing"),
    [
        (gzip.compress, "GZIP"),
        *((lambda data, n=n: zlib.compress(data, n), "ZLIB") for n in (1, 6, 9)),
    ],
)
def test_compressed(tmp_path, content, pack, packing):
    (tmp_path / "a").write_bytes(pack(content))
    with pytest.raises(ValueError, match=rf"is compressed \({packing}\).* write it anew without"):
        opened(tmp_path / "a")


@pytest.mark.slow  # TensorFlow is imported
def test_tensorflows_compressed_files(tmp_path):
    tf = pytest.importorskip("tensorflow")
    for packing in ("GZIP", "ZLIB"):
        with tf.io.TFRecordWriter(str(tmp_path / packing), packing) as writer:
            writer.write(examples(1)[0])
        with pytest.raises(ValueError, match=rf"is compressed \({packing}\)"):
            opened(tmp_path / packing)


def test_an_index_that_no_longer_fits(tmp_path):
    path = write_tfrecord(tmp_path / "a", examples(4))
    first, stamp = opened(path), ShardStore().stamp(str(path))
    write_tfrecord(path, examples(4, first=4))
    assert ShardStore().stamp(str(path)).size == stamp.size
    assert not RULE.fits(ShardStore(), str(path), first_with(first, path), [0, 3])
    write_tfrecord(path, examples(4))
    assert RULE.fits(ShardStore(), str(path), first_with(first, path), [0, 3])
    write_tfrecord(path, examples(1))
    assert not RULE.fits(ShardStore(), str(path), first_with(first, path), [0, 3])


def first_with(index, path):
    """Return an index that has the stamp of what lies there now."""
    return replace(index, stamp=ShardStore().stamp(str(path)))


# --- one record


def test_a_frame_is_compared_with_the_index():
    record = examples(1)[0]
    block, place = frame(record), Place(12, len(record), masked_crc(record))
    assert frame_at(block, place).data == record
    for at in (0, 8, len(block) - 1):
        with pytest.raises(ValueError, match="is not the one that was indexed"):
            frame_at(flipped(block, at), place)
    for at in (12, len(block) - 5):
        with pytest.raises(ValueError, match="is damaged: its"):
            frame_at(flipped(block, at), place)
    other = examples(1, first=3)[0]
    with pytest.raises(ValueError, match="is not the one that was indexed"):
        frame_at(frame(other), place)


def test_the_checksum_is_the_published_one():
    assert crc32c()(b"123456789") == 0xE3069283  # the check value of CRC-32C


def test_each_rule_has_an_index_of_its_own():
    other = TFRecordRule(ExampleRule("image/encoded", None, None))
    assert index_path("a", RULE, None) != index_path("a", other, None)
    assert RULE.version == ["fusewarp-tfrecord-index", 1]


def test_without_crc32c_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    crc32c.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"fusewarp\[tfrecord\]"):
        crc32c()
