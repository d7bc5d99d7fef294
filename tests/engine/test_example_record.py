"""Records read without TensorFlow: what TensorFlow wrote, and what is none of it."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("google.protobuf")
pytest.importorskip("google_crc32c")

from fusewarp.engine import example_record
from fusewarp.engine.example_record import ExampleRule, example_class
from oracles.examples import example

RULE = ExampleRule("image/encoded", "image/class/label", None)
VALUES = [b"\x00\xff" * 200, "Straße", 7, -(2**62), 0.25, [1, 2, 300], [0.5, 2.0], []]


def tf_example(tf, features):
    """Build an Example with TensorFlow's own classes."""

    def feature(value):
        values = value if isinstance(value, list) else [value]
        if not values:
            return tf.train.Feature()
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        values = [one.encode() if isinstance(one, str) else one for one in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    found = {key.replace("__", "/"): feature(value) for key, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=found))


@pytest.mark.slow  # TensorFlow is imported
def test_tensorflow_reads_what_these_tests_write():
    tf = pytest.importorskip("tensorflow")
    for value in VALUES:
        features = {"image__encoded": b"jpeg", "other": value}
        ours = tf.train.Example.FromString(example(**features))
        assert ours == tf_example(tf, features)


@pytest.mark.slow
@pytest.mark.parametrize("label", [7, -3, 2**62, 0.25, "tabby cat", "Straße"])
def test_what_tensorflow_wrote_is_read(label):
    tf = pytest.importorskip("tensorflow")
    features = {"image__encoded": b"\xff\xd8jpeg", "image__class__label": label, "n": "a"}
    data = tf_example(tf, features).SerializeToString()
    assert ExampleRule("image/encoded", "image/class/label", "n").describe(data) == ("a", label)
    assert RULE.image_of(data) == b"\xff\xd8jpeg"
    unpacked = example_class().FromString(data)
    assert tf.train.Example.FromString(unpacked.SerializeToString()) == tf_example(tf, features)


@pytest.mark.slow
@pytest.mark.parametrize("ours_first", [True, False])
def test_tensorflow_and_we_register_our_classes_in_any_order(ours_first):
    imports = ["from fusewarp.engine.example_record import example_class; example_class()"]
    imports.insert(1 if ours_first else 0, "import tensorflow as tf")
    pytest.importorskip("tensorflow")
    script = "\n".join(
        [
            *imports,
            "data = tf.train.Example(features=tf.train.Features(feature={'a': tf.train.Feature("
            "int64_list=tf.train.Int64List(value=[5]))})).SerializeToString()",
            "assert example_class().FromString(data).features.feature['a'].int64_list.value == [5]",
        ]
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)


def test_labels_and_names():
    data = example(image__encoded=b"x", image__class__label=7, text="dog", part=0.5)
    assert RULE.describe(data) == (None, 7)
    assert ExampleRule("image/encoded", None, None).describe(data) == (None, None)
    assert ExampleRule("image/encoded", "text", "image/class/label").describe(data) == ("7", "dog")
    label = ExampleRule("image/encoded", "part", None).describe(data)[1]
    assert (label, type(label)) == (np.float32(0.5), float)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"image__class__label": 1}, r"no feature 'image/encoded', its `image` \(it has 'image/cl"),
        ({}, r"no feature 'image/encoded', its `image` \(it has none\)"),
        ({"image__encoded": b"x"}, r"no feature 'image/class/label', its `label` \(it has 'image/"),
        ({"image__encoded": b""}, "has b'' as 'image/encoded', not the bytes"),
        ({"image__encoded": 5}, "has 5 as 'image/encoded', not the bytes"),
        ({"image__encoded": [b"x", b"y"]}, "has 2 values as 'image/encoded', its `image`, not one"),
        ({"image__encoded": []}, "has 0 values as 'image/encoded'"),
        ({"image__encoded": b"x", "image__class__label": [1, 2]}, "has 2 values as 'image/class/l"),
        ({"image__encoded": b"x", "image__class__label": ""}, "has '' as 'image/class/label', not"),
        ({"image__encoded": b"x", "image__class__label": b"\xff"}, "not a text in UTF-8"),
        ({"image__encoded": b"x", "image__class__label": float("nan")}, "has nan as"),
        ({"image__encoded": b"x", "image__class__label": float("inf")}, "has inf as"),
    ],
)
def test_what_a_record_lacks_is_said(features, message):
    with pytest.raises(ValueError, match=message):
        RULE.describe(example(**features))


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0" + bytes(50), b"\x0a\xff\x01", b"text"])
def test_what_is_no_example_is_refused(data):
    with pytest.raises(ValueError, match=r"is no tf\.train\.Example"):
        RULE.describe(data)
    with pytest.raises(ValueError, match=r"is no tf\.train\.Example"):
        RULE.image_of(data)


@pytest.mark.parametrize(
    "keys", [("", None, None), ("a", "", None), ("a", None, 3), (None, "a", "b")]
)
def test_keys_that_are_none(keys):
    with pytest.raises(ValueError, match="must be the key of a feature, got"):
        ExampleRule(*keys)


def test_many_features_are_listed_in_short():
    data = example(**{f"k{number:02d}": 1 for number in range(30)})
    with pytest.raises(ValueError, match=r"\(it has 'k00', .* 'k07', \.\.\.\)"):
        RULE.image_of(data)


def test_rules_have_texts_of_their_own():
    rules = [RULE, ExampleRule("a", None, "image/class/label"), ExampleRule("a", "b", None)]
    assert len({rule.text for rule in rules}) == 3


def test_without_protobuf_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    example_record.example_class.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"fusewarp\[tfrecord\]"):
        example_class()
