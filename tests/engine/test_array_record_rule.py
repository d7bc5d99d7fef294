"""Functions that say what is in a record: what they may return, and what is refused."""

import pickle

import numpy as np
import pytest

from fusewarp.engine.array_record_rule import FunctionRule
from oracles.record_functions import pack, packed, returns, unlabelled


def test_what_a_function_says():
    rule = FunctionRule(packed)
    assert rule.describe(pack(b"jpeg", 5)) == (None, 5)
    assert rule.describe(pack(b"jpeg", "cat")) == (None, "cat")
    assert rule.image_of(pack(b"jpeg", 5)) == b"jpeg"
    assert FunctionRule(unlabelled).describe(b"jpeg") == (None, None)


@pytest.mark.parametrize(
    ("label", "expected"),
    [(True, 1), (np.uint8(7), 7), (np.float32(0.5), 0.5), (-(2**62), -(2**62)), (1.0, 1.0)],
)
def test_labels_become_numbers_of_python(label, expected):
    found = FunctionRule(returns((b"x", label))).describe(b"")[1]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("image", [bytearray(b"ab"), memoryview(b"ab")])
def test_pictures_are_bytes(image):
    rule = FunctionRule(unlabelled)
    assert rule.image_of(image) == b"ab"
    assert type(rule.image_of(image)) is bytes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"x", r"gives b'x': `record` must return \(bytes of the picture, label or None\)"),
        ((b"x", 1, 2), r"gives \(b'x', 1, 2\): `record` must return"),
        (None, "gives None: `record` must return"),
        (("x", 1), "gives 'x' as its picture, not bytes"),
        ((b"", 1), "gives b'' as its picture"),
        ((np.zeros(3), 1), r"gives array\(.* as its picture"),
        ((b"x", b"cat"), "gives b'cat' as its label, not a text or a number"),
        ((b"x", ""), "gives '' as its label"),
        ((b"x", float("nan")), "gives nan as its label"),
        ((b"x", 2**63), "gives 9223372036854775808 as its label"),
        ((b"x", [1]), r"gives \[1\] as its label"),
        (KeyError("breed"), r"cannot be read by `record` \(KeyError: 'breed'\)"),
    ],
)
def test_what_a_function_may_not_say(value, message):
    with pytest.raises(ValueError, match=message):
        FunctionRule(returns(value)).describe(b"")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (5, "`record` must be a function of bytes, got 5"),
        (lambda data: (data, 1), "`record` cannot be pickled .* top of a module"),
    ],
)
def test_functions_that_other_processes_do_not_find(function, message):
    with pytest.raises(TypeError, match=message):
        FunctionRule(function)


def test_functions_have_texts_of_their_own():
    rules = [FunctionRule(f) for f in (packed, unlabelled, returns((b"x", 1)), returns((b"x", 2)))]
    assert len({rule.text for rule in rules}) == 4
    assert pickle.loads(pickle.dumps(rules[0])).text == rules[0].text == FunctionRule(packed).text
