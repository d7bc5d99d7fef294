"""Kornia: batch operations in PyTorch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Entry, Peer, Runner
from ..work import (
    ROTATION,
    SCALE,
    SHEAR,
    SHIFT,
    WARP_PICTURES,
    ZOOM,
    Images,
    Maps,
    Work,
    drawn_maps,
    xy_maps,
)
from .torch_data import as_images, as_tensor, use_threads


def make_transform() -> Any:
    """Compose the same ranges for batches, (n, 3, h, w) float32."""
    import kornia.augmentation as K
    import torch

    affine = K.RandomAffine(
        ROTATION,
        translate=(SHIFT, SHIFT),
        scale=(*ZOOM, *ZOOM),
        shear=(-SHEAR, SHEAR),
        padding_mode="border",
        align_corners=True,
        p=1.0,
    )
    return torch.nn.Sequential(K.RandomHorizontalFlip(p=0.5), affine)


def forward_maps(inverse_maps: Maps) -> Any:
    """Turn our maps into Kornia's, (n, 2, 3) float32 from source to output in (x, y)."""
    import torch

    last = np.broadcast_to(np.array([[[0.0, 0.0, 1.0]]]), (len(inverse_maps), 1, 3))
    square = np.concatenate([xy_maps(inverse_maps), last], axis=1)
    return torch.from_numpy(np.linalg.inv(square)[:, :2].astype(np.float32))


def warp_batch(tensor: Any, maps: Any) -> Any:
    """Scale (n, 3, h, w) uint8 to floats and warp them."""
    from kornia.geometry.transform import warp_affine

    size = (tensor.shape[2], tensor.shape[3])
    return warp_affine(tensor.float() * SCALE, maps, size, padding_mode="border")


def warp(images: Images, inverse_maps: Maps) -> NDArray[np.float32]:
    """Warp to float32 in 0..1 by our maps."""
    return as_images(warp_batch(as_tensor(images), forward_maps(inverse_maps)))


def augment(images: Images) -> NDArray[np.float32]:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    return as_images(make_transform()(as_tensor(images).float() * SCALE))


def warp_row(work: Work, threads: int) -> Runner:
    """Warp one batch by our maps."""
    import torch

    images, maps = as_tensor(work.images[:WARP_PICTURES]), forward_maps(drawn_maps(WARP_PICTURES))

    def run(laps: int) -> int:
        use_threads(threads)
        with torch.inference_mode():
            for _ in range(laps):
                warp_batch(images, maps)
        return laps * len(images)

    return Runner(run)


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory; each operation has so many threads."""
    import torch

    images, transform = as_tensor(work.peer_images), make_transform()

    def epoch() -> int:
        for ids in torch.randperm(len(images)).split(work.batch_size):
            transform(images[ids].float() * SCALE)
        return len(images)

    def run(laps: int) -> int:
        use_threads(threads)
        with torch.inference_mode():
            return sum(epoch() for _ in range(laps))

    return Runner(run)


PEER = Peer(
    name="Kornia",
    packages=("torch", "kornia"),
    install="pip install torch kornia (Apache-2.0; PyTorch's CPU build is much smaller)",
    process="torch",
    entries=(
        Entry(
            "warp",
            "kornia",
            "Kornia warp_affine",
            warp_row,
            note="our maps; one batch operation, torch.set_num_threads(1); gives (n, 3, h, w)",
            threads=1,
        ),
        Entry(
            "arrays",
            "kornia",
            "Kornia RandomAffine",
            arrays_row,
            note="draws its own; batch operations, torch.set_num_threads; gives (n, 3, h, w)",
        ),
    ),
    absent=(("jpeg", "it reads no files: torchvision's row is PyTorch's here"),),
    warp=warp,
    augment=augment,
)
