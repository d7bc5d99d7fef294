"""The tables of a GPU in Numba's simulator, and the command where there is no GPU."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("numba_cuda")

SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1", "FUSEWARP_CACHE": "0"}
TINY = """
import sys
from pathlib import Path
from fusewarp.benchmarks import gpu, gpu_rows
from fusewarp.benchmarks.timing import Pace
from fusewarp.engine.devices import choose_device

if __name__ == "__main__":  # rows run in processes that import this file anew
    pace = {name: Pace(1, 0, 0) for name in gpu.GPU_TABLES}
    scale = gpu.GpuScale(
        pace, tiles=2, batches=2, side=8, tile_size=(6, 9), ring_bytes=1, ramp_seconds=0
    )
    peers = [peer for peer in gpu_rows.GPU_PEERS if peer.process == "native"]
    result = gpu.run_gpu_bench(choose_device("cuda:0"), 2, scale, peers)
    gpu.write_gpu_report(result, Path(sys.argv[1]))
"""
PIXELS = """
import numpy as np
from pathlib import Path
from fusewarp.benchmarks.peers import gpu_clock, gpu_kernel, gpu_ours
from fusewarp.benchmarks.peers.gpu_work import GpuWork, maps_from
from fusewarp.engine import ArraySource, Loader
from fusewarp.kernels import warp

work = GpuWork(2, 2, Path(), batch_size=2, side=8, tile_size=(6, 9), ring_bytes=1)
for case in gpu_kernel.CASES:
    gpu_kernel.build_case(case, work).run(1)
    shape = (2, case.channels, 8, 8) if case.layout == "CHW" else (2, 8, 8, case.channels)
    expected = np.empty(shape, case.dtype)
    size = case.source_size(work)
    warp(
        gpu_kernel._sources(work, size, case.channels), maps_from(size, work), expected,
        colour=gpu_kernel._colour(case, 2), fill_mode=case.fill_mode,
        interpolation=case.interpolation, layout=case.layout,
    )
    memory = gpu_clock._shared[0].copy_to_host()
    actual = memory[: expected.nbytes].view(case.dtype).reshape(shape)
    tolerance = 1 if case.dtype == "uint8" else 1e-3
    np.testing.assert_allclose(actual.astype(float), expected.astype(float), atol=tolerance)
    memory[:] = 99
    gpu_clock._shared[0].copy_to_device(memory)  # what the next case does not write shows
    print(case.key)

means = gpu_ours.Means(work)
(batch,) = Loader(ArraySource(work.images), gpu_ours.make_augmenter(work), 2, prefetch=0)
assert means.add(batch.images) == 2
means.wait()
expected = batch.images.copy_to_host().mean(axis=(1, 2)).reshape(-1)
np.testing.assert_allclose(means._reduced.copy_to_host(), expected, atol=1e-5)
"""


def run(arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_without_a_gpu_the_command_says_so_in_one_sentence_and_exits_with_2():
    done = run(["-m", "fusewarp.benchmarks.gpu"], NUMBA_DISABLE_CUDA="1")

    said = 'NUMBA_DISABLE_CUDA=1 switches CUDA off. Unset it, or use device="cpu".\n'
    assert (done.returncode, done.stderr, done.stdout) == (2, said, "")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "tiny.py").write_text(TINY)
    done = run([str(folder / "tiny.py"), str(folder)], **SIMULATOR)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()


@pytest.mark.slow
def test_all_rows_of_ours_run_in_the_simulator(simulated):
    from fusewarp.benchmarks.peers.gpu_ours import ENTRIES

    figures, _ = simulated
    ran = [(name, row["key"]) for name, t in figures["tables"].items() for row in t["rows"]]
    failed = [line for table in figures["tables"].values() for line in table["absent"]]

    (line,) = failed  # no card is there that nvImageCodec could decode on
    assert line["name"].startswith("fusewarp Loader, decode_on='device'")
    assert "nvImageCodec" in line["reason"]
    assert sorted(ran) == sorted((entry.table, entry.key) for entry in ENTRIES)


@pytest.mark.slow
def test_rows_of_the_json_say_what_they_are_worth(simulated):
    figures, _ = simulated
    rows = {row["key"]: row for row in figures["tables"]["kernel"]["rows"]}
    row, floor = rows["float16.chw"], rows["copy.same size, 3 x float16"]

    moved = 8 * 8 * 3 * (1 + 2)
    assert row["figures"] == floor["figures"] == {"bytes_a_picture": moved}
    assert row["gigabytes_per_second"] == pytest.approx(row["images_per_second"] * moved / 1e9)
    assert row["floor"] == floor["key"]
    assert row["share_of_floor"] == pytest.approx(floor["rounds"][0] / row["rounds"][0])
    assert rows["ragged"]["figures"]["bytes_a_picture"] == 6 * 9 * 3 + 8 * 8 * 3 * 2


@pytest.mark.slow
def test_every_row_of_ours_has_a_floor(simulated):
    figures, _ = simulated
    rows = [row for table in figures["tables"].values() for row in table["rows"]]

    assert [row["key"] for row in rows if row["floor"] is None] == []


@pytest.mark.slow
def test_the_report_says_that_it_was_the_simulator(simulated):
    figures, report = simulated

    assert (figures["device"]["name"], figures["device"]["is_simulated"]) == ("simulator", True)
    assert "no GPU: a run of the program, not a measurement" in report


@pytest.mark.slow
def test_rows_do_the_work_that_they_name(tmp_path):
    (tmp_path / "pixels.py").write_text(PIXELS)

    done = run([str(tmp_path / "pixels.py")], **SIMULATOR)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 15
