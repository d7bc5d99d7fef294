"""PyTorch on a GPU: Kornia, torchvision, and fusewarp's batches taken by DLPack."""

from collections.abc import Callable
from typing import Any

from ...engine import Loader
from ..contract import ALL_THREADS, Builder, Entry, NotAvailable, Peer, Runner, Table
from ..work import SCALE
from . import gpu_ours, kornia, torchvision
from .gpu_work import GpuWork, entry, float_traffic
from .torch_data import as_tensor

INSTALL = "pip install torch {} (PyTorch's CUDA build: https://pytorch.org/get-started)"
Step = Callable[[Any], Any]


def torch_device(work: GpuWork) -> Any:
    """Return PyTorch's name of the device.

    Raises
    ------
    NotAvailable
        If PyTorch cannot use it.
    """
    import torch

    if not torch.cuda.is_available():
        raise NotAvailable(
            f"PyTorch {torch.__version__} sees no GPU: {INSTALL.format('of its CUDA build')}"
        )
    return torch.device("cuda", work.index)


def kornia_step() -> Step:
    """Return Kornia's augmentation of a batch, (n, 3, h, w) uint8 to floats in 0..1."""
    transform = kornia.make_transform()
    return lambda batch: transform(batch.float() * SCALE)


def torchvision_step() -> Step:
    """Return torchvision's augmentation of a batch, picture by picture."""
    import torch

    transform = torchvision.make_transform()
    return lambda batch: torch.stack([transform(image) for image in batch])


def torchvision_batch_step() -> Step:
    """Return torchvision's augmentation of a whole batch by one draw."""
    return torchvision.make_transform()  # type: ignore[no-any-return]


def on_device(make_step: Callable[[], Step]) -> Builder:
    """Describe the augmentation of tensors that lie on the device."""

    def build(work: GpuWork, threads: int) -> Runner:
        device, step = torch_device(work), make_step()
        batches = [batch.to(device) for batch in as_tensor(work.images).split(work.batch_size)]
        figures = float_traffic(work)
        return Runner(_run(batches, step, device), figures=lambda: figures)

    return build


def with_upload(make_step: Callable[[], Step]) -> Builder:
    """Describe the same for tensors in the host's memory, through pinned memory."""

    def build(work: GpuWork, threads: int) -> Runner:
        device, step = torch_device(work), make_step()
        batches = as_tensor(work.images).split(work.batch_size)

        def upload_and_step(batch: Any) -> Any:
            return step(batch.pin_memory().to(device, non_blocking=True))

        run = _run(batches, upload_and_step, device)
        return Runner(run, figures=gpu_ours.upload_figures(work))

    return build


def _run(batches: Any, step: Step, device: Any) -> Callable[[int], int]:
    """Go through batches in turn; the device is waited for once, at the end."""
    import torch

    def run(laps: int) -> int:
        with torch.inference_mode():
            for lap in range(laps):
                step(batches[lap % len(batches)])
        torch.cuda.synchronize(device)
        return laps * len(batches[0])

    return run


def consumed(make_source: Callable[[GpuWork], Any], has_bytes: bool) -> Builder:
    """Describe a loader of ours whose batches PyTorch takes by DLPack and sums."""

    def build(work: GpuWork, threads: int) -> Runner:
        import torch

        device = torch_device(work)
        augmenter = gpu_ours.make_augmenter(work)
        loader = Loader(make_source(work), augmenter, work.batch_size)
        total = torch.zeros((), device=device)

        def run(laps: int) -> int:
            loader.epochs, pictures = laps, 0
            for batch in loader:
                total.add_(torch.from_dlpack(batch.images).sum())
                pictures += len(batch.images)
            torch.cuda.synchronize(device)
            return pictures

        return Runner(run, figures=gpu_ours.upload_figures(work)) if has_bytes else Runner(run)

    return build


def _ours(key: str, make_source: Callable[[GpuWork], Any], group: str) -> Entry:
    return entry(
        "loader", f"torch.{key}", "fusewarp Loader, summed by PyTorch",
        consumed(make_source, key == "arrays"), "ours", group=group, threads=ALL_THREADS,
        note="float32; taken by torch.from_dlpack",
    )  # fmt: skip


def _peer(table: Table, key: str, name: str, build: Builder, note: str, **more: Any) -> Entry:
    return entry(table, key, name, build, note=f"{note}; float32, (n, 3, h, w)", **more)


KORNIA_NOTE = "draws its own; batch operations"
NO_FILES = "it reads no files, and its arrays are the rows of the table with upload"

KORNIA = Peer(
    name="Kornia on a GPU",
    packages=("torch", "kornia"),
    install=INSTALL.format("kornia"),
    process="torch",
    entries=(
        _peer("device", "kornia", "Kornia RandomAffine", on_device(kornia_step), KORNIA_NOTE,
              quick=True),
        _peer("upload", "kornia", "Kornia RandomAffine", with_upload(kornia_step),
              f"{KORNIA_NOTE}; pin_memory().to(device, non_blocking=True)"),
    ),
    absent=(("loader", NO_FILES),),
)  # fmt: skip
TORCHVISION = Peer(
    name="torchvision on a GPU",
    packages=("torch", "torchvision"),
    install=INSTALL.format("torchvision"),
    process="torch",
    entries=(
        _peer("device", "torchvision", "torchvision v2.RandomAffine, picture by picture",
              on_device(torchvision_step), torchvision.LIMITS),
        _peer("device", "torchvision.batch", "torchvision v2.RandomAffine, one draw a batch",
              on_device(torchvision_batch_step),
              f"not the same work: all pictures of a batch alike; {torchvision.LIMITS}"),
        _peer("upload", "torchvision", "torchvision v2.RandomAffine, picture by picture",
              with_upload(torchvision_step), torchvision.LIMITS),
    ),
    absent=(("loader", NO_FILES),),
)  # fmt: skip
OURS = Peer(
    name="fusewarp with PyTorch",
    packages=("numba-cuda", "torch"),
    install=INSTALL.format("") + f"; {gpu_ours.INSTALL}",
    process="torch",
    entries=(
        _ours("arrays", gpu_ours.array_source, "arrays"),
        _ours("jpeg", gpu_ours.folder_source, "JPEGs"),
    ),
)
