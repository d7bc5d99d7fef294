"""The drop-in on a machine without Keras: what is not Keras' own still works."""

import subprocess
import sys

import pytest

SETTING = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tensorflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

class Hidden:
    def find_spec(self, name, package=None):
        return None if name in ("keras", "tensorflow") else find_spec(name, package)

import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = Hidden().find_spec
sys.meta_path.insert(0, Missing())
"""


def run(code):
    result = subprocess.run(
        [sys.executable, "-c", SETTING + code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.slow
def test_batches_are_made_without_keras(photo_folder):
    lines = run(
        f"""
import numpy as np
from fusewarp.keras import ImageDataGenerator, Iterator
generator = ImageDataGenerator(rotation_range=30, rescale=1 / 255)
images = np.zeros((5, 8, 9, 3), np.uint8)
print(next(generator.flow(images, batch_size=4)).shape[0], generator.dtype)
flow = generator.flow_from_directory({str(photo_folder)!r}, target_size=(20, 30))
print(next(flow)[0].dtype, generator.data_format, flow.workers)
print("keras" in sys.modules)
"""
    )
    found = "Found 11 images belonging to 2 classes.".split()
    assert lines == ["4", "float32", *found, "float32", "channels_last", "1", "False"]
