"""What a frozen base makes of pictures that are never augmented: computed once, kept."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ...engine import Batch, Policy
from ...engine.order import epoch_order
from .feed import Batches, Feed, run

MOST_BYTES = 2**30  # of features; more are not kept unless that was asked for


def is_plain(policy: Policy) -> bool:
    """Tell whether a policy leaves nothing to chance: then a base sees the same each epoch."""
    return policy.replace(fill_mode="nearest", cval=0.0) == policy.without_augmentation()


def compute_features(extractor: keras.Model, batches: Batches) -> NDArray[np.float32]:
    """Run the base and its pooling over one epoch of batches, in order.

    Returns
    -------
    (n, ...) float32
    """
    feed = Feed(batches)
    features: NDArray[np.float32] = run(
        lambda: extractor.predict(feed.batches, steps=feed.steps, verbose=0), feed
    )
    return features


class FeatureBatches:
    """Features in batches, in the very order in which a Loader gives their pictures.

    Parameters
    ----------
    features : (n, ...) float32
    labels, weights : (n, ...) arrays; weights may be None
    batch_size, seed : int
    shuffle : bool
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[Any],
        weights: NDArray[Any] | None,
        batch_size: int,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.features, self.labels, self.weights = features, labels, weights
        self._size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._epoch, self._step = 0, 0

    def __len__(self) -> int:
        return math.ceil(len(self.features) / self._size)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to an epoch and a step of it."""
        self._epoch, self._step = state["epoch"], state["step"]

    def __iter__(self) -> Iterator[Batch]:
        while True:
            order = epoch_order(len(self.features), self._seed, self._epoch, shuffle=self._shuffle)
            for step in range(self._step, len(self)):
                ids = order[step * self._size : (step + 1) * self._size]
                weights = None if self.weights is None else self.weights[ids]
                yield Batch(self.features[ids], self.labels[ids], weights, ids)
            self._epoch, self._step = self._epoch + 1, 0
