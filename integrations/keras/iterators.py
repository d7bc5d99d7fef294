"""Iterators over augmented batches, `keras.utils.PyDataset`s that `model.fit` takes."""

from __future__ import annotations

import copy
import os
import threading
import warnings
from collections.abc import Iterator as BatchIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.buffers import BufferPool
from ...engine.threads import Lane
from .ahead import Ahead, Position, settings_of, uses_mersenne_twister
from .batch import ImageBatch, ReadBlock, draws_between_images
from .image_utils import array_to_img
from .render import Images, Picked, is_own
from .settings import PyDataset, floatx, image_data_format
from .warping import KERNEL_SOURCES

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
        `workers`, `use_multiprocessing` and `max_queue_size` of `keras.utils.PyDataset`.
    """

    _has_own_order = False
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
        self._index_generator: BatchIterator[NDArray[np.intp]] | None = None

    @property
    def index_generator(self) -> BatchIterator[NDArray[np.intp]]:
        """Endless indices of the next batch; taking one moves the iterator on."""
        if self._index_generator is None:  # it holds the iterator: a cycle, if it is ever used
            self._index_generator = self._flow_index()
        return self._index_generator

    @index_generator.setter
    def index_generator(self, generator: BatchIterator[NDArray[np.intp]]) -> None:
        self._index_generator = generator
        self._has_own_order = True

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
        self._check_index(idx)
        with self.lock:
            chosen = self._choose(idx, self, np.random)
        return self._get_batches_of_transformed_samples(chosen)

    def __iter__(self) -> Iterator:
        """Return the iterator itself; it never ends."""
        return self

    def __next__(self) -> Any:
        """Return the next batch; after the last one a new epoch begins."""
        with self.lock:
            chosen = next(self.index_generator)
        return self._get_batches_of_transformed_samples(chosen)

    def next(self) -> Any:
        """Return the next batch, as older Keras versions spelt it."""
        return next(self)

    def reset(self) -> None:
        """Start over with batch 0; `total_batches_seen`, and so the seeds, go on."""
        self.batch_index = 0

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._set_index_array()

    def _check_index(self, idx: int) -> None:
        if idx >= len(self):
            raise ValueError(
                f"Asked to retrieve element {idx}, but the Sequence has length {len(self)}."
            )

    def _set_index_array(self) -> None:
        self.index_array = self._draw_order(np.random)

    def _draw_order(self, rng: Any) -> NDArray[np.intp]:
        return rng.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _seed_batch(self, position: Any, rng: Any) -> None:
        if self.seed is not None:
            rng.seed(self.seed + position.total_batches_seen)
        position.total_batches_seen += 1

    def _choose(self, idx: int, position: Any, rng: Any) -> NDArray[np.intp]:
        """Return the samples of batch `idx`; `position` is the iterator, or a copy of its place."""
        self._seed_batch(position, rng)
        if position is self and self.index_array is None:
            self._set_index_array()
        elif position.index_array is None:
            position.index_array = self._draw_order(rng)
        chosen: NDArray[np.intp] = position.index_array[
            self.batch_size * idx : self.batch_size * (idx + 1)
        ]
        return chosen

    def _choose_next(self, position: Any, rng: Any) -> NDArray[np.intp]:
        """Return the samples of the next batch, and move `position` on."""
        self._seed_batch(position, rng)
        if position.batch_index == 0 or position.index_array is None:
            position.batch_index = 0
            if position is self:
                self._set_index_array()
            else:
                position.index_array = self._draw_order(rng)
        start = (position.batch_index * self.batch_size) % self.n if self.n else 0
        stop = start + self.batch_size
        position.batch_index = position.batch_index + 1 if stop < self.n else 0
        chosen: NDArray[np.intp] = position.index_array[start:stop]
        return chosen

    def _flow_index(self) -> BatchIterator[NDArray[np.intp]]:
        while True:
            yield self._choose_next(self, np.random)

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.intp]) -> Any:
        """Make the batch of these samples."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_get_batches_of_transformed_samples`."
        )


@dataclass
class BegunBatch:
    """The images of a batch, being made, and what goes along with them."""

    images: ImageBatch
    index_array: NDArray[np.intp]
    file_names: list[str]
    chosen: NDArray[np.intp]  # a view of the order, of which `index_array` is a copy

    def is_current(self) -> bool:
        """Return whether nobody has changed the order in place."""
        return np.array_equal(self.chosen, self.index_array)

    def cancel(self) -> None:
        """Give the images up."""
        self.images.cancel()


