"""What an index of a tar shard looks for, and what it notes of records that lack it."""

import json

from fusewarp.engine.shard_index import index_path, open_index
from fusewarp.engine.shard_store import ShardStore
from fusewarp.engine.tar_index import IndexRule
from fusewarp.engine.tar_labels import label_rule
from oracles.shards import picture, write_shard

RULE = IndexRule(label_rule("cls"))


def opened(path):
    return open_index(ShardStore(), str(path), RULE, None)


def keys_of(index):
    text = index.keys.tobytes()
    pairs = zip(index.key_offsets[:-1], index.key_offsets[1:], strict=True)
    return [text[start:stop].decode() for start, stop in pairs]


def test_records_that_lack_something_are_noted(tmp_path):
    members = [
        ("a.cls", b"1"),
        ("b.png", picture(1)),
        ("c.png", picture(2)),
        ("c.jpg", picture(3)),
        ("c.cls", b"1"),
        ("d.png", picture(4)),
        ("d.cls", b"cat"),
        ("e.png", picture(5)),
        ("e.cls", b"2"),
    ]
    shard = write_shard(tmp_path / "s.tar", members)
    for index in (opened(shard), opened(shard)):
        assert keys_of(index) == ["e"]
        (a, no_image), (b, no_label), (c, two), (d, no_number) = index.defects
        assert (a, b, c, d) == ("a", "b", "c", "d")
        assert no_image.startswith("has .cls, and no picture (looked for .jpg")
        assert no_label == "has .png, and no label .cls"
        assert two == "has .png, .jpg, .cls: which is the picture? Say so with `image`"
        assert no_number == "has a .cls that holds 'cat', not a whole number"


def test_the_rule_is_text_that_tells_rules_apart():
    rules = [IndexRule(label_rule(label)) for label in (None, "cls", "txt", "json:a", "json:b")]
    rules.append(IndexRule(label_rule("cls"), "input.jpg"))
    assert len({rule.text for rule in rules}) == len(rules)
    assert len({index_path("a.tar", rule, None) for rule in rules}) == len(rules)
    assert json.loads(rules[-1].text) == ["cls", None, "input.jpg"]
