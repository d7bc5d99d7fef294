import dataclasses
import json
import re
from typing import get_args

import pytest

from fusewarp import Policy
from fusewarp.engine.policy import FillMode, Interpolation
from fusewarp.kernels.codes import FILL_CODES, INTERPOLATION_CODES

FULL = {
    "rotation_range": 30,
    "zoom_range": (0.8, 1.3),
    "brightness_range": (0.5, 1.5),
    "mean": (1, 2, 3),
    "std": 2,
    "fill_mode": "wrap",
}


def test_survives_json():
    policy = Policy(**FULL)
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


def test_is_frozen_and_hashable():
    policy = Policy(rotation_range=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.rotation_range = 4
    assert len({policy, Policy(rotation_range=3.0)}) == 1


def test_zoom_number_stands_for_a_range():
    assert Policy(zoom_range=0.25).zoom_bounds == (0.75, 1.25)


def test_without_augmentation_keeps_only_the_output_constants():
    plain = Policy(**FULL, horizontal_flip=True).without_augmentation()
    assert plain == Policy(mean=(1, 2, 3), std=2)


def test_names_are_those_of_the_kernels():
    assert set(get_args(FillMode)) == set(FILL_CODES)
    assert set(get_args(Interpolation)) == set(INTERPOLATION_CODES)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("rotation_range", -1, ValueError),
        ("rotation_range", float("nan"), ValueError),
        ("rotation_range", "30", TypeError),
        ("rotation_range", (1, 2), TypeError),
        ("width_shift_range", float("inf"), ValueError),
        ("height_shift_range", -0.1, ValueError),
        ("shear_range", 90, ValueError),
        ("zoom_range", 1.0, ValueError),
        ("zoom_range", (0.0, 1.0), ValueError),
        ("zoom_range", (1.2, 0.8), ValueError),
        ("zoom_range", (1, 2, 3), TypeError),
        ("brightness_range", (-1, 1), ValueError),
        ("contrast_range", 0.5, TypeError),
        ("saturation_range", (1.5, 0.5), ValueError),
        ("channel_shift_range", -3, ValueError),
        ("horizontal_flip", 1, TypeError),
        ("rescale", float("inf"), ValueError),
        ("mean", "grey", TypeError),
        ("std", 0, ValueError),
        ("std", (1, 0, 1), ValueError),
        ("cval", float("nan"), ValueError),
        ("fill_mode", "edge", ValueError),
        ("interpolation", "cubic", ValueError),
    ],
)
def test_refuses_and_names(argument, value, error):
    with pytest.raises(error, match=re.escape(f"`{argument}`")) as caught:
        Policy(**{argument: value})
    values = value if isinstance(value, tuple) else (value,)
    assert any(str(part) in str(caught.value) for part in values)


def test_from_dict_names_an_unknown_field():
    with pytest.raises(ValueError, match="rotation"):
        Policy.from_dict({"rotation": 3})
