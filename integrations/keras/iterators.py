"""Iterators over augmented batches, `keras.utils.PyDataset`s that `model.fit` takes."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator as BatchIterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.buffers import BufferPool
from .images import array_to_image
from .render import make_batch
from .settings import PyDataset, floatx, image_data_format

SUBSETS = ("training", "validation")


class Iterator(PyDataset):  # type: ignore[misc]
    """Endless batches of sample indices; what to make of them is a subclass's part.

    A subclass defines ``_get_batches_of_transformed_samples(index_array)``. With a `seed`, NumPy's
    global generator is re-seeded with ``seed + total_batches_seen`` before every batch, as in
    Keras: batch k of a run is the same whatever was drawn before it.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
        The last batch of an epoch is short when it does not divide `n`.
    shuffle : bool
        Draw a new order for every epoch.
    seed : int or None
    **kwargs
        `workers`, `use_multiprocessing` and `max_queue_size` of `keras.utils.PyDataset`. Batches
        of one iterator are made one at a time, each on all threads, so more workers do not help.
    """

    white_list_formats = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.batch_index = 0
        self.total_batches_seen = 0
        self.lock = threading.RLock()
        self.index_array: NDArray[np.intp] | None = None
        self.index_generator = self._flow_index()
        self._buffers = BufferPool(max_free=2)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self.n // self.batch_size)

    def __getitem__(self, idx: int) -> Any:
        """Return batch `idx` of the epoch, freshly augmented.

        Raises
        ------
        ValueError
            If `idx` is not below ``len(self)``.
        """
        if idx >= len(self):
            raise ValueError(
                f"Asked to retrieve element {idx}, but the Sequence has length {len(self)}."
            )
        with self.lock:
            self._seed_batch()
            if self.index_array is None:
                self._set_index_array()
            assert self.index_array is not None
            chosen = self.index_array[self.batch_size * idx : self.batch_size * (idx + 1)]
            return self._get_batches_of_transformed_samples(chosen)

    def __iter__(self) -> Iterator:
        """Return the iterator itself; it never ends."""
        return self

    def __next__(self) -> Any:
        """Return the next batch; after the last one a new epoch begins."""
        with self.lock:
            return self._get_batches_of_transformed_samples(next(self.index_generator))

    def next(self) -> Any:
        """Return the next batch, as older Keras versions spelt it."""
        return next(self)

    def reset(self) -> None:
        """Start over with batch 0; `total_batches_seen`, and so the seeds, go on."""
        self.batch_index = 0

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._set_index_array()

    def _seed_batch(self) -> None:
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)
        self.total_batches_seen += 1

    def _set_index_array(self) -> None:
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _flow_index(self) -> BatchIterator[NDArray[np.intp]]:
        self.reset()
        while True:
            self._seed_batch()
            if self.batch_index == 0:
                self._set_index_array()
            assert self.index_array is not None
            start = (self.batch_index * self.batch_size) % self.n if self.n else 0
            stop = start + self.batch_size
            self.batch_index = self.batch_index + 1 if stop < self.n else 0
            yield self.index_array[start:stop]

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.intp]) -> Any:
        """Make the batch of these samples."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_get_batches_of_transformed_samples`."
        )


def save_batch(
    iterator: Any, batch: NDArray[Any], index_array: NDArray[np.intp], num_names: int
) -> None:
    """Write the batch's images to `save_to_dir`, under names drawn from the global generator."""
    for image, index in zip(batch, index_array, strict=True):
        name = np.random.randint(num_names)
        file_name = f"{iterator.save_prefix}_{index}_{name}.{iterator.save_format}"
        picture = array_to_image(image, iterator.data_format)
        picture.save(os.path.join(iterator.save_to_dir, file_name))


