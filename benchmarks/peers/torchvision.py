"""torchvision's transforms v2, in a `DataLoader` where there are files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Entry, Peer, Runner
from ..work import ROTATION, SHEAR, SHIFT, SIDE, WARP_PICTURES, ZOOM, Images, Work
from .torch_data import as_images, as_tensor, loader_row, use_threads

INSTALL = "pip install torch torchvision (BSD-3; their CPU builds are much smaller)"
LIMITS = "fills with 0, not with the nearest pixel; one zoom for both axes; draws its own"


def make_transform(resize: bool = False) -> Any:
    """Compose the same ranges for one picture, (3, h, w) uint8."""
    import torch
    from torchvision.transforms import v2

    affine = v2.RandomAffine(
        ROTATION,
        translate=(SHIFT, SHIFT),
        scale=ZOOM,
        shear=SHEAR,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    steps = [v2.RandomHorizontalFlip(0.5), affine, v2.ToDtype(torch.float32, scale=True)]
    if resize:
        steps.insert(0, v2.Resize((SIDE, SIDE), antialias=True))
    return v2.Compose(steps)


def augment(images: Images) -> NDArray[np.float32]:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    transform = make_transform()
    return as_images([transform(image) for image in as_tensor(images)])


def warp_row(work: Work, threads: int) -> Runner:
    """Augment picture by picture: a batch would get one set of parameters."""
    use_threads(1)
    images, transform = as_tensor(work.images[:WARP_PICTURES]), make_transform()

    def run(laps: int) -> int:
        for _ in range(laps):
            for image in images:
                transform(image)
        return laps * len(images)

    return Runner(run)


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    use_threads(1)
    images = as_tensor(work.peer_images)
    return loader_row(make_transform(), images, work.batch_size, threads)


class Decode:
    """Reads, decodes and augments one file; a class, so that it can be sent to workers."""

    def __init__(self) -> None:
        self._transform = make_transform(resize=True)

    def __call__(self, path: str) -> Any:
        """Return (3, SIDE, SIDE) float32."""
        from torchvision.io import ImageReadMode, decode_image

        return self._transform(decode_image(path, ImageReadMode.RGB))


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files."""
    use_threads(1)
    paths = [str(path) for path in work.tile_paths()]
    return loader_row(Decode(), paths, work.batch_size, threads)


PEER = Peer(
    name="torchvision",
    packages=("torch", "torchvision"),
    install=INSTALL,
    process="torch",
    entries=(
        Entry(
            "warp",
            "torchvision",
            "torchvision v2.RandomAffine",
            warp_row,
            note=f"{LIMITS}; torch.set_num_threads(1)",
            threads=1,
        ),
        Entry(
            "arrays",
            "torchvision",
            "torchvision v2 in a DataLoader",
            arrays_row,
            note=f"{LIMITS}; one worker process a thread, none for one; gives (n, 3, h, w)",
        ),
        Entry(
            "jpeg",
            "torchvision",
            "torchvision decode_image + v2 in a DataLoader",
            jpeg_row,
            note=f"{LIMITS}; one worker process a thread, none for one; antialiased Resize",
        ),
    ),
    augment=augment,
)
