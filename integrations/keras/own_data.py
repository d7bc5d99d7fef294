"""The user's own pipeline, a tf.data.Dataset or a PyDataset, as a source of batches."""

import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ...engine import Augmenter, Batch

UNKNOWN = "its length is not known; add .apply(tf.data.experimental.assert_cardinality(n))."


class OwnData:
    """Batches of (uint8 pictures, labels) or (pictures, labels, weights), read by iterating.

    Parameters
    ----------
    name : str
        The argument it came as, for messages.
    data : tf.data.Dataset or keras.utils.PyDataset
        Finite, batched; pictures (n, height, width, 3) of RGB levels 0-255, uint8.

    Attributes
    ----------
    labels : (n, ...) array
        Of all pictures, found by reading the data once; in the order of that reading only.

    Raises
    ------
    ValueError, TypeError
        If it is endless, of unknown length, or its batches are of another kind.
    """

    channels = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, name: str, data: Any) -> None:
        self.name, self.data = name, data
        self.num_batches = _count(name, data)
        self.class_names = list(getattr(data, "class_names", []))

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def labels(self) -> NDArray[Any]:
        """Labels of all pictures, in the order of one reading."""
        return np.concatenate([labels for _, labels, _ in self.read_batches()])

    def read_batches(self) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]]:
        """Yield the batches of one epoch: pictures, labels, weights or None."""
        for number, batch in enumerate(self._raw()):
            fields = tuple(np.asarray(field) for field in batch) if _is_tuple(batch) else ()
            if len(fields) not in (2, 3):
                raise ValueError(
                    f"`{self.name}` must give (pictures, labels) or (pictures, labels, weights); "
                    f"batch {number} is {_describe(batch)}."
                )
            self._check_pictures(fields[0], number)
            yield fields[0], fields[1], fields[2] if len(fields) == 3 else None

    def _raw(self) -> Iterator[Any]:
        if isinstance(self.data, keras.utils.PyDataset):
            for place in range(self.num_batches):
                yield self.data[place]
            self.data.on_epoch_end()
        else:
            yield from self.data.as_numpy_iterator()

    def _check_pictures(self, pictures: NDArray[Any], number: int) -> None:
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
            raise TypeError(
                f"`{self.name}` must give uint8 pictures of RGB levels 0-255, (n, height, width, "
                f"3); batch {number} has {pictures.dtype} of shape {pictures.shape}. Cast "
                "before batching: ds.map(lambda x, y: (tf.cast(x, tf.uint8), y)); leave "
                "rescaling to the trainer."
            )


class OwnBatches:
    """An own pipeline, augmented batch by batch; endless, and iterated like a Loader.

    Sample ids are the places in the epoch's reading: the augmentation is a function of (seed,
    epoch, place).

    Parameters
    ----------
    source : OwnData
    augmenter : Augmenter
    """

    def __init__(self, source: OwnData, augmenter: Augmenter) -> None:
        self.source, self.augmenter = source, augmenter
        self._epoch, self._step = 0, 0

    def __len__(self) -> int:
        return self.source.num_batches

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to an epoch and a step of it; the batches before are read and passed over."""
        self._epoch, self._step = state["epoch"], state["step"]

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self._one_epoch()
            self._epoch, self._step = self._epoch + 1, 0

    def _one_epoch(self) -> Iterator[Batch]:
        first_id = 0
        for step, (pictures, labels, weights) in enumerate(self.source.read_batches()):
            ids = np.arange(first_id, first_id + len(pictures), dtype=np.int64)
            first_id += len(pictures)
            if step >= self._step:
                images = self.augmenter.apply(np.ascontiguousarray(pictures), ids, self._epoch)
                yield Batch(images, labels, weights, ids)


def is_own_data(data: Any) -> bool:
    """Tell whether this is a tf.data.Dataset or a PyDataset, without importing TensorFlow."""
    return isinstance(data, keras.utils.PyDataset) or hasattr(data, "as_numpy_iterator")


def _count(name: str, data: Any) -> int:
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        if count is None:
            raise ValueError(f"`{name}` is endless; its `num_batches` must be a number.")
    else:
        count = int(data.cardinality())
        if count == -1:
            raise ValueError(f"`{name}` is endless. Leave out .repeat(): epochs are the trainer's.")
        if count < 0:
            raise ValueError(f"`{name}`: {UNKNOWN}")
    if count == 0:
        raise ValueError(f"`{name}` has no batches.")
    return int(count)


def _is_tuple(batch: Any) -> bool:
    return isinstance(batch, tuple | list)


def _describe(batch: Any) -> str:
    return f"a tuple of {len(batch)}" if _is_tuple(batch) else f"a {type(batch).__name__}"
