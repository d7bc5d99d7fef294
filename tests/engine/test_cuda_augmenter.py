"""`Augmenter(device="cuda")` against the CPU: in Numba's simulator, or with --gpu on a card.

`make test-cudasim` does it; or with `pytest --gpu` on a card.
"""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import config

from fusewarp import ArraySource, Augmenter, FolderSource, Loader, PackedSource, Policy
from fusewarp.engine.devices import DeviceError, choose_device
from fusewarp.engine.packing import pack

IS_SIMULATED = bool(config.ENABLE_CUDASIM)
WHY_NOT = "needs NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1, or a CUDA device and --gpu"


GEOMETRY = Policy(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=0.1,
    shear_range=15,
    zoom_range=0.3,
    horizontal_flip=True,
    vertical_flip=True,
)
COLOUR = Policy(
    brightness_range=(0.5, 1.5),
    contrast_range=(0.5, 1.5),
    saturation_range=(0.2, 1.8),
    channel_shift_range=30,
    rescale=1 / 127.5,
    mean=(0.9, 1.0, 1.1),
    std=(0.5, 0.6, 0.7),
    horizontal_flip=True,
)
BOTH = GEOMETRY.replace(brightness_range=(0.5, 1.5), saturation_range=(0.2, 1.8))
RNG = np.random.default_rng(2)
IMAGES = RNG.integers(0, 256, (6, 13, 11, 3), np.uint8)
IDS = np.arange(6) * 1_000_003
BATCH = {"size": (7, 8), "seed": 3}


@pytest.fixture(scope="module")
def numba_cuda(request):
    """`kernels.cuda`, with small blocks in the simulator: it starts a thread for each of theirs."""
    if not IS_SIMULATED and not request.config.getoption("--gpu", default=False):
        pytest.skip(WHY_NOT)
    pytest.importorskip("numba_cuda")
    from fusewarp.kernels import cuda

    with pytest.MonkeyPatch.context() as patch:
        if IS_SIMULATED:
            patch.setattr(cuda, "BLOCK_COLS", 2)
            patch.setattr(cuda, "BLOCK_ROWS", 4)
            patch.setattr(cuda, "REDUCE_COLS", 4)
            patch.setattr(cuda, "REDUCE_ROWS", 2)
        yield cuda


pytestmark = [
    pytest.mark.usefixtures("numba_cuda"),
    # Numba warns of grids that cannot fill a card; these are tiny on purpose.
    pytest.mark.filterwarnings("ignore:Grid size:Warning"),
]


def pair(policy=BOTH, **options):
    """Return the same augmenter twice: of the CPU, and of the device."""
    options = {**BATCH, **options}
    return Augmenter(policy, **options), Augmenter(policy, **options, device="cuda")


def assert_close(there, here, levels=0.01):
    there = there.copy_to_host()
    assert there.shape == here.shape
    assert there.dtype == here.dtype
    np.testing.assert_allclose(
        there.astype(np.float64), here.astype(np.float64), atol=levels, rtol=0
    )


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect", "wrap", "mirror", "constant"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_geometry(fill_mode, interpolation):
    policy = GEOMETRY.replace(fill_mode=fill_mode, cval=9.0, interpolation=interpolation)
    cpu, cuda = pair(policy)
    here, there = cpu.apply(IMAGES, IDS, 4), cuda.apply(IMAGES, IDS, 4).copy_to_host()
    differs = np.abs(there - here).max(axis=-1) > 0.01
    # a pixel at an edge or a tie may fall to the other side: in float32 two roads differ by a bit
    allowed = 0 if interpolation == "bilinear" and fill_mode not in ("constant", "wrap") else 2
    assert differs.sum() <= allowed


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_colour(layout):
    cpu, cuda = pair(COLOUR, layout=layout)
    assert_close(cuda.apply(IMAGES, IDS), cpu.apply(IMAGES, IDS), 0.01 / 127.5 / 0.5)


@pytest.mark.parametrize(("dtype", "levels"), [("uint8", 1), ("float16", 0.13), ("float32", 0.01)])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("source", ["uint8", "uint16", "float32"])
def test_dtypes(dtype, levels, layout, source):
    images = IMAGES.astype(source)
    cpu, cuda = pair(dtype=dtype, layout=layout)
    assert_close(cuda.apply(images, IDS), cpu.apply(images, IDS), levels)


def test_bfloat16():
    pytest.importorskip("ml_dtypes")
    cpu, _ = pair()
    cuda = Augmenter(BOTH, **BATCH, dtype="bfloat16", device="cuda")
    exact = cpu.apply(IMAGES, IDS)
    there = cuda.apply(IMAGES, IDS).copy_to_host()
    assert there.dtype == cuda.dtype
    assert there.dtype.name == "bfloat16"
    np.testing.assert_allclose(there.astype(np.float32), exact, rtol=2**-8, atol=0.01)


