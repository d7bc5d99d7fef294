"""Load one epoch of a folder and print the resident memory: epoch_memory.py FOLDER SIDE BATCH."""

import json
import os
import sys
from pathlib import Path

import fusewarp as fw

MEGABYTE = 1e6


def resident() -> float:
    """Return the resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


imported = resident()
folder, side, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
source = fw.FolderSource(Path(folder) / "photos")
loader = fw.Loader(source, fw.Augmenter(fw.Policy(horizontal_flip=True), size=side), batch_size)
samples = []
batch_bytes = 0
for batch in loader:
    samples.append(resident())
    batch_bytes = max(batch_bytes, batch.images.nbytes)
tenth = max(1, len(samples) // 10)
second_tenth, last_tenth = samples[tenth : 2 * tenth] or samples, samples[-tenth:]
print(
    json.dumps(
        {
            "files": len(source),
            "import_mb": imported,
            "peak_above_import_mb": max(samples) - imported,
            "growth_mb": sum(last_tenth) / len(last_tenth) - sum(second_tenth) / len(second_tenth),
            "batch_mb": batch_bytes / MEGABYTE,
            "prefetch": loader.prefetch,
        }
    )
)
