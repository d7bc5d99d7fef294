"""Shared fixtures."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["FUSEWARP_CACHE"] = (
    "0"  # what is tested is compiled here; the cache's tests switch it on
)

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Two classes of small JPEGs and PNGs of different sizes, each file with its own colours."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "photos"
    for label, name in enumerate(["cat", "dog"]):
        (folder / name).mkdir(parents=True)
        for number in range(5 + label):
            size = (30 + 3 * number, 41 - 2 * number)
            coarse = rng.integers(0, 256, (5, 6, 3), np.uint8)
            picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
            suffix = "png" if number == 2 else "jpg"
            picture.save(folder / name / f"{number:02d}.{suffix}", quality=95)
    return folder