@pytest.mark.parametrize("cut", [1, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_any_cut_and_any_number_of_threads_give_the_same_bits(cut, threads):
    _, cuda = pair(threads=1)
    whole = cuda.apply(IMAGES, IDS, 7).copy_to_host()
    _, cuda = pair(threads=threads)
    for start in range(0, 6, cut):
        rows = slice(start, start + cut)
        part = cuda.apply(IMAGES[rows], IDS[rows], 7).copy_to_host()
        np.testing.assert_array_equal(part, whole[rows])


def test_pictures_of_different_sizes():
    pictures = [IMAGES[0], IMAGES[1, :9], IMAGES[2, :, 3:9], IMAGES[3, ::2]]
    cpu, cuda = pair()
    assert_close(cuda.apply(pictures, IDS[:4]), cpu.apply(pictures, IDS[:4]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_areas_are_averaged_wherever_the_pictures_lie(numba_cuda, dtype):
    large = RNG.integers(0, 256, (3, 33, 27, 3)).astype(dtype)
    cpu, cuda = pair(size=(6, 7))
    here = cpu.apply(large, IDS[:3])
    assert_close(cuda.apply(large, IDS[:3]), here)
    assert_close(cuda.apply(list(large), IDS[:3]), here)
    assert_close(cuda.apply(numba_cuda.to_device(large), IDS[:3]), here)


def test_device_arrays(numba_cuda):
    _, cuda = pair()
    from_host = cuda.apply(IMAGES, IDS).copy_to_host()
    there = numba_cuda.to_device(IMAGES)
    np.testing.assert_array_equal(cuda.apply(there, IDS).copy_to_host(), from_host)
    np.testing.assert_array_equal(there.copy_to_host(), IMAGES)


def test_a_batch_of_another_augmenter():
    crops = [Augmenter(Policy(), size=9, dtype="uint8", device=name) for name in ("cpu", "cuda")]
    cpu, cuda = pair()
    here, there = (crop.apply(IMAGES, IDS) for crop in crops)
    np.testing.assert_array_equal(there.copy_to_host(), here)
    assert_close(cuda.apply(there, IDS), cpu.apply(here, IDS))


def test_plans_and_explanations_are_equal():
    cpu, cuda = pair()
    options = {"size": (7, 8), "channels": 3, "source_dtype": "uint8"}
    plans = [augmenter.plan(IDS, 3, **options) for augmenter in (cpu, cuda)]
    for name in ("frame", "colour", "useful_sizes"):
        np.testing.assert_array_equal(getattr(plans[0], name), getattr(plans[1], name))
    assert [cpu.explain(int(i), 3) for i in IDS] == [cuda.explain(int(i), 3) for i in IDS]


def test_two_augmenters_on_two_threads():
    pairs = [pair(seed=seed) for seed in (1, 2)]
    here = [cpu.apply(IMAGES, IDS) for cpu, _ in pairs]
    with ThreadPoolExecutor(2) as threads:
        there = list(threads.map(lambda at: pairs[at % 2][1].apply(IMAGES, IDS), range(6)))
    for at, batch in enumerate(there):
        assert_close(batch, here[at % 2])


# Loaders.


def assert_same_batches(there, here, levels=0.01):
    there, here = list(there), list(here)
    assert len(there) == len(here) > 0
    for ours, plain in zip(there, here, strict=True):
        np.testing.assert_array_equal(ours.sample_ids, plain.sample_ids)
        np.testing.assert_array_equal(ours.labels, plain.labels)
        assert_close(ours.images, plain.images, levels)


def loaders(source, batch_size=4, *, augmenter=None, **options):
    return [Loader(source, one, batch_size, **options) for one in pair(**(augmenter or {}))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False, "drop_remainder": True},
        {"shard": (1, 2)},
        {"prefetch": 0, "epochs": 2},
    ],
)
def test_loader_of_arrays(options):
    cpu, cuda = loaders(ArraySource(IMAGES, np.arange(6)), **options)
    assert_same_batches(cuda, cpu)


@pytest.mark.parametrize("cache", [None, "memory"])
def test_loader_of_a_folder(photo_folder, cache):
    cpu, cuda = loaders(FolderSource(photo_folder), cache=cache, epochs=2 if cache else 1)
    assert_same_batches(cuda, cpu)
    assert cuda.cache_info() == cpu.cache_info()


def test_loader_leaves_out_what_cannot_be_read(photo_folder):
    broken = photo_folder / "dog" / "03.jpg"
    broken.write_bytes(broken.read_bytes()[:90])
    cpu, cuda = loaders(FolderSource(photo_folder), on_error="skip")
    with pytest.warns(UserWarning, match="could not be read"):
        assert_same_batches(cuda, cpu)
    assert [skip.sample_id for skip in cuda.skipped] == [skip.sample_id for skip in cpu.skipped]
    with pytest.warns(UserWarning, match="could not be read"):
        assert sum(len(batch.images) for batch in cuda) == 10


def test_loader_goes_on_from_a_state():
    source = ArraySource(IMAGES, np.arange(6))
    cpu, cuda = loaders(source, 2)
    next(iter(cuda))
    _, resumed = loaders(source, 2)
    resumed.load_state_dict(cuda.state_dict())
    assert_same_batches(resumed, list(cpu)[1:])


def test_loader_of_packed_pictures(photo_folder, tmp_path):
    pack(FolderSource(photo_folder), tmp_path / "packed", size=12)
    cpu, cuda = loaders(PackedSource(tmp_path / "packed"))
    assert_same_batches(cuda, cpu)


def test_a_batch_that_is_held_is_never_written_to_and_then_its_memory_is_used_again(numba_cuda):
    source = ArraySource(np.concatenate([IMAGES] * 4)[:, :5, :5], np.arange(24))
    _, cuda = loaders(source, 1, augmenter={"size": 4}, epochs=2)
    batches = iter(cuda)
    held = next(batches).images
    address, before = numba_cuda.address_of(held._block.memory), held.copy_to_host()
    used = {numba_cuda.address_of(next(batches).images._block.memory) for _ in range(20)}
    assert address not in used
    assert len(used) <= cuda.prefetch + 4
    np.testing.assert_array_equal(held.copy_to_host(), before)
    del held
    gc.collect()
    assert address in {numba_cuda.address_of(batch.images._block.memory) for batch in batches}


# What is refused.


def test_out_is_for_the_cpu(numba_cuda):
    _, cuda = pair()
    for images in (IMAGES, numba_cuda.to_device(IMAGES)):
        with pytest.raises(ValueError, match="`out` is for the CPU"):
            cuda.apply(images, IDS, out=np.empty((6, 7, 8, 3), np.float32))


def test_device_arrays_that_do_not_fit(numba_cuda):
    _, cuda = pair()
    there = numba_cuda.to_device
    with pytest.raises(TypeError, match="needs dtype uint8, uint16, float32, got float64"):
        cuda.apply(there(IMAGES.astype(np.float64)), IDS)
    with pytest.raises(ValueError, match=r"4 axes .* got shape \(13, 11, 3\)"):
        cuda.apply(there(IMAGES[0]), IDS)
    with pytest.raises(ValueError, match="must be C-contiguous"):
        cuda.apply(there(IMAGES)[:, ::2], IDS)
    with pytest.raises(ValueError, match="`sample_ids` must be 6 integers"):
        cuda.apply(there(IMAGES), IDS[:5])
    with pytest.raises(TypeError, match="must be a NumPy array, a list of them, or an array on"):
        cuda.apply("pictures", IDS)


def test_a_batch_that_is_no_source():
    _, cuda = pair()
    for dtype in ("float16", "bfloat16"):
        if dtype == "bfloat16":
            pytest.importorskip("ml_dtypes")
        batch = Augmenter(Policy(), dtype=dtype, device="cuda").apply(IMAGES, IDS)
        with pytest.raises(TypeError, match=f"needs dtype uint8, uint16, float32, got {dtype}"):
            cuda.apply(batch, IDS)


def test_an_array_on_another_device():
    class Elsewhere:
        def __dlpack_device__(self):
            return (2, 7)

        def __dlpack__(self, **request):
            raise AssertionError

    _, cuda = pair()
    with pytest.raises(ValueError, match=r"DLPack device \(2, 7\), the Augmenter works on cuda:0"):
        cuda.apply(Elsewhere(), IDS)
    batch = pair()[1].apply(IMAGES, IDS)
    batch.device = "cuda:1"
    with pytest.raises(ValueError, match="lies on cuda:1, the Augmenter works on cuda:0"):
        cuda.apply(batch, IDS)


def test_numpy_is_not_given_a_copy_that_nobody_asked_for():
    batch = pair()[1].apply(IMAGES, IDS)
    with pytest.raises(TypeError, match=r"batch\.copy_to_host\(\)"):
        np.asarray(batch)


def test_the_device_says_what_it_is():
    assert choose_device("cuda").kind == "cuda"
    with pytest.raises(DeviceError, match="There is no cuda:99"):
        Augmenter(Policy(), device="cuda:99")