class NumpyArrayIterator(Iterator):
    """Augmented batches of an array of images.

    The images stay in the dtype they came in until they are warped: `x` is the given array (or
    the part of it that `subset` names), not a float copy.

    Parameters
    ----------
    x : array, rank 4, or (array, extra)
        Images in the generator's data format; `extra` is an array or a list of arrays that are
        batched along with them untouched.
    y, sample_weight : array or None
        Labels and weights; `sample_weight` needs `y`.
    image_data_generator : ImageDataGenerator
    batch_size, shuffle, seed
        As in `Iterator`.
    data_format : str or None
        `channels_last` or `channels_first`; None takes Keras' setting.
    save_to_dir, save_prefix, save_format : str
        With a folder, every image is also written there, its range stretched to 0-255.
    subset : str or None
        `"validation"` is the first ``int(len(x) * validation_split)`` samples, `"training"` the
        rest.
    ignore_class_split : bool
        Do not demand the same set of labels in both subsets.
    dtype : str or None
        Dtype of the batches; None takes Keras' `floatx`.

    Raises
    ------
    ValueError
        If the lengths differ, `x` is not of rank 4, `subset` is unknown, or the subsets do not
        have the same set of labels.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        ignore_class_split: bool = False,
        dtype: Any = None,
    ):
        self.data_format = data_format or image_data_format()
        self.dtype = dtype or floatx()
        x, x_misc = _split_extras(x)
        for name, array in (("`y` (labels)", y), ("`sample_weight`", sample_weight)):
            _check_length(x, name, array)
        if sample_weight is not None and y is None:
            warnings.warn("`sample_weight` is ignored because there is no `y`.", stacklevel=2)
        if subset is not None:
            kept = _subset_slice(x, y, subset, image_data_generator, ignore_class_split)
            x, x_misc = x[kept], [extra[kept] for extra in x_misc]
            y = None if y is None else y[kept]
            sample_weight = None if sample_weight is None else sample_weight[kept]
        self.x = _as_images(x, self.dtype, self.data_format)
        self.x_misc = x_misc
        self.y = None if y is None else np.asarray(y)
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.image_data_generator = image_data_generator
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.intp]) -> Any:
        """Return x, (x, y) or (x, y, sample_weight); x is a list when there are extras."""
        is_last = self.image_data_generator.data_format == "channels_last"

        def read_block(start: int, stop: int) -> NDArray[Any]:
            images = self.x[index_array[start:stop]]
            return images if is_last else np.moveaxis(images, 1, -1)

        dtype = np.dtype(self.dtype)
        batch_x = make_batch(
            self.image_data_generator,
            read_block,
            len(index_array),
            self.x.shape[1:],
            pixel_dtype=dtype,
            batch_dtype=dtype,
            buffers=self._buffers,
        )
        if self.save_to_dir:
            save_batch(self, batch_x, index_array, num_names=10**4)
        x = [batch_x, *(extra[index_array] for extra in self.x_misc)] if self.x_misc else batch_x
        if self.y is None:
            return x
        if self.sample_weight is None:
            return x, self.y[index_array]
        return x, self.y[index_array], self.sample_weight[index_array]


def _split_extras(x: Any) -> tuple[Any, list[NDArray[Any]]]:
    if not isinstance(x, (tuple, list)):
        return x, []
    if len(x) < 2:
        raise ValueError(
            "A list or tuple `x` is read as (images, extra arrays), got one of length "
            f"{len(x)}. Stack a list of images into one array first: `np.stack(x)`."
        )
    images, extras = x[0], x[1] if isinstance(x[1], list) else [x[1]]
    extras = [np.asarray(extra) for extra in extras]
    for extra in extras:
        if len(extra) != len(images):
            raise ValueError(
                "All of the arrays in `x` should have the same length. Found a pair with: "
                f"len(x[0]) = {len(images)}, len(x[?]) = {len(extra)}. "
                "A list of images is read as (images, extra): stack it first, `np.stack(x)`."
            )
    return images, extras


def _check_length(x: Any, name: str, array: Any) -> None:
    if array is not None and len(x) != len(array):
        raise ValueError(
            f"`x` (images tensor) and {name} should have the same length. "
            f"Found: x.shape = {np.shape(x)}, {name}.shape = {np.shape(array)}"
        )


def _subset_slice(x: Any, y: Any, subset: str, generator: Any, ignore_class_split: bool) -> slice:
    if subset not in SUBSETS:
        raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')
    boundary = int(len(x) * generator._validation_split)
    if y is not None and not ignore_class_split:
        if not np.array_equal(np.unique(y[:boundary]), np.unique(y[boundary:])):
            raise ValueError(
                "Training and validation subsets have different number of classes after the "
                "split. If your numpy arrays are sorted by the label, you might want to shuffle "
                "them."
            )
    return slice(boundary) if subset == "validation" else slice(boundary, None)


def _as_images(x: Any, dtype: Any, data_format: str) -> NDArray[Any]:
    images = np.asarray(x)
    if images.dtype.kind not in "buif":  # strings, objects: NumPy says what is wrong with them
        images = np.asarray(x, dtype=dtype)
    if images.ndim != 4:
        raise ValueError(
            "Input data in `NumpyArrayIterator` should have rank 4 (images, and the three axes of "
            f"one image). You passed an array with shape {images.shape}."
        )
    warn_about_channels(images.shape, data_format, "NumpyArrayIterator")
    return images


def warn_about_channels(shape: tuple[int, ...], data_format: str, where: str) -> None:
    """Warn when the channel axis of a batch's shape does not have 1, 3 or 4 entries."""
    axis = 3 if data_format == "channels_last" else 1
    if shape[axis] not in (1, 3, 4):
        warnings.warn(
            f'{where} expects images in the data format "{data_format}" with 1, 3 or 4 channels '
            f"on axis {axis}, but was passed an array with shape {shape} "
            f"({shape[axis]} channels).",
            stacklevel=4,
        )
