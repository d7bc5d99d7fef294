"""The floors: what nobody can be faster than, because it leaves the warp out."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg

from ..contract import Entry, Peer, Runner
from ..work import SCALE, SIDE, WARP_PICTURES, Images, Work


def convert(images: Images) -> Runner:
    """Only multiply bytes to floats, one batch of `WARP_PICTURES` after the other."""
    out = np.empty((WARP_PICTURES, *images.shape[1:]), np.float32)
    scale = np.float32(SCALE)

    def run(laps: int) -> int:
        for _ in range(laps):
            for start in range(0, len(images), WARP_PICTURES):
                np.multiply(images[start : start + WARP_PICTURES], scale, out=out)
        return laps * len(images)

    return Runner(run)


def convert_batch(work: Work, threads: int) -> Runner:
    """Convert the pictures of the warp table."""
    return convert(work.images[:WARP_PICTURES])


def convert_all(work: Work, threads: int) -> Runner:
    """Convert all pictures in memory."""
    return convert(work.images)


def decode_only(work: Work, threads: int) -> Runner:
    """Read and decode the files, each thread into the same memory again and again."""
    paths = work.tile_paths()
    local = threading.local()
    pool = ThreadPoolExecutor(threads)

    def decode(path: Path) -> None:
        if not hasattr(local, "memory"):
            local.memory = np.empty((375, 500, 3), np.uint8)
        simplejpeg.decode_jpeg(path.read_bytes(), buffer=local.memory)

    def run(laps: int) -> int:
        for _ in range(laps):
            for _ in pool.map(decode, paths):
                pass
        return laps * len(paths)

    return Runner(run, pool.shutdown)


PEER = Peer(
    name="floors",
    packages=("numpy", "simplejpeg"),
    install="pip install fusewarp",
    process="native",
    entries=(
        Entry(
            "warp",
            "convert",
            "convert only: no warp at all",
            convert_batch,
            "floor",
            "np.multiply(uint8, 1/255, out=float32), NumPy's vector code",
            quick=True,
            threads=1,
            pixels=SIDE**2,
        ),
        Entry(
            "arrays",
            "convert",
            "convert only: no warp at all",
            convert_all,
            "floor",
            "np.multiply into the same batch again and again",
            quick=True,
            threads=1,
        ),
        Entry(
            "jpeg",
            "decode",
            "read and decode only",
            decode_only,
            "floor",
            "simplejpeg (libjpeg-turbo, accurate DCT) at full size",
            quick=True,
        ),
    ),
)
