"""Augmented batches of a folder of image files, one sub-folder a class."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import numpy as np

from .files import BatchFromFilesMixin
from .iterators import Iterator
from .settings import floatx, image_data_format, is_interactive


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
    use_fused_resize : bool
        Resize and transform in one interpolation from the decoded file, instead of resizing by
        `interpolation` first, as Keras does: sharper and faster, but other pixels.

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
        *,
        use_fused_resize: bool = False,
    ):
        self.set_processing_attrs(
            image_data_generator,
            target_size,
            color_mode,
            data_format or image_data_format(),
            save_to_dir,
            save_prefix,
            save_format,
            subset,
            interpolation,
            keep_aspect_ratio,
            use_fused_resize=use_fused_resize,
        )
        if class_mode not in self.allowed_class_modes:
            raise ValueError(
                f"Invalid class_mode: {class_mode}; expected one of: "
                '"categorical", "binary", "sparse", "input", None.'
            )
        self.directory = directory
        self.class_mode = class_mode
        self.dtype = dtype or floatx()
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
        if is_interactive():
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
