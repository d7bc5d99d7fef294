"""Reading the headers of shards: WebDataset's grouping, and every way a shard can be broken."""

import io
import tarfile
import zlib

import pytest

from fusewarp.engine.shard_store import ShardStore
from fusewarp.engine.tar_members import RangeFile, read_records
from oracles.shards import BLOCK, header_at, records, tar_bytes, without_checksum

LONG = "folder/" + "x" * 150 + "/"
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.fixture
def read(tmp_path):
    def read(content, label=None):
        path = tmp_path / "shard.tar"
        path.write_bytes(content)
        store = ShardStore()
        return list(read_records(RangeFile(store, str(path), store.stamp(str(path))), label))

    return read


@pytest.mark.parametrize("format", FORMATS)
def test_members_lie_where_the_records_say(read, format):
    names = ["a.jpg", "a.cls", "é/ü.jpg", LONG[:90] + "/b.jpg"]
    if format != tarfile.USTAR_FORMAT:
        names += [LONG * 2 + "c.jpg", LONG * 2 + "c.json"]
    content = tar_bytes([(name, name.encode() * 70) for name in names], format)

    found = {}
    for record in read(content):
        for extension, member in record.members.items():
            found[f"{record.key}.{extension}"] = content[member.start :][: member.length]
            header = content[member.start - BLOCK : member.start]
            assert member.header_crc == zlib.crc32(header)
    assert found == {name: name.encode() * 70 for name in names}


def test_grouping_is_webdatasets(read):
    members = [
        ("dir.d", None),
        ("dir.d/a.JPG", b"1"),
        ("dir.d/a.seg.png", b"2"),
        ("dir.d/.hidden", b"no key"),
        ("__meta__", b"no record"),
        ("__index__/b.jpg", b"no record"),
        ("README", b"no extension"),
        ("dir.d/b.jpg", b"3"),
        ("b.jpg", b"4"),
    ]
    found = [(record.key, list(record.members)) for record in read(tar_bytes(members))]
    assert found == [("dir.d/a", ["jpg", "seg.png"]), ("dir.d/b", ["jpg"]), ("b", ["jpg"])]


def test_only_labels_are_read(read):
    first, second = read(tar_bytes(records(2)), "cls")
    assert (first.label, second.label) == (b"0", b"1")


def test_bodies_are_passed_over(tmp_path):
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_bytes([(f"{i}.jpg", bytes(300_000)) for i in range(20)]))
    store = ShardStore()
    read_bytes = []
    plain_read = store.read
    store.read = lambda path, start, length, stamp: (
        read_bytes.append(length) or plain_read(path, start, length, stamp)
    )
    assert len(list(read_records(RangeFile(store, str(path), store.stamp(str(path)))))) == 20
    assert sum(read_bytes) < 20 * 10_000


def test_every_cut_is_noticed(read):
    content = tar_bytes(records(3))
    end = content.rstrip(b"\0")
    num_blocks = -(-len(end) // BLOCK)
    for cut in [*range(1, num_blocks * BLOCK, 177), *range(0, num_blocks * BLOCK + 1, BLOCK)]:
        with pytest.raises(ValueError, match=r"cut off|empty|damaged"):
            read(content[:cut])
    assert len(read(content[: (num_blocks + 1) * BLOCK])) == 3  # one block of zeros is a mark


@pytest.mark.parametrize("name", ["0000.png", "0001.png", "0002.cls"])
def test_a_wrong_checksum_is_no_end(read, name):
    content = without_checksum(tar_bytes(records(3)), name)
    with pytest.raises(ValueError, match=r"damaged|bad checksum"):
        read(content)


@pytest.mark.parametrize("format", FORMATS[1:])
def test_a_wrong_checksum_behind_a_long_name(read, format):
    name = LONG * 2 + "b.jpg"
    content = tar_bytes([("a.jpg", b"1"), (name, b"2"), ("c.jpg", b"3")], format)
    with pytest.raises(ValueError, match="damaged"):
        read(without_checksum(content, name))


def test_joined_archives_are_refused(read):
    with pytest.raises(ValueError, match="goes on behind its end"):
        read(tar_bytes(records(1)) + tar_bytes(records(1, 1)))


def test_a_key_that_comes_back_is_refused(read):
    members = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.cls", b"3")]
    with pytest.raises(ValueError, match="key 'a' twice, again at byte 2048"):
        read(tar_bytes(members))
    with pytest.raises(ValueError, match=r"'a.JPG' twice, again at byte 1024"):
        read(tar_bytes([("a.jpg", b"1"), ("a.JPG", b"2")]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\x1f\x8b" + bytes(2000), "compressed .gzip."),
        (b"no tar file" * 100, "no tar file"),
    ],
)
def test_what_is_no_tar_file(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_an_archive_without_members_is_whole(read):
    assert read(tar_bytes([])) == []


def test_links_are_refused(read):
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"'b\.jpg' at byte 0, which is a link"):
        read(memory.getvalue())


def test_sizes_below_zero_end(read):
    content = bytearray(tar_bytes([("a.jpg", b"1"), ("b.jpg", bytes(600))]))
    at = header_at(bytes(content), "b.jpg")
    content[at + 124 : at + 136] = b"\xff" * 10 + b"\xfc\x00"  # -1024 in GNU's base 256
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + BLOCK])
    with pytest.raises(ValueError, match=r"negative|damaged"):
        read(bytes(content))
