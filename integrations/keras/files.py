"""What turns listed image files into batches, whatever listed them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.buffers import BufferPool
from .images import CHANNELS, RESAMPLING, load_image
from .iterators import save_batch
from .render import make_batch
from .settings import floatx


class BatchFromFilesMixin:
    """Batches of the files that a subclass lists in `filepaths`, with its `labels`."""

    class_mode: str | None
    class_indices: dict[str, int]
    classes: Any  # class index of every file
    dtype: Any
    _buffers: BufferPool

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
        self.use_fused_resize = bool(use_fused_resize)
        self.split = _split_bounds(subset, image_data_generator)
        self.subset = subset

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.intp]) -> Any:
        """Return x, (x, y) or (x, y, sample_weight), as `class_mode` asks."""
        batch_x = self._make_images(index_array)
        if self.save_to_dir:
            save_batch(self, batch_x, index_array, num_names=10**7)
        if self.class_mode is None:
            return batch_x
        batch_y = self._make_labels(index_array, batch_x)
        if self.sample_weight is None:
            return batch_x, batch_y
        return batch_x, batch_y, self.sample_weight[index_array]

    def _make_images(self, index_array: NDArray[np.intp]) -> NDArray[Any]:
        filepaths = self.filepaths

        def read_block(start: int, stop: int) -> NDArray[Any]:
            images = [
                load_image(
                    filepaths[index],
                    self.color_mode,
                    self.target_size,
                    self.interpolation,
                    self.keep_aspect_ratio,
                )
                for index in index_array[start:stop]
            ]
            # A block of 8- and 16-bit grays takes the deeper type, which holds both.
            return images[0][np.newaxis] if len(images) == 1 else np.stack(images)

        return make_batch(
            self.image_data_generator or _Unchanged(self.data_format),
            read_block,
            len(index_array),
            self.image_shape,
            pixel_dtype=np.dtype(floatx()),
            batch_dtype=np.dtype(self.dtype),
            buffers=self._buffers,
        )

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


class _Unchanged:
    """Stands in for a missing generator: resized images as they are, no random draws."""

    def __init__(self, data_format: str) -> None:
        self.data_format = data_format

    def get_random_transform(self, img_shape: tuple[int, ...]) -> dict[str, Any]:
        return {}

    def apply_transform(self, x: Any, transform_parameters: dict[str, Any]) -> Any:
        return x

    def standardize(self, x: Any) -> Any:
        return x


def _checked_size(target_size: Any) -> tuple[int, int]:
    size = tuple(target_size)
    if len(size) != 2 or not all(int(side) == side and side > 0 for side in size):
        raise ValueError(
            f"`target_size` must be (height, width), two whole numbers above 0, got {target_size}."
        )
    return int(size[0]), int(size[1])


def _split_bounds(subset: str | None, generator: Any) -> tuple[float, float] | None:
    if subset is None:
        return None
    if subset not in ("training", "validation"):
        raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')
    fraction = generator._validation_split
    return (0, fraction) if subset == "validation" else (fraction, 1)
