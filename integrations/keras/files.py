"""What turns listed image files into batches, whatever listed them."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...engine.threads import run_slices
from .images import CHANNELS, RESAMPLING, load_image, load_whole
from .iterators import BegunBatch, ImageIterator, warn_if_validation_is_augmented
from .render import Images, is_own
from .settings import floatx
from .warping import can_fuse, useful_size


class Reader(NamedTuple):
    """What it takes to read the files of one batch; later changes of the iterator are not seen.

    `min_size` is the (height, width) that a whole file must still cover, for a fused resize.
    """

    filepaths: list[str]
    color_mode: str
    target_size: tuple[int, int]
    interpolation: str
    keep_aspect_ratio: bool
    min_size: tuple[int, int] | None

    def resized(self, places: NDArray[np.intp], empty: Any) -> NDArray[Any]:
        """Read the files at `places` into an array that ``empty(shape, dtype)`` gives."""
        shape = (len(places), *self.target_size, CHANNELS[self.color_mode])
        block: NDArray[np.uint8] = empty(shape, np.uint8)
        images = [
            load_image(
                self.filepaths[index],
                self.color_mode,
                self.target_size,
                self.interpolation,
                self.keep_aspect_ratio,
                out,
            )
            for index, out in zip(places, block, strict=True)
        ]
        if all(image.dtype == np.uint8 for image in images):
            return block
        return np.stack(images)  # with a deep grey among them: in a type that holds all

    def whole(self, places: NDArray[np.intp]) -> list[NDArray[Any]]:
        """Read the files at `places` in their own sizes."""
        return [
            load_whole(
                self.filepaths[index],
                self.color_mode,
                self.target_size,
                self.min_size or (0, 0),
                self.keep_aspect_ratio,
            )
            for index in places
        ]


class BatchFromFilesMixin(ImageIterator):
    """Batches of the files that a subclass lists in `filepaths`, with its `labels`."""

    class_mode: str | None
    class_indices: dict[str, int]
    classes: Any  # class index of every file
    dtype: Any
    _num_file_names = 10**7

    def set_processing_attrs(
        self,
        image_data_generator: Any,
        target_size: tuple[int, int],
        color_mode: str,
        data_format: str,
        save_to_dir: str | None,
        save_prefix: str,
        save_format: str,
        subset: str | None,
        interpolation: str,
        keep_aspect_ratio: bool,
        *,
        use_fused_resize: bool = False,
    ) -> None:
        """Check and keep what turns files into a batch; the arguments are the iterator's.

        Raises
        ------
        ValueError
            If `color_mode`, `subset`, `interpolation` or `target_size` is not one that exists.
        """
        self.image_data_generator = image_data_generator
        self.target_size = _checked_size(target_size)
        self.keep_aspect_ratio = keep_aspect_ratio
        if color_mode not in CHANNELS:
            raise ValueError(
                f'Invalid color mode: {color_mode}; expected "rgb", "rgba", or "grayscale".'
            )
        self.color_mode = color_mode
        self.data_format = data_format
        channels = (CHANNELS[color_mode],)
        is_last = data_format == "channels_last"
        self.image_shape = self.target_size + channels if is_last else channels + self.target_size
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        if interpolation not in RESAMPLING:
            raise ValueError(
                f"Invalid interpolation method {interpolation!r}; "
                f"expected one of {', '.join(RESAMPLING)}."
            )
        self.interpolation = interpolation
        self.use_fused_resize = _checked_fused_resize(use_fused_resize, image_data_generator)
        self.split = _split_bounds(subset, image_data_generator)
        self.subset = subset
        self.is_validation = subset == "validation"
        warn_if_validation_is_augmented(subset, image_data_generator, stacklevel=5)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one resized image in the data format."""
        return tuple(self.image_shape)

    def read_images(self, start: int, stop: int) -> NDArray[Any]:
        """Return these files' images, resized, in the order of `filepaths`."""
        places, reader = np.arange(start, stop), self._reader()
        blocks: dict[int, NDArray[Any]] = {}

        def read(first: int, last: int) -> None:
            blocks[first] = reader.resized(places[first:last], np.empty)

        run_slices(read, stop - start, getattr(self.image_data_generator, "threads", None))
        images = np.concatenate([blocks[first] for first in sorted(blocks)])
        return images if self.data_format == "channels_last" else images.transpose(0, 3, 1, 2)

    def _begin_batch(self, index_array: NDArray[np.intp], rng: Any) -> BegunBatch:
        read = self._reader()

        def read_block(start: int, stop: int) -> Images:
            places = index_array[start:stop]
            return read.whole(places) if read.min_size else read.resized(places, _scratch.array)

        return self._begin_images(
            index_array, read_block, self.image_shape, floatx(), self.dtype, rng
        )

    def _reader(self) -> Reader:
        min_size = None
        if self.use_fused_resize:
            min_size = useful_size(self.image_data_generator, self.target_size)
        return Reader(
            self.filepaths,
            self.color_mode,
            self.target_size,
            self.interpolation,
            self.keep_aspect_ratio,
            min_size,
        )

    def _finish_batch(self, batch_x: NDArray[Any], index_array: NDArray[np.intp]) -> Any:
        """Return x, (x, y) or (x, y, sample_weight), as `class_mode` asks."""
        if self.class_mode is None:
            return batch_x
        batch_y = self._make_labels(index_array, batch_x)
        if self.sample_weight is None:
            return batch_x, batch_y
        return batch_x, batch_y, self.sample_weight[index_array]

    def _make_labels(self, index_array: NDArray[np.intp], batch_x: NDArray[Any]) -> Any:
        if self.class_mode == "input":
            return batch_x.copy()
        labels = self.classes[index_array]
        if self.class_mode == "categorical":
            one_hot = np.zeros((len(labels), len(self.class_indices)), self.dtype)
            one_hot[np.arange(len(labels)), labels] = 1
            return one_hot
        return labels.astype(self.dtype)  # binary, sparse: indices in the batch's dtype

    @property
    def filepaths(self) -> list[str]:
        """Paths of the image files."""
        raise NotImplementedError(f"{type(self).__name__} must define `filepaths`.")

    @property
    def labels(self) -> Any:
        """Class labels, one per file."""
        raise NotImplementedError(f"{type(self).__name__} must define `labels`.")

    @property
    def sample_weight(self) -> Any:
        """Weights, one per file, or None."""
        raise NotImplementedError(f"{type(self).__name__} must define `sample_weight`.")


