"""Predictions of a saved run, and test-time augmentation: the mean over augmented copies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine import Augmenter, Policy
from ..engine.threads import run_slices
from .keras.features import is_plain
from .saved_run import SavedRun

BATCH_SIZE = 32


def predict_source(
    run: SavedRun,
    source: Any,
    *,
    copies: int = 1,
    policy: Policy | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Predict every picture of a source, decoded and resized as in training.

    Parameters
    ----------
    run : SavedRun
    source : FolderSource, ArraySource, TableSource or the like
        uint8 RGB, n pictures.
    copies : int
        At least 1. The first is the plain picture, copy k is what training shows of a picture in
        epoch k; the predictions of all are averaged. All pictures get the same augmentations, so
        what is said of one does not depend on the others.
    policy : Policy, optional
        Of the copies. Default: the one the run was trained with.
    threads : int, optional
        For decoding and augmenting; default all.

    Returns
    -------
    (n, outputs) float32
        The same for the same run, pictures, copies and policy.

    Raises
    ------
    ValueError
        If copies are wanted, but the policy is not known or leaves nothing to chance.
    FileNotFoundError, SampleError
        If a picture is not there or cannot be decoded; the message names it.
    """
    augmenters = _augmenters(run, copies, policy, threads)
    size = _useful_size(augmenters)
    parts = []
    for start in range(0, len(source), BATCH_SIZE):
        ids = range(start, min(start + BATCH_SIZE, len(source)))
        images = _read(source, ids, size, augmenters[0].threads)
        same = np.zeros(len(images), np.int64)  # one sample id: one set of augmentations
        total = sum(
            run.model.predict_on_batch(augmenter.apply(images, same, epoch)).astype(np.float64)
            for epoch, augmenter in enumerate(augmenters)
        )
        parts.append(total / copies)
    return np.concatenate(parts).astype(np.float32)


def _augmenters(
    run: SavedRun, copies: int, policy: Policy | None, threads: int | None
) -> list[Augmenter]:
    if copies < 1:
        raise ValueError(f"`copies` must be at least 1, got {copies}.")
    plain = Augmenter(Policy(), size=run.image_size, seed=run.seed, threads=threads)
    if copies == 1:
        return [plain]
    used = run.policy if policy is None else policy
    if used is None:
        raise ValueError(
            "The augmentation of this model's training is not known: there is no report.json "
            "beside it. Give a policy (--policy FILE)."
        )
    if is_plain(used):
        raise ValueError(
            "The policy leaves nothing to chance, so that all copies would be the same. Give "
            "another one (--policy FILE), or no copies."
        )
    chance = Augmenter(used, size=run.image_size, seed=run.seed, threads=threads)
    return [plain, *[chance] * (copies - 1)]


def _useful_size(augmenters: list[Augmenter]) -> tuple[int, int]:
    """Return the smallest size that loses no detail in any copy; (0, 0): every pixel is wanted."""
    heights, widths = zip(*(augmenter.useful_size for augmenter in augmenters), strict=True)
    return (0, 0) if 0 in heights else (max(heights), max(widths))


def _read(source: Any, ids: range, size: tuple[int, int], threads: int) -> list[NDArray[Any]]:
    images: list[Any] = [None] * len(ids)

    def read_slice(start: int, stop: int) -> None:
        for place in range(start, stop):
            images[place] = source.read(ids[place], size)

    run_slices(read_slice, len(ids), threads)
    return images
