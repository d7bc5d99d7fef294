"""A loader at work in a process that may be killed at any moment, and goes on from its files."""

import collections
import hashlib
import json
import multiprocessing
import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np

STATE, LOG = "state.json", "log.txt"


def rows_of(batch):
    """Return (id, label, hash of the pixels) of each picture."""
    labels = [None] * len(batch.sample_ids) if batch.labels is None else batch.labels.tolist()
    digests = (hashlib.sha1(np.ascontiguousarray(image)).hexdigest() for image in batch.images)
    return list(zip(batch.sample_ids.tolist(), labels, digests, strict=True))


def work(loader, folder, epochs, pause=0.0):
    """Go through the epochs before number `epochs`; note each sample, and save the position.

    After a kill what was noted behind the last saved position is struck out, as a trainer goes back
    to its last checkpoint.
    """
    folder = Path(folder)
    with open(folder / LOG, "a+b", buffering=0) as log:
        if (folder / STATE).exists():
            saved = json.loads((folder / STATE).read_text())
            loader.load_state_dict(saved["loader"])
            log.truncate(saved["noted"])
        else:
            log.truncate(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pictures that were left out
            while (epoch := loader.state_dict()["epoch"]) < epochs:
                for batch in loader:
                    rows = [json.dumps([epoch, *row]) + "\n" for row in rows_of(batch)]
                    log.write("".join(rows).encode())
                    _save(folder, {"loader": loader.state_dict(), "noted": log.tell()})
                    time.sleep(pause)


def _save(folder, state):
    partial = folder / (STATE + ".partial")
    partial.write_text(json.dumps(state))
    os.replace(partial, folder / STATE)


def saved_state(folder):
    """Return the loader's position that is on disk; None before the first batch."""
    path = Path(folder) / STATE
    return json.loads(path.read_text())["loader"] if path.exists() else None


def noted(folder):
    """Count (epoch, id, label, hash) of what was done up to the saved position."""
    path = Path(folder) / STATE
    length = json.loads(path.read_text())["noted"] if path.exists() else 0
    lines = (Path(folder) / LOG).read_bytes()[:length].splitlines() if length else []
    return collections.Counter(tuple(json.loads(line)) for line in lines)


def run_in_child(arguments, method="fork", kill_when=lambda: False, timeout=120):
    """Call `work` in a process of its own; kill it by SIGKILL as soon as told to.

    Returns whether it was killed.
    """
    process = multiprocessing.get_context(method).Process(target=work, args=arguments)
    process.start()
    end = time.monotonic() + timeout
    while process.is_alive() and not kill_when():
        if time.monotonic() > end:
            os.kill(process.pid, signal.SIGABRT)
            process.join(10)
            raise TimeoutError(f"the child hung: {arguments}")
        time.sleep(0.001)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the child ended with {process.exitcode}: {arguments}")
    was_killed = process.exitcode == -signal.SIGKILL
    process.close()
    return was_killed
