"""Augmented batches of a folder of image files, one sub-folder a class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .files import BatchFromFilesMixin
from .iterators import Iterator
from .listing import join_all, list_class_names, list_classes, tell
from .settings import floatx, image_data_format


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
    PermissionError
        If a folder cannot be read.
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
        class_names = list(classes) if classes else list_class_names(directory)
        self.num_classes = len(class_names)
        self.class_indices = {name: index for index, name in enumerate(class_names)}
        files = list_classes(
            directory, class_names, self.white_list_formats, follow_links, self.split
        )
        self.filenames = [
            path
            for name, paths in zip(class_names, files, strict=True)
            for path in join_all(name, paths)
        ]
        counts = [len(paths) for paths in files]
        self.classes = np.repeat(np.arange(self.num_classes, dtype="int32"), counts)
        self.samples = len(self.filenames)
        self._report()
        self._filepaths = join_all(directory, self.filenames)
        super().__init__(self.samples, batch_size, shuffle, seed)

    def _report(self) -> None:
        message = f"Found {self.samples} images belonging to {self.num_classes} classes."
        if self.samples == 0 and self.subset is None:
            raise ValueError(
                f"{message} {os.fspath(self.directory)!r} needs one sub-folder for each class, "
                f"with files in one of the formats {', '.join(self.white_list_formats)}. "
                "For files directly in it, without classes, pass `classes=['.']`."
            )
        tell(message)

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