class _Scratch(threading.local):
    """One array for each thread, used again and again: fresh memory costs more than the copy."""

    memory = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return uninitialised memory, the same as at the last call in this thread."""
        size = math.prod(shape)
        if self.memory.size < size:
            self.memory = np.empty(size, dtype)
        return self.memory[:size].reshape(shape)


_scratch = _Scratch()


def _checked_size(target_size: Any) -> tuple[int, int]:
    size = tuple(target_size)
    if len(size) != 2 or not all(int(side) == side and side > 0 for side in size):
        raise ValueError(
            f"`target_size` must be (height, width), two whole numbers above 0, got {target_size}."
        )
    return int(size[0]), int(size[1])


def _checked_fused_resize(use_fused_resize: bool, generator: Any) -> bool:
    if not use_fused_resize:
        return False
    if not is_own(generator, "apply_transform", "standardize"):
        raise ValueError(
            "`use_fused_resize` needs a fusewarp `ImageDataGenerator` that overrides neither "
            f"`apply_transform` nor `standardize`, got {type(generator).__name__}."
        )
    if not can_fuse(generator):
        raise ValueError(
            "`use_fused_resize` needs an `interpolation_order` of 0 or 1 and a `fill_mode` without "
            f"`grid-`; the generator has {generator.interpolation_order} and "
            f"{generator.fill_mode!r}."
        )
    return True


def _split_bounds(subset: str | None, generator: Any) -> tuple[float, float] | None:
    if subset is None:
        return None
    if subset not in ("training", "validation"):
        raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')
    fraction = generator._validation_split
    return (0, fraction) if subset == "validation" else (fraction, 1)
