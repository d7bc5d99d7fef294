"""`Loader(decode_on="device")` against the host: in Numba's simulator with a stand-in for
nvImageCodec, or with --gpu on a card with nvImageCodec itself.
"""

import gc
import io
import sys
import types

import numpy as np
import pytest
from numba import config
from PIL import Image

from fusewarp import Augmenter, FolderSource, Loader, Policy
from fusewarp.engine.device_decode import DecoderInfo
from oracles import backend
from oracles.fake_nvimgcodec import FakeCodec

POLICY = Policy(rotation_range=30, horizontal_flip=True, brightness_range=(0.5, 1.5))
IS_SIMULATED = bool(config.ENABLE_CUDASIM)


def write(path, number, size, **options):
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(buffer, path.suffix[1:], **options)
    path.write_bytes(buffer.getvalue())


def both(folder, size, **options):
    """Return the batch of all pictures, decoded there and decoded here."""
    source = FolderSource(folder, labelled=False, decode="exact")
    ids = np.arange(len(source))
    there = Loader(source, Augmenter(POLICY, size=size, device="cuda"), decode_on="device")
    here = Loader(source, Augmenter(POLICY, size=size))
    made = there.make(ids, 1).images.copy_to_host()
    return made, here.make(ids, 1).images, there.decoder_info()


@pytest.fixture
def simulated(monkeypatch):
    if not IS_SIMULATED:
        pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1")
    pytest.importorskip("numba_cuda")
    nvidia = types.ModuleType("nvidia")
    nvidia.nvimgcodec = FakeCodec()
    monkeypatch.setitem(sys.modules, "nvidia", nvidia)
    monkeypatch.delitem(sys.modules, "nvidia.nvimgcodec", raising=False)
    with backend.using(backend.CUDA):
        yield nvidia.nvimgcodec


def test_pictures_are_those_of_the_host(simulated, tmp_path):
    """Of different sizes, with one between them that only the host decodes."""
    for number in range(4):
        write(tmp_path / f"{number}.jpeg", number, (9 + number, 13 - number), quality=95)
    write(tmp_path / "1a.png", 7, (10, 9))
    there, here, info = both(tmp_path, (7, 8))
    np.testing.assert_allclose(there, here, atol=0.01, rtol=0)
    assert info == DecoderInfo(4, 1)


def test_large_pictures_are_averaged_on_the_device(simulated, tmp_path):
    pixels = []
    for number in range(2):
        path = tmp_path / f"{number}.jpeg"
        write(path, number, (21 + number, 30), quality=95)
        with Image.open(path) as opened:
            pixels.append(np.asarray(opened))
    there, _, info = both(tmp_path, (5, 7))
    expected = Augmenter(POLICY, size=(5, 7)).apply(pixels, [0, 1], 1)
    np.testing.assert_allclose(there, expected, atol=0.01, rtol=0)
    assert info == DecoderInfo(2, 0)


# --- on a card


@pytest.fixture
def photos(tmp_path):
    for number in range(48):
        size = (200 + 3 * number, 300 - 2 * number)
        options = {"quality": 95, "subsampling": number % 3, "progressive": number % 5 == 0}
        write(tmp_path / f"{number:02d}.jpeg", number, size, **options)
    write(tmp_path / "20a.png", 99, (220, 230))
    return tmp_path


@pytest.mark.gpu
def test_levels_on_a_card_are_near_those_of_the_host(photos):
    """Decoders may differ by their upsampling of colours and their inverse DCT."""
    pytest.importorskip("nvidia.nvimgcodec", reason="needs nvImageCodec: fusewarp[nvimgcodec]")
    there, here, info = both(photos, (192, 224))
    differences = np.abs(there - here)
    assert differences.mean() < 1
    assert np.quantile(differences, 0.999) < 12
    assert info == DecoderInfo(48, 1)


@pytest.mark.gpu
def test_memory_of_a_card_is_flat(photos):
    pytest.importorskip("nvidia.nvimgcodec", reason="needs nvImageCodec: fusewarp[nvimgcodec]")
    from fusewarp.kernels import cuda

    def free_bytes():
        gc.collect()
        with cuda.using(0):
            cuda.wait_for_device()
            return cuda.free_bytes()

    source = FolderSource(photos, labelled=False)
    augmenter = Augmenter(POLICY, size=(192, 224), device="cuda")
    loader = Loader(source, augmenter, 16, epochs=20, decode_on="device")
    for batch in loader:
        batch.images.copy_to_host()
    before = free_bytes()
    for _ in range(10):
        for batch in loader:  # nobody waits: the host runs ahead as far as it is let
            del batch
    assert before - free_bytes() < 64 * 2**20
