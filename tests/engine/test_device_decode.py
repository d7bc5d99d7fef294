"""Decoding on the device: nvImageCodec's stand-in, on a device that does everything late.

The same tests run with the real nvImageCodec where it is installed, which then decodes on the CPU.
"""

import gc
import io
import sys
import threading
import types
import warnings

import numpy as np
import pytest
from PIL import Image

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, Policy, SampleError, kernels
from fusewarp.engine import device_decode
from fusewarp.engine.device_decode import DecoderInfo
from fusewarp.engine.devices import DeviceError
from oracles.fake_nvimgcodec import FakeCodec, HostCodec, check_signatures
from oracles.late_cuda import LateCuda

POLICY = Policy(
    rotation_range=30, zoom_range=0.2, horizontal_flip=True, brightness_range=(0.5, 1.5)
)
SIZE = (24, 28)


def picture(number, size=(33, 45), mode="RGB"):
    """Return a smooth picture of its own colours."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return coarse.resize(size[::-1], Image.Resampling.BICUBIC).convert(mode)


def encoded(number, suffix="JPEG", mode="RGB", size=(33, 45), **options):
    buffer = io.BytesIO()
    picture(number, size, mode).save(buffer, suffix, **({"quality": 92} | options))
    return buffer.getvalue()


@pytest.fixture
def late(monkeypatch):
    cuda = LateCuda()
    monkeypatch.setitem(sys.modules, "fusewarp.kernels.cuda", cuda)
    monkeypatch.setattr(kernels, "cuda", cuda, raising=False)
    yield cuda
    assert cuda.orphans == 0


def install(monkeypatch, codec):
    """Let `from nvidia import nvimgcodec` find this; None: nothing."""
    nvidia = types.ModuleType("nvidia")
    monkeypatch.setitem(sys.modules, "nvidia", nvidia)
    monkeypatch.delitem(sys.modules, "nvidia.nvimgcodec", raising=False)
    if codec is not None:
        nvidia.nvimgcodec = codec


@pytest.fixture
def fake(monkeypatch, late):
    codec = FakeCodec(late)
    install(monkeypatch, codec)
    return codec


@pytest.fixture(params=["fake", "real"])
def codec(request, monkeypatch, late):
    if request.param == "fake":
        made = FakeCodec(late)
    else:
        made = HostCodec(pytest.importorskip("nvidia.nvimgcodec", minversion="0.9"), late)
    install(monkeypatch, made)
    return made


@pytest.fixture
def folder(tmp_path):
    """JPEGs of several kinds and sizes."""
    for number in range(14):
        size = (33 + number, 45 - number)
        options = {"progressive": number % 3 == 0, "subsampling": number % 3}
        data = encoded(number, mode="L" if number == 5 else "RGB", size=size, **options)
        (tmp_path / f"{number:02d}.jpg").write_bytes(data)
    return tmp_path


def source_of(folder, **options):
    return FolderSource(folder, labelled=False, **options)


def make(device="cuda", threads=3, policy=POLICY, **options):
    return Augmenter(policy, size=SIZE, seed=3, device=device, threads=threads, **options)


def loaders(source, batch_size=5, **options):
    """Return the same loader twice: with pictures decoded on the device, and on the host."""
    there = Loader(source, make(), batch_size, decode_on="device", **options)
    return there, Loader(source, make("cpu"), batch_size, **options)


def pictures_of(loader):
    """Return all of an iteration, by sample id."""
    images = [(batch.sample_ids, batch.images) for batch in loader]
    return {
        int(sample_id): image
        for ids, batch in images
        for sample_id, image in zip(
            ids, batch.copy_to_host() if hasattr(batch, "copy_to_host") else batch, strict=True
        )
    }


def assert_same(loader, on_host):
    there, here = pictures_of(loader), pictures_of(on_host)
    assert there.keys() == here.keys()
    for sample_id, image in here.items():
        np.testing.assert_array_equal(there[sample_id], image)


# --- the same pictures


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
@pytest.mark.parametrize("decode", ["fast", "exact"])
def test_pictures_are_those_of_the_host(codec, folder, color_mode, decode):
    source = source_of(folder, color_mode=color_mode, decode=decode)
    loader, on_host = loaders(source, epochs=3)
    assert_same(loader, on_host)
    assert loader.decoder_info() == DecoderInfo(on_device=42, on_host=0)
    assert on_host.decoder_info() is None


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("group_bytes", [1, 12_000, 2**28])
def test_groups(fake, folder, group_bytes, threads, monkeypatch):
    loader, on_host = loaders(source_of(folder), batch_size=14)
    loader.augmenter.threads = threads
    monkeypatch.setattr(device_decode, "GROUP_BYTES", max(group_bytes, 33 * 45 * 3 + 999))
    assert_same(loader, on_host)
    calls = fake.decoders[0].calls[1:]  # the first one was a trial
    assert sum(calls) == 14
    assert (len(calls) == 1) == (group_bytes == 2**28)


def test_batches_of_threads_that_meet_at_the_decoder(codec, folder):
    loader, on_host = loaders(source_of(folder), batch_size=3)
    loader.augmenter.threads = 8
    expected = on_host.make(np.arange(14), 2).images
    made = [None] * 6
    barrier = threading.Barrier(len(made))

    def work(at):
        barrier.wait()
        made[at] = loader.make(np.arange(14), 2).images.copy_to_host()

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for images in made:
        np.testing.assert_array_equal(images, expected)
    assert loader.decoder_info() == DecoderInfo(6 * 14, 0)


def test_large_pictures_are_averaged_on_the_device(fake, tmp_path):
    """As arrays that lie there: the host would let the JPEG decoder make them smaller."""
    pixels = {}
    for number in range(4):
        data = encoded(number, size=(130, 150 + number))
        (tmp_path / f"{number}.jpg").write_bytes(data)
        with Image.open(io.BytesIO(data)) as opened:
            pixels[number] = np.asarray(opened.convert("RGB"))
    policy = POLICY.replace(zoom_range=(0.8, 1.6))
    loader = Loader(source_of(tmp_path, decode="exact"), make(policy=policy), decode_on="device")
    there = pictures_of(loader)
    here = make("cpu", policy=policy)
    for number, image in pixels.items():
        expected = here.apply(image[np.newaxis], [number])[0]
        np.testing.assert_array_equal(there[number], expected)
    assert loader.decoder_info() == DecoderInfo(4, 0)


def test_exif_orientation_is_not_applied(codec, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(encoded(1, exif=exif.tobytes()))
    loader, on_host = loaders(source_of(tmp_path))
    assert_same(loader, on_host)
    assert loader.decoder_info().on_device == 1


def test_a_sample_may_come_twice_in_a_batch(fake, folder):
    loader, on_host = loaders(source_of(folder))
    ids = [3, 1, 3, 3, 0]
    there, here = loader.make(ids, 1), on_host.make(ids, 1)
    np.testing.assert_array_equal(there.images.copy_to_host(), here.images)


# --- what falls to the host


def other_files(folder):
    """Write what is no usual JPEG between those that are."""
    files = {
        "02a.png": encoded(20, "PNG", quality=None),
        "02b.webp": encoded(21, "WEBP"),
        "06a.jpg": encoded(22, mode="CMYK"),
        "06b.jpg": encoded(23) + bytes(100),  # the end is not where it should be
        "13a.bmp": encoded(24, "BMP"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return len(files)


@pytest.mark.parametrize("threads", [1, 3])
def test_other_formats_are_decoded_by_the_host(codec, folder, threads):
    count = other_files(folder)
    loader, on_host = loaders(source_of(folder), batch_size=19, shuffle=False)
    loader.augmenter.threads = threads
    assert_same(loader, on_host)
    assert loader.decoder_info() == DecoderInfo(14, count)


@pytest.mark.parametrize("failing", [[0], [3, 4], [6], [0, 2, 4, 6], list(range(7))])
def test_what_the_device_fails_at_is_decoded_by_the_host(fake, folder, failing):
    loader, on_host = loaders(source_of(folder), batch_size=7, shuffle=False)
    fake.alter = lambda images: [
        None if row in failing else image for row, image in enumerate(images)
    ]
    assert_same(loader, on_host)
    assert loader.decoder_info() == DecoderInfo(2 * (7 - len(failing)), 2 * len(failing))


@pytest.mark.parametrize("fault", ["strides_seen", "shape"])
def test_images_of_another_layout_are_left(fake, folder, fault):
    loader, on_host = loaders(source_of(folder), batch_size=14)

    def alter(images):
        setattr(images[2], fault, (256, 3, 1) if fault == "strides_seen" else (45, 33, 3))
        return images

    fake.alter = alter
    assert_same(loader, on_host)
    assert loader.decoder_info() == DecoderInfo(13, 1)


def test_12_bits_and_very_large_pictures_are_left(fake, folder, monkeypatch):
    loader, _ = loaders(source_of(folder))
    decoder = loader._decoder
    data = encoded(1)
    assert decoder.parse(data).height == 33
    monkeypatch.setattr(device_decode, "GROUP_BYTES", 33 * 45 * 3)
    assert decoder.parse(data) is not None
    monkeypatch.setattr(device_decode, "GROUP_BYTES", 33 * 45 * 3 - 1)
    assert decoder.parse(data) is None
    monkeypatch.undo()

    def of_12_bits(data):
        stream = FakeCodec.CodeStream(fake, data)
        stream.precision, stream.dtype = 12, np.dtype(np.uint16)
        return stream

    decoder._codec = types.SimpleNamespace(CodeStream=of_12_bits, ColorSpec=fake.ColorSpec)
    assert decoder.parse(data) is None


BROKEN = {
    "empty": b"",
    "cut": encoded(1)[:-200],
    "cut, its thumbnail whole": encoded(1)[:400] + b"\xff\xd9" + bytes(200),
    "no header": b"\xff\xd8\xff" + bytes(20) + b"\xff\xd9",
    "text": b"hello",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(codec, folder, kind):
    (folder / "03.jpg").write_bytes(BROKEN[kind])
    loader, on_host = loaders(source_of(folder))
    with pytest.raises(SampleError) as here:
        list(on_host)
    with pytest.raises(SampleError, match=r"03\.jpg") as there:
        list(loader)
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize("threads", [1, 3])
def test_broken_files_may_be_skipped(codec, folder, threads):
    for name, data in zip(["00.jpg", "03.jpg", "04.jpg", "13.jpg"], BROKEN.values(), strict=False):
        (folder / name).write_bytes(data)
    loader, on_host = loaders(source_of(folder), on_error="skip", shuffle=False)
    loader.augmenter.threads = threads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(loader, on_host)
    assert sorted(loader.skipped) == sorted(on_host.skipped)
    assert len(loader.skipped) == 4
    assert loader.decoder_info() == DecoderInfo(10, 0)


def test_a_file_that_vanished_is_named_or_skipped(fake, folder):
    source = source_of(folder)
    (folder / "05.jpg").unlink()
    with pytest.raises((SampleError, OSError), match=r"05\.jpg"):
        list(Loader(source, make(), 5, decode_on="device"))
    loader = Loader(source, make(), 5, decode_on="device", on_error="skip")
    with pytest.warns(UserWarning, match="1 sample"):
        assert len(pictures_of(loader)) == 13


# --- memory


def test_images_are_let_go_however_far_the_host_is_ahead(fake, folder):
    loader, _ = loaders(source_of(folder), batch_size=7, epochs=8)
    for _ in loader:  # nobody waits for a batch
        pass
    assert fake.device.most_live <= 7 * device_decode.BUSY_GROUPS


def test_nothing_is_held_when_the_loader_is_gone(fake, late, folder):
    loader, _ = loaders(source_of(folder), epochs=2)
    pictures_of(loader)
    del loader
    gc.collect()
    late.run_everything()
    assert fake.device.live == 0
    assert late.bytes_in_use() == 0


def test_a_thread_that_only_reads_may_free_memory_of_the_device(fake, late, folder):
    """As the collector does, on whatever thread it runs."""
    with late.using(0):
        held = [late.device_empty(10)]

    class Dropping(FolderSource):
        def encoded(self, sample_id):
            held.clear()
            return super().encoded(sample_id)

    loader, _ = loaders(Dropping(folder, labelled=False))
    loader.make([0, 1], 0)
    assert held == []
    assert late.orphans == 0


# --- what is refused


def test_nvimgcodec_is_asked_for_by_name(late, folder, monkeypatch):
    install(monkeypatch, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fusewarp\[nvimgcodec\]'"):
        Loader(source_of(folder), make(), decode_on="device")


def test_an_old_one_is_refused(fake, folder, monkeypatch):
    monkeypatch.setattr(FakeCodec, "__version__", "0.8.0.22")
    with pytest.raises(DeviceError, match=r"0\.9 or newer, 0\.8\.0\.22 is installed.*--upgrade"):
        Loader(source_of(folder), make(), decode_on="device")


def test_one_that_decodes_nothing_is_refused(fake, folder):
    fake.can_decode_jpeg = False
    with pytest.raises(DeviceError, match=r"0\.9\.0 decodes no JPEG on cuda:0.*needs nvJPEG"):
        Loader(source_of(folder), make(), decode_on="device")


def test_one_that_does_not_start_is_refused(fake, folder, monkeypatch):
    def fail(self, **options):
        raise RuntimeError("Could not create decoder. Code: 8")

    monkeypatch.setattr(FakeCodec, "Decoder", fail)
    with pytest.raises(DeviceError, match=r"Code: 8.*It needs nvJPEG"):
        Loader(source_of(folder), make(), decode_on="device")


def test_a_device_is_needed(fake, folder):
    with pytest.raises(ValueError, match='Make it with device="cuda", or leave decode_on="host"'):
        Loader(source_of(folder), make("cpu"), decode_on="device")


class OwnRead(FolderSource):
    def read(self, sample_id, min_size=(0, 0)):
        return np.zeros((3, 4, 3), np.uint8)


def test_a_source_of_encoded_pictures_is_needed(fake, folder):
    for source in (ArraySource(np.zeros((4, 5, 6, 3), np.uint8)), OwnRead(folder, labelled=False)):
        name = type(source).__name__
        with pytest.raises(ValueError, match=f"encoded pictures.*{name} gives pixels"):
            Loader(source, make(), 2, decode_on="device")


def test_four_channels_are_refused(fake, folder):
    with pytest.raises(ValueError, match='color_mode="rgba"'):
        Loader(source_of(folder, color_mode="rgba"), make(), decode_on="device")


def test_a_cache_is_refused(fake, folder):
    with pytest.raises(ValueError, match='leave it out with decode_on="device"'):
        Loader(source_of(folder), make(), decode_on="device", cache="memory", cache_bytes=1)


def test_another_word_is_refused(folder):
    with pytest.raises(ValueError, match='"host" or "device", got \'gpu\''):
        Loader(source_of(folder), make("cpu"), decode_on="gpu")


# --- what nvImageCodec is told


def test_the_decoder_is_told_what_the_host_does(fake, folder):
    Loader(source_of(folder, decode="exact"), make(), decode_on="device")
    Loader(source_of(folder, decode="fast"), make(), decode_on="device")
    exact, fast = fake.decoders
    assert (exact.options, fast.options) == (":fancy_upsampling=1", ":fancy_upsampling=0")
    assert exact.device_id == 0
    assert exact.kinds == {"HW_GPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU"}  # no decoder of the CPU


def test_the_fake_has_the_signatures_of_the_real_one():
    check_signatures(pytest.importorskip("nvidia.nvimgcodec", minversion="0.9"))
