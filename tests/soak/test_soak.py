"""Random sources, settings and faults for as long as is asked: nothing lost, twice or wrong.

``SOAK_MINUTES=30 SOAK_SEED=1 make soak``; without a seed one is drawn, and printed.
"""

import os
import random
import sys

import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytest.importorskip("pyarrow")
pytest.importorskip("array_record")
pytest.importorskip("google_crc32c")

import s3fs
from soak import loop
from soak.loop import MOST_THREADS, Soak
from soak.world import KINDS

from fusewarp.engine import tar_source
from fusewarp.engine.retry import Retry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
QUICK = Retry(attempts=6, first_delay=0.001, longest_delay=0.004, longest_total=20)


def soak_for(seconds, seed, folder, monkeypatch) -> Soak:
    monkeypatch.setattr(tar_source, "RETRY", QUICK)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    pause, retries = Retry._pause, []
    monkeypatch.setattr(Retry, "_pause", lambda *args: retries.append(0) or pause(*args))
    soak = Soak(folder, seed)
    try:
        soak.run(seconds)
    finally:
        soak.figures["retries in this process"] = len(retries)
        soak.world.close()
        if soak.memory:
            print(f"\n{soak.report()}")
    return soak


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_soak(tmp_path, monkeypatch):
    minutes = float(os.environ.get("SOAK_MINUTES", "30"))
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**6))
    print(f"\n{minutes:g} minutes with SOAK_SEED={seed}")
    soak = soak_for(60 * minutes, seed, tmp_path, monkeypatch)
    assert soak.most_descriptors < 400
    assert soak.most_threads <= MOST_THREADS + 16 + 12
    assert max(mb for _, mb in soak.memory) < soak._early_mb() + 150
    if minutes >= 3:
        assert soak.slope() < 10, "MB a minute"


@pytest.mark.slow
def test_a_short_soak(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "POLICIES", loop.POLICIES[1:2])  # each compiles for a second
    monkeypatch.setattr(loop, "OUTPUTS", loop.OUTPUTS[:1])
    soak = soak_for(3, 1, tmp_path, monkeypatch)
    assert soak.figures["episodes"] >= len(KINDS)
    assert soak.figures["killed"] + soak.figures["child that was faster than its kill"] > 0
    assert sum(soak.world.count.values()) > 20
    assert soak.most_descriptors < 400
