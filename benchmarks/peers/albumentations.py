"""albumentations 2.0.8 (MIT), and AlbumentationsX (AGPL) where a user has it: one module name."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from ..contract import Entry, Peer, Runner
from ..work import ROTATION, SCALE, SHEAR, SHIFT, SIDE, WARP_PICTURES, ZOOM, Images, Work

DRAWS = "draws its own parameters from the same ranges"


def make_transform(resize: bool = False) -> Any:
    """Compose the same ranges; `resize` brings pictures of any size to the output's size first."""
    import albumentations as A

    steps = [
        A.HorizontalFlip(p=0.5),
        A.Affine(
            scale={"x": ZOOM, "y": ZOOM},
            translate_percent={"x": (-SHIFT, SHIFT), "y": (-SHIFT, SHIFT)},
            rotate=(-ROTATION, ROTATION),
            shear={"x": (-SHEAR, SHEAR), "y": (0.0, 0.0)},
            interpolation=cv2.INTER_LINEAR,
            border_mode=cv2.BORDER_REPLICATE,
            p=1.0,
        ),
        A.ToFloat(max_value=1 / SCALE),
    ]
    if resize:
        steps.insert(0, A.Resize(SIDE, SIDE, interpolation=cv2.INTER_LINEAR))
    return A.Compose(steps, seed=0)


def augment(images: Images) -> NDArray[np.float32]:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    transform = make_transform()
    return np.stack([transform(image=image)["image"] for image in images])


def warp_row(work: Work, threads: int) -> Runner:
    """Augment picture by picture in the calling thread."""
    cv2.setNumThreads(1)
    images, transform = work.images[:WARP_PICTURES], make_transform()

    def run(laps: int) -> int:
        for _ in range(laps):
            for image in images:
                transform(image=image)
        return laps * len(images)

    return Runner(run)


def _batches(work: Work, threads: int, count: int, read: Any, transform: Any) -> Runner:
    cv2.setNumThreads(1)  # as its documentation says for several workers
    pool, rng = ThreadPoolExecutor(threads), np.random.default_rng(0)

    def epoch() -> int:
        order = rng.permutation(count)
        for start in range(0, count, work.batch_size):
            ids = order[start : start + work.batch_size]
            out = np.empty((len(ids), SIDE, SIDE, 3), np.float32)

            def make(row: int, ids: Any = ids, out: Any = out) -> None:
                out[row] = transform(image=read(ids[row]))["image"]

            for _ in pool.map(make, range(len(ids))):
                pass
        return count

    return Runner(lambda laps: sum(epoch() for _ in range(laps)), pool.shutdown)


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    images = work.peer_images
    return _batches(work, threads, len(images), images.__getitem__, make_transform())


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files."""
    paths = work.tile_paths()

    def read(sample_id: int) -> Any:
        return simplejpeg.decode_jpeg(paths[sample_id].read_bytes())

    return _batches(work, threads, len(paths), read, make_transform(resize=True))


def make_peer(name: str, package: str, install: str, key: str) -> Peer:
    """Describe one of the two distributions of the module `albumentations`."""
    pool = f"{DRAWS}; A.Compose in a thread pool over pictures, cv2.setNumThreads(1)"
    entries = (
        Entry("warp", key, f"{name}, A.Affine", warp_row, note=DRAWS, threads=1),
        Entry("arrays", key, f"{name}, A.Affine", arrays_row, note=pool),
        Entry("jpeg", key, f"{name}, A.Affine", jpeg_row, note=f"{pool}; our decoder; A.Resize"),
    )
    return Peer(name, (package,), install, "native", entries, augment=augment)


PEER = make_peer(
    "albumentations",
    "albumentations",
    "pip install albumentations==2.0.8 (MIT); not beside AlbumentationsX",
    "albumentations",
)
PEER_X = make_peer(
    "AlbumentationsX",
    "albumentationsx",
    "pip install albumentationsx (AGPL-3.0 or commercial: read its licence first)",
    "albumentationsx",
)
