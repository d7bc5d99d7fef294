"""Shared fixtures."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Each loop is compiled once for all test processes: its file is keyed by all kernel sources, so
# what is loaded was compiled from exactly this code. The cache's own tests have their own folders.
os.environ["FUSEWARP_CACHE"] = "1"
os.environ["FUSEWARP_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "kernels")

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu",
        action="store_true",
        help="run what needs a CUDA device, and the warp's suite on it",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gpu"):
        from oracles import backend

        backend.use_card()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--gpu"):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device: pytest --gpu"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" not in metafunc.fixturenames:
        return
    from oracles import backend

    if backend.names() != [backend.CPU]:
        metafunc.parametrize("backend", backend.names(), indirect=True, scope="module")


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let `oracles.backend` warp on the CPU, in the simulator, or on the CPU and on a card."""
    from oracles import backend

    with backend.using(getattr(request, "param", backend.CPU)) as name:
        yield name


@pytest.fixture(scope="module")
def on_cuda() -> Iterator[None]:
    """Let `oracles.backend` warp by the CUDA kernels, for a module that has `cuda_or_skip`."""
    from oracles import backend

    with backend.using(backend.CUDA):
        yield
