"""`cv2.warpAffine` and a multiply, written by hand: the fastest a user gets out of OpenCV."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from ...engine import Augmenter
from ..contract import Entry, Peer, Runner
from ..work import POLICY, SCALE, SIDE, WARP_PICTURES, Images, Maps, Work, drawn_maps, xy_maps

FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
BORDER = cv2.BORDER_REPLICATE
_SCALE = np.float32(SCALE)


def warp_levels(images: Iterable[Any], maps: Iterable[Any], out: Images) -> Images:
    """Warp uint8 to uint8 by (x, y) maps; the output's size is that of `out`."""
    size = (out.shape[2], out.shape[1])
    for image, inverse_map, row in zip(images, maps, out, strict=True):
        cv2.warpAffine(image, inverse_map, size, row, FLAGS, borderMode=BORDER)
    return out


def warp(images: Images, inverse_maps: Maps) -> NDArray[np.float32]:
    """Warp to float32 in 0..1 by our maps."""
    levels = warp_levels(images, xy_maps(inverse_maps), np.empty_like(images))
    made: NDArray[np.float32] = np.multiply(levels, _SCALE, dtype=np.float32)
    return made


def warp_row(work: Work, threads: int) -> Runner:
    """Warp, then multiply."""
    cv2.setNumThreads(1)
    images, maps = work.images[:WARP_PICTURES], xy_maps(drawn_maps(WARP_PICTURES))
    levels, out = np.empty_like(images), np.empty(images.shape, np.float32)

    def run(laps: int) -> int:
        for _ in range(laps):
            np.multiply(warp_levels(images, maps, levels), _SCALE, out=out)
        return laps * len(images)

    return Runner(run)


def levels_row(work: Work, threads: int) -> Runner:
    """Warp alone, uint8 to uint8."""
    cv2.setNumThreads(1)
    images, maps = work.images[:WARP_PICTURES], xy_maps(drawn_maps(WARP_PICTURES))
    levels = np.empty_like(images)

    def run(laps: int) -> int:
        for _ in range(laps):
            warp_levels(images, maps, levels)
        return laps * len(images)

    return Runner(run)


class Batches:
    """Makes batches picture by picture on a pool, from plans that are drawn batch by batch."""

    def __init__(self, work: Work, threads: int) -> None:
        cv2.setNumThreads(1)  # the pool's threads are the threads
        self.work, self.pool = work, ThreadPoolExecutor(threads)
        self._augmenter = Augmenter(POLICY)
        self._rng = np.random.default_rng(0)
        self._epoch = 0

    def epoch(self, count: int, read: Any) -> int:
        """Make all batches of one epoch; `read(id)` gives a picture."""
        order = self._rng.permutation(count)
        for start in range(0, count, self.work.batch_size):
            self._batch(order[start : start + self.work.batch_size], read)
        self._epoch += 1
        return count

    def _batch(self, ids: NDArray[np.int64], read: Any) -> NDArray[np.float32]:
        plan = self._augmenter.plan(
            ids, self._epoch, size=(SIDE, SIDE), channels=3, source_dtype=np.uint8
        )
        out = np.empty((len(ids), SIDE, SIDE, 3), np.float32)

        def make(row: int) -> None:
            image = read(ids[row])
            inverse_map = xy_maps(plan.inverse_maps(slice(row, row + 1), image.shape[:2]))[0]
            levels = cv2.warpAffine(
                image, inverse_map, (SIDE, SIDE), flags=FLAGS, borderMode=BORDER
            )
            np.multiply(levels, _SCALE, out=out[row])

        for _ in self.pool.map(make, range(len(ids))):
            pass
        return out


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    batches, images = Batches(work, threads), work.peer_images

    def run(laps: int) -> int:
        return sum(batches.epoch(len(images), images.__getitem__) for _ in range(laps))

    return Runner(run, batches.pool.shutdown)


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files; resizing is part of the one warp."""
    batches, paths = Batches(work, threads), work.tile_paths()

    def read(sample_id: int) -> Images:
        image: Images = simplejpeg.decode_jpeg(paths[sample_id].read_bytes())
        return image

    def run(laps: int) -> int:
        return sum(batches.epoch(len(paths), read) for _ in range(laps))

    return Runner(run, batches.pool.shutdown)


PEER = Peer(
    name="OpenCV",
    packages=("numpy",),  # cv2 comes by several distributions, one of which fusewarp needs
    install="pip install fusewarp",
    process="native",
    entries=(
        Entry(
            "warp",
            "opencv",
            "cv2.warpAffine + multiply, by hand",
            warp_row,
            note="our maps; cv2.setNumThreads(1); rounds to levels and to 1/32 pixel",
            quick=True,
            threads=1,
        ),
        Entry(
            "warp",
            "opencv.uint8",
            "cv2.warpAffine alone, uint8 out",
            levels_row,
            note="our maps; no floats",
            quick=True,
            group="other outputs",
            threads=1,
        ),
        Entry(
            "arrays",
            "opencv",
            "cv2.warpAffine + multiply, by hand",
            arrays_row,
            note="thread pool over pictures, our sampler, one batch at a time, nothing ahead",
            quick=True,
        ),
        Entry(
            "jpeg",
            "opencv",
            "simplejpeg + cv2.warpAffine + multiply, by hand",
            jpeg_row,
            note="thread pool over pictures, our sampler and decoder; not antialiased",
            quick=True,
        ),
    ),
    warp=warp,
)
