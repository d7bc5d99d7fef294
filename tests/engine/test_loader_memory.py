"""A folder of 100,000 files: what a loader takes is a few batches, and does not grow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NUM_FILES, BATCH_SIZE, SIDE, PREFETCH = 100_000, 64, 112, 2
BATCH_MB = BATCH_SIZE * SIDE**2 * 3 * 4 / 1e6

EPOCH = f"""
import sys
from pathlib import Path
from fusewarp import Augmenter, FolderSource, Loader, Policy

def resident_mb():
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * {os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096} / 1e6

Augmenter(Policy(rescale=1.0))  # everything is imported
before = resident_mb()
source = FolderSource(sys.argv[1])
augmenter = Augmenter(Policy(rotation_range=30, zoom_range=0.2, rescale=1 / 255), size={SIDE})
loader = Loader(source, augmenter, {BATCH_SIZE}, prefetch={PREFETCH})
count = 0
for step, batch in enumerate(loader):
    count += len(batch.images)
    if step % 100 == 50:
        print(resident_mb() - before)
assert count == {NUM_FILES}
"""


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    """Hard links to a few JPEGs of different sizes, in two classes of fifty folders each."""
    rng = np.random.default_rng(0)
    originals = []
    for number in range(8):
        pixels = rng.integers(0, 256, (40 + 9 * number, 90 - 5 * number, 3), np.uint8)
        originals.append(tmp_path / f"{number}.jpg")
        Image.fromarray(pixels).save(originals[-1], quality=60)
    for group in range(100):
        folder = tmp_path / "photos" / f"class-{group % 2}" / f"{group:02}"
        folder.mkdir(parents=True)
        for number in range(NUM_FILES // 100):
            os.link(originals[(group + number) % 8], folder / f"picture-{number:05}.jpg")
    return tmp_path / "photos"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
def test_memory_is_flat_over_an_epoch_and_a_few_batches(large_folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    epoch = subprocess.run(
        [sys.executable, "-c", EPOCH, str(large_folder)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    resident = [float(line) for line in epoch.stdout.split()]
    assert len(resident) == 16
    assert max(resident) < (PREFETCH + 2) * BATCH_MB + 400
    settled = resident[4:]
    assert max(settled) - min(settled) < 10
