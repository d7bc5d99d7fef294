"""Two ranks, each a process with PyTorch's gloo: equal steps, every id once, the same pictures.

Each step ends with an all_reduce, so that a rank with a step more than the other would hang.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

from fusewarp import ArraySource, Augmenter, Loader, Policy

RANK = """
import hashlib, json, os, sys
from datetime import timedelta
import numpy as np, torch
import torch.distributed as dist
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler
from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.torch import as_iterable_dataset, as_map_dataset

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group(
    "gloo", init_method=sys.argv[1], rank=rank, world_size=world, timeout=timedelta(seconds=200)
)
images = np.random.default_rng(1).integers(0, 256, (24, 12, 10, 3), np.uint8)
source = ArraySource(images, np.arange(24))
augmenter = Augmenter(Policy(rotation_range=40, horizontal_flip=True), seed=3, threads=1)
shard = Loader(source, augmenter, 4, shard=(rank, world), drop_remainder=True)
iterable = DataLoader(as_iterable_dataset(shard), batch_size=None, num_workers=int(sys.argv[2]))
dataset = as_map_dataset(source, augmenter)
sampler = DistributedSampler(dataset, seed=3)  # rank and world from the process group
chosen = BatchSampler(sampler, 4, drop_last=True)
mapped = DataLoader(dataset, batch_size=None, sampler=chosen)

seen = {"iterable": [], "mapped": []}
for epoch in range(3):
    dataset.set_epoch(epoch)
    sampler.set_epoch(epoch)
    for name, batches in (("iterable", iterable), ("mapped", mapped)):
        for pictures, ids in batches:
            for picture, sample_id in zip(pictures.numpy(), ids.tolist()):
                digest = hashlib.sha256(picture.tobytes()).hexdigest()
                seen[name].append((sample_id, epoch, digest))
            step = torch.ones(1)
            dist.all_reduce(step)
            assert step.item() == world
dist.destroy_process_group()
print(json.dumps(seen))
"""


def expected() -> Counter:
    images = np.random.default_rng(1).integers(0, 256, (24, 12, 10, 3), np.uint8)
    policy = Policy(rotation_range=40, horizontal_flip=True)
    loader = Loader(ArraySource(images), Augmenter(policy, seed=3), 24)
    return Counter(
        (int(sample_id), epoch, hashlib.sha256(picture.tobytes()).hexdigest())
        for epoch in range(3)
        for batch in loader
        for picture, sample_id in zip(batch.images, batch.sample_ids, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_ranks_give_what_one_loader_gives(tmp_path, num_workers):
    command = [sys.executable, "-c", RANK, f"file://{tmp_path}/rendezvous", str(num_workers)]
    kernels = {"FUSEWARP_CACHE": "1", "FUSEWARP_CACHE_DIR": str(tmp_path / "kernels")}
    environment = {**os.environ, **kernels}
    ranks = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        results = [rank.communicate(timeout=250) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], results
    seen = [json.loads(output) for output, _ in results]
    for name in ("iterable", "mapped"):
        assert len(seen[0][name]) == len(seen[1][name]) == 36
        assert Counter(map(tuple, seen[0][name] + seen[1][name])) == expected()