class ImageIterator(Iterator):
    """An iterator over images that our threads make, the next batches while one is used.

    A subclass defines ``_begin_batch(index_array, rng)``, which draws and begins the images, and
    ``_finish_batch(batch_x, index_array)``, which puts the labels to them.
    """

    image_data_generator: Any
    data_format: str
    save_to_dir: Any
    save_prefix: str
    save_format: str
    is_validation: bool
    _num_file_names: int

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None):
        super().__init__(n, batch_size, shuffle, seed)
        self._ahead = Ahead()
        self._lane: Lane | None = None
        self._buffers = BufferPool(max_free=2 + _prefetch(self.image_data_generator))

    def __getitem__(self, idx: int) -> Any:
        """Return batch `idx` of the epoch, freshly augmented.

        Raises
        ------
        ValueError
            If `idx` is not below ``len(self)``.
        """
        self._check_index(idx)
        return self._take(idx) if self._works_by_itself() else super().__getitem__(idx)

    def __next__(self) -> Any:
        """Return the next batch; after the last one a new epoch begins."""
        return self._take(None) if self._works_by_itself() else super().__next__()

    def _take(self, idx: int | None) -> Any:
        with self.lock:
            settings = [
                settings_of(self, volatile=_PLACE),
                settings_of(self.image_data_generator, is_deep=True),
            ]
            position = Position(self.batch_index, self.total_batches_seen, self.index_array)
            begin = self._begin_at
            begun = self._ahead.take(begin, idx, position, settings, self.seed is not None)
            for name, value in vars(begun.end).items():
                setattr(self, name, value)
            depth = _prefetch(self.image_data_generator)
            self._ahead.go_on(begin, begun, 0 if idx is None else len(self), depth)
        return self._finish(begun.batch)  # unlocked: other threads may ask for theirs meanwhile

    def _works_by_itself(self) -> bool:
        """Return whether nobody has replaced a part, so that batches may be begun out of turn."""
        kind = type(self)
        return (
            all(getattr(kind, name) is getattr(home, name) for home, name in _OWN_PARTS)
            and not self._has_own_order
            and is_own(
                self.image_data_generator, "get_random_transform", "apply_transform", "standardize"
            )
            and not draws_between_images(self.image_data_generator)
            and uses_mersenne_twister()
        )

    def _begin_at(self, idx: int | None, position: Position, rng: Any) -> BegunBatch:
        if idx is None:
            chosen = self._choose_next(position, rng)
        else:
            chosen = self._choose(idx, position, rng)
        batch = self._begin_batch(chosen.copy(), rng)
        batch.chosen = chosen
        return batch

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one image in the data format."""
        raise NotImplementedError(f"{type(self).__name__} must define `sample_shape`.")

    def read_images(self, start: int, stop: int) -> NDArray[Any]:
        """Return these images as they are before any transform, in the iterator's own order."""
        raise NotImplementedError(f"{type(self).__name__} must define `read_images`.")

    def _begin_batch(self, index_array: NDArray[np.intp], rng: Any) -> BegunBatch:
        raise NotImplementedError(f"{type(self).__name__} must define `_begin_batch`.")

    def _finish_batch(self, batch_x: NDArray[Any], index_array: NDArray[np.intp]) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define `_finish_batch`.")

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.intp]) -> Any:
        """Return the batch of these samples."""
        with self.lock:  # the random numbers of a batch are drawn without another's between them
            begun = self._begin_batch(index_array, np.random)
        return self._finish(begun)

    def _finish(self, batch: BegunBatch) -> Any:
        images = batch.images.result()
        for name, image in zip(batch.file_names, images, strict=False):
            picture = array_to_img(image, self.data_format)
            picture.save(os.path.join(self.save_to_dir, name))
        return self._finish_batch(images, batch.index_array)

    def _begin_images(
        self,
        index_array: NDArray[np.intp],
        read_block: ReadBlock,
        image_shape: tuple[int, ...],
        pixel_dtype: Any,
        dtype: Any,
        rng: Any,
    ) -> BegunBatch:
        generator = self._rendering_generator()
        images = ImageBatch(
            generator,
            read_block,
            len(index_array),
            image_shape,
            pixel_dtype=np.dtype(pixel_dtype),
            batch_dtype=np.dtype(dtype),
            buffers=self._buffers,
            lane=self._own_lane(getattr(generator, "threads", None)),
            rng=rng,
        )
        names = self._draw_file_names(index_array, rng)
        return BegunBatch(images, index_array, names, index_array)

    def _rendering_generator(self) -> Any:
        """Return what augments: nothing for None, and for validation that is to be left alone."""
        generator = self.image_data_generator
        if generator is None:
            return Unchanged(self.data_format)
        if self.is_validation and getattr(generator, "augment_validation", None) is False:
            return generator.without_augmentation()
        # The threads must not see what somebody changes while they work.
        return copy.copy(generator) if self._works_by_itself() else generator

    def _draw_file_names(self, index_array: NDArray[np.intp], rng: Any) -> list[str]:
        """Draw the names of saved images right after their transforms, as Keras does."""
        if not self.save_to_dir:
            return []
        return [
            f"{self.save_prefix}_{index}_{rng.randint(self._num_file_names)}.{self.save_format}"
            for index in index_array
        ]

    def _own_lane(self, threads: int | None) -> Lane:
        """Return this iterator's lane on the pool; a forked child needs another one."""
        lane = self._lane
        if lane is None or lane.pid != os.getpid() or threads not in (None, lane.threads):
            lane = self._lane = Lane(threads)
        return lane


