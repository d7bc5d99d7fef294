"""What only a CUDA device can show: run by `pytest --gpu`."""

import gc
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from fusewarp import ArraySource, Augmenter, Loader, Policy

# Numba warns of grids that cannot fill a card; some are small on purpose.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size:Warning")]

POLICY = Policy(rotation_range=30, zoom_range=0.2, horizontal_flip=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 64, 60, 3), np.uint8)
IDS = np.arange(16)


@pytest.fixture
def cuda():
    from fusewarp.kernels import cuda

    return cuda


def expected(epoch=0, seed=0, images=IMAGES):
    return Augmenter(POLICY, size=48, seed=seed).apply(images, np.arange(len(images)), epoch)


def augmenter(seed=0, **options):
    return Augmenter(POLICY, size=48, seed=seed, device="cuda", **options)


def free_bytes(cuda):
    gc.collect()
    with cuda.using(0):
        cuda.wait_for_device()
        return cuda.free_bytes()


@pytest.mark.parametrize("road", ["host", "device", "loader"])
def test_memory_is_flat_over_ten_thousand_batches(cuda, road):
    one = augmenter()
    images = IMAGES
    if road == "device":
        with cuda.using(0):
            images = cuda.to_device(IMAGES)

    def batches(count):
        if road == "loader":
            loader = Loader(ArraySource(IMAGES, IDS), one, 4, epochs=None)
            yield from (batch.images for batch, _ in zip(loader, range(count), strict=False))
        else:
            yield from (one.apply(images, IDS, epoch) for epoch in range(count))

    for batch in batches(200):
        batch.copy_to_host()
    del batch
    before = free_bytes(cuda)
    for number, batch in enumerate(batches(10_000)):
        if number % 1000 == 0:
            batch.copy_to_host()
    del batch
    assert before - free_bytes(cuda) < 64 * 2**20


def test_two_augmenters_on_two_host_threads():
    failures = []

    def work(seed):
        try:
            one = augmenter(seed)
            held = [(epoch, one.apply(IMAGES, IDS, epoch)) for epoch in range(200)]
            for epoch, batch in held[::20]:
                pixels = batch.copy_to_host()
                np.testing.assert_allclose(pixels, expected(epoch, seed), atol=0.01)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_one_augmenter_on_two_host_threads(cuda):
    one, failures = augmenter(), []
    with cuda.using(0):
        there = cuda.to_device(IMAGES)

    def work(images):
        try:
            for epoch in range(100):
                pixels = one.apply(images, IDS, epoch).copy_to_host()
                np.testing.assert_allclose(pixels, expected(epoch), atol=0.01)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(images,)) for images in (IMAGES, there)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# Other libraries.


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    return torch


def test_torch_takes_and_gives(torch):
    one = augmenter()
    tensor = torch.from_dlpack(one.apply(IMAGES, IDS))
    assert tensor.is_cuda
    np.testing.assert_allclose(tensor.cpu().numpy(), expected(), atol=0.01)
    there = torch.as_tensor(IMAGES).cuda()
    np.testing.assert_allclose(one.apply(there, IDS).copy_to_host(), expected(), atol=0.01)


def test_torch_bfloat16(torch):
    pytest.importorskip("ml_dtypes")
    tensor = torch.from_dlpack(augmenter(dtype="bfloat16").apply(IMAGES, IDS))
    assert tensor.dtype == torch.bfloat16
    np.testing.assert_allclose(tensor.float().cpu().numpy(), expected(), rtol=2**-8, atol=0.01)


def long_kernel(torch):
    """Queue some tens of milliseconds of work on the current stream."""
    matrix = torch.ones((4096, 4096), device="cuda")
    for _ in range(20):
        matrix = torch.mm(matrix, matrix) * 0
    return matrix


def test_torch_takes_on_its_current_stream(torch):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for epoch in range(20):
            copied = torch.from_dlpack(augmenter().apply(IMAGES, IDS, epoch)).clone()
            np.testing.assert_allclose(copied.cpu().numpy(), expected(epoch), atol=0.01)


