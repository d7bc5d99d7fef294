"""Labels of records."""

import numpy as np
import pytest

from fusewarp.engine.tar_labels import combine, label_rule, labels_of

NAMES = ["s.tar/a", "s.tar/b", "t.tar/c"]


@pytest.mark.parametrize(
    ("label", "body", "value"),
    [
        ("cls", b" 12\n", 12),
        ("txt", b"a cat\n", "a cat"),
        ("txt", b"7", "7"),
        ("json:breed", b'{"breed": "pug", "age": 3}', "pug"),
        ("json:age", b'{"breed": "pug", "age": 3}', 3),
        ("json:score", b'{"score": 0.25}', 0.25),
        ("json:good", b'{"good": true}', 1),
    ],
)
def test_values(label, body, value):
    parsed = label_rule(label).parse(body)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("label", "body", "message"),
    [
        ("cls", b"cat", "holds 'cat', not a whole number"),
        ("cls", b"", "holds '', not a whole number"),
        ("cls", b"9" * 30, "64 bits"),
        ("txt", b" \n", "no text"),
        ("json:x", b"{", "is not JSON"),
        ("json:x", b"[1]", "no field 'x'"),
        ("json:x", b'{"y": 1}', "no field 'x'"),
        ("json:x", b'{"x": [1]}', r"x = \[1\], not text or a number"),
        ("json:x", b'{"x": NaN}', "x = nan"),
        ("json:x", b'{"x": 1' + b"0" * 400 + b"}", "64 bits"),
        ("json:x", b'{"x": null}', "x = None"),
    ],
)
def test_what_is_no_label(label, body, message):
    with pytest.raises(ValueError, match=message):
        label_rule(label).parse(body)


@pytest.mark.parametrize("label", ["png", "json:", "json", 3])
def test_unknown_rules_are_refused(label):
    with pytest.raises(ValueError, match='"cls", "txt", "json:<field>" or None'):
        label_rule(label)


def test_texts_of_shards_share_their_classes():
    shards = [labels_of(["dog", "cat"]), labels_of([]), labels_of(["ant"])]
    labels, classes = combine(shards, NAMES, None)
    assert classes == ["ant", "cat", "dog"]
    assert labels.tolist() == [2, 1, 0]
    assert combine(shards, NAMES, ["dog", "cat", "eel", "ant"])[0].tolist() == [0, 1, 3]


def test_whole_numbers_stay_and_fractions_are_float32():
    whole, classes = combine([labels_of([4, 0]), labels_of([2])], NAMES, None)
    assert (whole.tolist(), whole.dtype, classes) == ([4, 0, 2], np.int64, [])
    mixed, _ = combine([labels_of([4, 0]), labels_of([0.5])], NAMES, None)
    assert (mixed.tolist(), mixed.dtype) == ([4.0, 0.0, 0.5], np.float32)


@pytest.mark.parametrize(
    ("shards", "class_names", "message"),
    [
        ([["dog", "cat"], ["ant"]], ["cat", "dog"], "t.tar/c has the label 'ant', which is none"),
        ([[0, 2], [1]], ["cat", "dog"], "s.tar/b has the label 2, which is none of the 2"),
        ([[0, -1], [-1]], ["cat"], r"s.tar/b has the label -1.*\(2 records have such"),
        ([["dog", "cat"], [1]], None, "some shards are text, of others whole numbers"),
        ([[0.5, 1], [1]], ["cat"], "these labels are fractions"),
    ],
)
def test_labels_that_do_not_fit(shards, class_names, message):
    with pytest.raises(ValueError, match=message):
        combine([labels_of(values) for values in shards], NAMES, class_names)


def test_text_and_numbers_in_one_shard():
    with pytest.raises(ValueError, match="1 of 2 are text"):
        labels_of(["dog", 3])
