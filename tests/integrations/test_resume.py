"""Runs that are killed, interrupted or refused, and what they go on with."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from oracles import killed_training
from oracles.killed_training import EPOCHS, STEPS, TRAIN, steps_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
KILLS = int(os.environ.get("KILLS", "20"))


@pytest.fixture(scope="module")
def processes():
    """Return a context whose processes begin with TensorFlow imported, and no thread of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["oracles.killed_training"])
    return context


def start(processes, folder, seconds=0.0):
    folder.mkdir(exist_ok=True)
    process = processes.Process(target=killed_training.train, args=(str(folder), seconds))
    process.start()
    return process


def num_lines(log):
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for_lines(process, log, count):
    ends = time.monotonic() + 120
    while num_lines(log) < count and process.is_alive():
        assert time.monotonic() < ends, "the training does not go on"
        time.sleep(0.002)


def finish(process):
    process.join(240)
    assert process.exitcode == 0


def final_of(folder):
    with np.load(folder / "final.npz") as file:
        return [file[name] for name in sorted(file.files, key=int)]


@pytest.fixture(scope="module")
def never_killed(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    finish(start(processes, folder))
    return folder


def assert_same_run(folder, whole):
    for weight, expected in zip(final_of(folder), final_of(whole), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert (folder / "history.txt").read_text() == (whole / "history.txt").read_text()
    assert steps_of(folder / "levels.txt") == steps_of(whole / "levels.txt")


@pytest.mark.slow
def test_every_epoch_of_a_run_has_every_sample_once(never_killed):
    trained = steps_of(never_killed / "levels.txt")
    assert len(trained) == sum(EPOCHS) * STEPS
    for epoch in range(sum(EPOCHS)):
        levels = [level for step in range(STEPS) for level in trained[epoch, step]]
        assert sorted(levels) == list(range(TRAIN))


@pytest.mark.slow
def test_killed_many_times_it_ends_with_the_same_weights(processes, never_killed, tmp_path):
    """Neither a weight, nor a figure, nor a sample differs from the run that was left alone."""
    rng, log, folder = random.Random(0), tmp_path / "run" / "levels.txt", tmp_path / "run"
    kills = 0
    while kills < KILLS:
        before = num_lines(log)
        process = start(processes, folder, seconds=0.02)
        wait_for_lines(process, log, before + 1 + rng.randint(0, 4))
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, f"it had ended after {kills} kills"
        kills += 1
    finish(start(processes, folder))
    assert_same_run(folder, never_killed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_the_run_goes_on(processes, never_killed, tmp_path, number):
    folder = tmp_path / "run"
    process = start(processes, folder, seconds=0.05)
    wait_for_lines(process, folder / "levels.txt", 10)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 1  # Interrupted, which is no crash of the interpreter
    finish(start(processes, folder))
    assert_same_run(folder, never_killed)