# Where an iterator is: changes with every batch, or holds what is made ahead.
_PLACE = frozenset({"batch_index", "total_batches_seen", "index_array", "_ahead", "_lane", "lock"})
_OWN_PARTS = (
    (ImageIterator, "__next__"),
    (ImageIterator, "__getitem__"),
    (ImageIterator, "_get_batches_of_transformed_samples"),
    (Iterator, "_set_index_array"),
    (Iterator, "_flow_index"),
)


def _prefetch(generator: Any) -> int:
    return int(getattr(generator, "prefetch", 0))


class Unchanged:
    """Stands in for a missing generator: images as they are, no random draws."""

    def __init__(self, data_format: str) -> None:
        self.data_format = data_format

    def get_random_transform(self, img_shape: tuple[int, ...]) -> dict[str, Any]:
        """Return nothing to do."""
        return {}

    def apply_transform(self, x: Any, transform_parameters: dict[str, Any]) -> Any:
        """Return `x`."""
        return x

    def standardize(self, x: Any) -> Any:
        """Return `x`."""
        return x


class NumpyArrayIterator(ImageIterator):
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
            warn_if_validation_is_augmented(subset, image_data_generator, stacklevel=4)
            kept = _subset_slice(x, y, subset, image_data_generator, ignore_class_split)
            x, x_misc = x[kept], [extra[kept] for extra in x_misc]
            y = None if y is None else y[kept]
            sample_weight = None if sample_weight is None else sample_weight[kept]
        self.x = _as_images(x, self.dtype, self.data_format)
        self.x_misc = x_misc
        self.y = None if y is None else np.asarray(y)
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.image_data_generator = image_data_generator
        self.is_validation = subset == "validation"
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        super().__init__(len(self.x), batch_size, shuffle, seed)

    _num_file_names = 10**4

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one image in the data format."""
        return tuple(self.x.shape[1:])

    def read_images(self, start: int, stop: int) -> NDArray[Any]:
        """Return these images of `x`."""
        images: NDArray[Any] = self.x[start:stop]
        return images

    def _begin_batch(self, index_array: NDArray[np.intp], rng: Any) -> BegunBatch:
        self._check_lengths()
        is_last = self.image_data_generator.data_format == "channels_last"
        source = self.x
        is_readable = is_last and source.flags.c_contiguous and source.dtype in KERNEL_SOURCES
        sources = index_array.astype(np.int64, copy=False)

        def read_block(start: int, stop: int) -> Images:
            if is_readable:  # by the kernel, where it lies
                return Picked(source, sources[start:stop])
            images = source[sources[start:stop]]
            return images if is_last else np.moveaxis(images, 1, -1)

        return self._begin_images(
            index_array, read_block, self.x.shape[1:], self.dtype, self.dtype, rng
        )

    def _finish_batch(self, batch_x: NDArray[Any], index_array: NDArray[np.intp]) -> Any:
        """Return x, (x, y) or (x, y, sample_weight); x is a list when there are extras."""
        x = [batch_x, *(extra[index_array] for extra in self.x_misc)] if self.x_misc else batch_x
        if self.y is None:
            return x
        if self.sample_weight is None:
            return x, self.y[index_array]
        return x, self.y[index_array], self.sample_weight[index_array]

    def _check_lengths(self) -> None:
        """Refuse arrays that somebody has exchanged for shorter or longer ones."""
        arrays = [("x", self.x), ("y", self.y), ("sample_weight", self.sample_weight)]
        arrays += [(f"x_misc[{at}]", extra) for at, extra in enumerate(self.x_misc)]
        for name, array in arrays:
            if array is not None and len(array) != self.n:
                raise ValueError(
                    f"`{name}` now has {len(array)} entries, but had {self.n} when "
                    "it was made. Make a new iterator with `flow` for the new data."
                )


def warn_if_validation_is_augmented(subset: str | None, generator: Any, stacklevel: int) -> None:
    """Warn, once for each generator, that a validation subset is augmented like the training.

    `stacklevel` is that of the user's call, seen from here.
    """
    if subset == "validation" and hasattr(generator, "warn_about_validation"):
        generator.warn_about_validation(stacklevel + 1)


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