def test_torch_still_writes_what_is_taken_from_it(torch):
    """On a stream of its own, behind a long kernel."""
    one = augmenter()
    right, stream = torch.as_tensor(IMAGES).cuda(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        images = torch.zeros_like(right)
        long_kernel(torch)
        images.copy_(right)
        batch = one.apply(images, IDS)
        del images
    np.testing.assert_allclose(batch.copy_to_host(), expected(), atol=0.01)


def test_what_torch_queued_before_it_let_go_reads_its_batch(torch):
    loader = Loader(ArraySource(IMAGES, IDS), augmenter(), 4, shuffle=False, epochs=3)
    stream, seen = torch.cuda.Stream(), []
    with torch.cuda.stream(stream):
        for batch in loader:
            tensor = torch.from_dlpack(batch.images)
            long_kernel(torch)
            seen.append(tensor.clone())
            del batch, tensor
    torch.cuda.synchronize()
    for step, pixels in enumerate(seen):
        epoch, part = divmod(step, 4)
        right = expected(epoch)[4 * part : 4 * part + 4]
        np.testing.assert_allclose(pixels.cpu().numpy(), right, atol=0.01)


def test_jax_takes_and_gives():
    jax = pytest.importorskip("jax")
    if not any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("this JAX has no CUDA")
    one = augmenter()
    array = jax.dlpack.from_dlpack(one.apply(IMAGES, IDS))
    np.testing.assert_allclose(np.asarray(array), expected(), atol=0.01)
    there = jax.device_put(IMAGES)
    np.testing.assert_allclose(one.apply(there, IDS).copy_to_host(), expected(), atol=0.01)


def test_cupy_takes_and_gives():
    cupy = pytest.importorskip("cupy")
    one = augmenter()
    for take in (cupy.from_dlpack, cupy.asarray):
        np.testing.assert_allclose(take(one.apply(IMAGES, IDS)).get(), expected(), atol=0.01)
    there = cupy.asarray(IMAGES)
    np.testing.assert_allclose(one.apply(there, IDS).copy_to_host(), expected(), atol=0.01)


def test_tensorflow_takes_and_gives():
    tf = pytest.importorskip("tensorflow")
    cards = tf.config.list_physical_devices("GPU")
    if not cards:
        pytest.skip("this TensorFlow has no CUDA")
    for card in cards:
        tf.config.experimental.set_memory_growth(card, True)
    one = augmenter()
    tensor = tf.experimental.dlpack.from_dlpack(one.apply(IMAGES, IDS).__dlpack__())
    assert "GPU" in tensor.device
    np.testing.assert_allclose(tensor.numpy(), expected(), atol=0.01)


SANITIZED = """
import numpy as np, fusewarp
images = np.random.default_rng(0).integers(0, 256, (3, 33, 31, 3), np.uint8)
policy = fusewarp.Policy(rotation_range=30, zoom_range=0.3, fill_mode="{fill_mode}")
for layout in ("HWC", "CHW"):
    for size in ((9, 16), (7, 5), (64, 63)):
        for dtype in ("uint8", "float16", "float32"):
            one = fusewarp.Augmenter(policy, size=size, dtype=dtype, layout=layout, device="cuda")
            batch = one.apply(images, range(3))
            one.apply([image[:20] for image in images], range(3)).copy_to_host()
            batch.copy_to_host()
"""


@pytest.mark.parametrize("fill_mode", ["constant", "reflect"])
def test_compute_sanitizer_finds_nothing(fill_mode):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer, of the CUDA toolkit, is not on the PATH")
    code = SANITIZED.format(fill_mode=fill_mode)
    done = subprocess.run(
        # An event that is asked too early is no error: memory alone is looked at.
        [
            sanitizer,
            "--report-api-errors",
            "no",
            "--error-exitcode",
            "1",
            sys.executable,
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
