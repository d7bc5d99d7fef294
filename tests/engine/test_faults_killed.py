"""A process killed with SIGKILL in the middle of an epoch: another one makes the rest, exactly."""

import multiprocessing
import os
import random
import time

import pytest

from fusewarp import Augmenter, Loader, Policy, TarSource
from oracles.killed_loader import noted, run_in_child, saved_state, work
from oracles.shards import records, write_shard

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]
POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True)
SEEDS = [3, 14, 15, 92, 65]
EPOCHS, COUNT, BATCH = 2, 50, 4


@pytest.fixture
def source(tmp_path) -> TarSource:
    for shard in range(5):
        write_shard(tmp_path / f"data-{shard:03d}.tar", records(10, first=10 * shard))
    return TarSource(str(tmp_path / "data-{000..004}.tar"), "cls")


def loader_of(source, threads):
    augmenter = Augmenter(POLICY, size=(8, 12), seed=6, threads=threads)
    return Loader(source, augmenter, batch_size=BATCH)


def folder_of(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    return folder


def unbroken(source, tmp_path):
    folder = folder_of(tmp_path, "unbroken")
    work(loader_of(source, 1), folder, EPOCHS)
    whole = noted(folder)
    assert sorted(row[:2] for row in whole.elements()) == [
        (epoch, i) for epoch in range(EPOCHS) for i in range(COUNT)
    ]
    return whole


def kill_and_go_on(source, folder, rng, method="fork"):
    """Kill at a random moment near a random batch; return the counts of both processes."""
    some = rng.randrange(1, EPOCHS * COUNT * 2 // 3)
    arguments = (loader_of(source, 2), folder, EPOCHS, rng.choice([0.01, 0.02]))

    def is_time():
        if noted(folder).total() < some:
            return False
        time.sleep(rng.uniform(0, 0.02))  # between two batches, or within one
        return True

    assert run_in_child(arguments, method, is_time)
    first = noted(folder)
    assert not run_in_child((loader_of(source, 2), folder, EPOCHS), method)
    return first, noted(folder)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_killed_process_left_is_made_exactly_once(source, tmp_path, seed):
    expected = unbroken(source, tmp_path)
    folder = folder_of(tmp_path, "killed")
    before, after = kill_and_go_on(source, folder, random.Random(seed))
    assert before <= after  # the second process changed nothing of what the first had done
    assert 0 < before.total() < after.total()
    assert after == expected
    assert saved_state(folder)["epoch"] == EPOCHS


@pytest.mark.slow
def test_a_fresh_process_goes_on_after_a_kill(source, tmp_path):
    assert "spawn" in multiprocessing.get_all_start_methods()
    folder = folder_of(tmp_path, "killed")
    before, after = kill_and_go_on(source, folder, random.Random(1), "spawn")
    assert 0 < before.total() < after.total()
    assert after == unbroken(source, tmp_path)


def test_killed_again_and_again(source, tmp_path):
    folder, rng, kills = folder_of(tmp_path, "killed"), random.Random(8), 0
    while (state := saved_state(folder)) is None or state["epoch"] < EPOCHS:
        until = noted(folder).total() + rng.randrange(1, 3 * BATCH)
        kills += run_in_child(
            (loader_of(source, rng.choice([1, 2, 3])), folder, EPOCHS, 0.01),
            kill_when=lambda until=until: noted(folder).total() >= until,
        )
    assert kills > 5
    assert noted(folder) == unbroken(source, tmp_path)
