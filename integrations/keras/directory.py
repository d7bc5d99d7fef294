"""Augmented batches of a folder of image files, one sub-folder a class."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ...engine.buffers import BufferPool
from .images import CHANNELS, RESAMPLING, load_image
from .iterators import Iterator, save_batch
from .render import make_batch


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
            pixel_dtype=np.dtype(keras.config.floatx()),
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


class DirectoryIterator(BatchFromFilesMixin, Iterator):
    """Augmented batches of the image files in a folder's sub-folders.

    Files are listed once, here: class folders sorted by name (or `classes` in the given order),
    within each all folders sorted by path and files by name. They are read with Pillow, on the
    pool's threads, when their batch is made.

    Parameters
    ----------
    directory : path
        Its sub-folders are the classes.
    image_data_generator : ImageDataGenerator
    target_size : (int, int)
        Height and width to which every image is resized.
    color_mode : str
        `rgb`, `rgba` or `grayscale`.
    classes : list of str or None
        Names of the sub-folders to take.
    class_mode : str or None
        `categorical` (one-hot), `binary` or `sparse` (indices, in `dtype`), `input` (a copy of
        the images) or None (no labels).
    batch_size, shuffle, seed
        As in `Iterator`.
    data_format, dtype : str or None
        None takes Keras' settings.
    save_to_dir, save_prefix, save_format, subset
        As in `NumpyArrayIterator`; each class is split by itself.
    follow_links : bool
        Follow links to folders inside the class folders.
    interpolation : str
        Pillow's filter of the resize: `nearest`, `bilinear`, `bicubic`, `hamming`, `box` or
        `lanczos`.
    keep_aspect_ratio : bool
        Cut the image to the target's aspect ratio, about its centre, before the resize.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If an argument is not one that exists, or the folder has no image in any class.
    """

    allowed_class_modes = frozenset({"categorical", "binary", "sparse", "input", None})

    def __init__(
        self,
        directory: Any,
        image_data_generator: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = None,
    ):
        self.set_processing_attrs(
            image_data_generator,
            target_size,
            color_mode,
            data_format or keras.config.image_data_format(),
            save_to_dir,
            save_prefix,
            save_format,
            subset,
            interpolation,
            keep_aspect_ratio,
        )
        if class_mode not in self.allowed_class_modes:
            raise ValueError(
                f"Invalid class_mode: {class_mode}; expected one of: "
                '"categorical", "binary", "sparse", "input", None.'
            )
        self.directory = directory
        self.class_mode = class_mode
        self.dtype = dtype or keras.config.floatx()
        class_names = list(classes) if classes else _class_folders(directory)
        self.num_classes = len(class_names)
        self.class_indices = {name: index for index, name in enumerate(class_names)}
        self.filenames: list[str] = []
        labels: list[int] = []
        for index, name in enumerate(class_names):
            files = self._list_class(name, follow_links)
            self.filenames += files
            labels += [index] * len(files)
        self.classes = np.array(labels, dtype="int32")
        self.samples = len(self.filenames)
        self._report()
        self._filepaths = [os.path.join(directory, name) for name in self.filenames]
        super().__init__(self.samples, batch_size, shuffle, seed)

    def _list_class(self, name: str, follow_links: bool) -> list[str]:
        """Return the files of one class and of this subset, relative to the directory."""
        folder = os.path.join(self.directory, name)
        if not os.path.isdir(folder):
            warnings.warn(
                f"There is no folder {folder!r} for the class {name!r}; it has no images.",
                stacklevel=4,
            )
            return []
        files = _image_files(folder, self.white_list_formats, follow_links)
        if self.split is not None:
            files = files[int(self.split[0] * len(files)) : int(self.split[1] * len(files))]
        return [os.path.join(name, os.path.relpath(path, folder)) for path in files]

    def _report(self) -> None:
        message = f"Found {self.samples} images belonging to {self.num_classes} classes."
        if self.samples == 0 and self.subset is None:
            raise ValueError(
                f"{message} {os.fspath(self.directory)!r} needs one sub-folder for each class, "
                f"with files in one of the formats {', '.join(self.white_list_formats)}. "
                "For files directly in it, without classes, pass `classes=['.']`."
            )
        if keras.config.is_interactive_logging_enabled():
            print(message)
        else:
            logging.getLogger("fusewarp").info(message)

    @property
    def filepaths(self) -> list[str]:
        """Paths of the image files: the directory joined with each of `filenames`."""
        return self._filepaths

    @property
    def labels(self) -> Any:
        """Class index of every file, int32."""
        return self.classes

    @property
    def sample_weight(self) -> None:
        """None: a folder has no weights."""
        return None


def _class_folders(directory: Any) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _image_files(folder: str, formats: tuple[str, ...], follow_links: bool) -> list[str]:
    paths = []
    walk = os.walk(folder, followlinks=follow_links, onerror=_raise)
    for root, _, names in sorted(walk, key=lambda entry: entry[0]):
        for name in sorted(names):
            if name.lower().endswith(".tiff"):
                warnings.warn(
                    'Using ".tiff" files with multiple bands will cause distortion. Please verify '
                    "your output.",
                    stacklevel=4,
                )
            if name.lower().endswith(formats):
                paths.append(os.path.join(root, name))
    return paths


def _raise(error: OSError) -> None:
    """Keras leaves out a folder that cannot be listed, and says nothing."""
    raise error
