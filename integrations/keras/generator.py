"""`ImageDataGenerator`: Keras' arguments, draws and results, rendered by the fused warp."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.threads import resolve_threads
from .dataframe import DataFrameIterator, read_deprecated
from .directory import DirectoryIterator
from .draws import draw_transform
from .geometry import TransformParameters, Transforms, is_moved
from .iterators import ImageIterator, NumpyArrayIterator, warn_about_channels
from .quirks import checked_quirks, one_of
from .render import change_levels
from .settings import floatx, image_data_format
from .standardize import standardize_levels, warn_if_not_fitted, whiten
from .statistics import fit_statistics
from .warping import FILL_MODES, flip, warp_image


class ImageDataGenerator:
    """Random augmentation and standardisation of image batches, with Keras' own arguments.

    The same seed draws the same random numbers as Keras 3, so it gives the same pictures, save
    for two defects of Keras that are mended here: `width_shift_range` moves images sideways and
    `height_shift_range` up and down (Keras 3 has them exchanged), and images that are not square
    turn, shear and zoom about their centre (Keras 3 takes another point). ``quirks="keras"``
    brings the two back.

    Parameters
    ----------
    featurewise_center, featurewise_std_normalization : bool
        Subtract the data set's mean of each channel; divide by its standard deviation. They need
        `fit`.
    samplewise_center, samplewise_std_normalization : bool
        Subtract each image's mean; divide by its standard deviation.
    zca_whitening : bool
        Multiply by the ZCA matrix of the data set. Needs `fit`.
    zca_epsilon : float
        Added to the singular values of the data.
    rotation_range : float
        Degrees; an angle is drawn from [-r, r). Positive angles turn counter-clockwise.
    width_shift_range, height_shift_range : float, int or list
        A float below 1 is a fraction of the width / height, from 1 on pixels: the shift is drawn
        from [-r, r). An int n picks one of 0 .. n-1 pixels, a list one of its values, both with a
        random sign.
    brightness_range : (float, float) or None
        Limits of the factor on the grey levels, which are cut to whole levels of 0-255.
    shear_range : float
        Degrees; drawn from [-r, r).
    zoom_range : float or (float, float)
        z means [1 - z, 1 + z]. Two factors are drawn, for columns and rows; above 1 shrinks.
    channel_shift_range : float
        Grey levels; one shift for all channels is drawn from [-r, r) and clipped to the image's
        own range.
    fill_mode : str
        What lies outside the image: `nearest`, `constant`, `reflect`, `wrap`, `mirror`,
        `grid-constant`, `grid-mirror` or `grid-wrap`, as in `scipy.ndimage`.
    cval : float
        The level outside for `constant`.
    horizontal_flip, vertical_flip : bool
        Mirror half of the images.
    rescale : float or None
        Factor on the levels, after `preprocessing_function`.
    preprocessing_function : callable or None
        Takes one augmented image, rank 3, and returns one of that shape. It is called from
        several threads at once; with ``threads=1`` it is not.
    data_format : str or None
        `channels_last`, `channels_first`, or None for Keras' setting.
    validation_split : float
        Share of the samples that ``subset="validation"`` takes.
    interpolation_order : int
        0 nearest, 1 bilinear; 2 to 5 are SciPy's splines, which are slow.
    dtype : str or None
        Dtype of the batches; None is Keras' `floatx`.
    quirks : str or None
        `"keras"` reproduces Keras 3 with its two defects, `"none"` does not. None reads the
        environment variable FUSEWARP_QUIRKS, and means `"none"` when that is not set.
    threads : int or None
        Threads that make a batch; None takes all there are. The batches do not depend on it.
    prefetch : int
        Batches made ahead while one is used; they hold the same images as without. 0 makes none.
    augment_validation : bool or None
        False leaves the images of ``subset="validation"`` as they are, but standardised; True
        transforms them as Keras does, and so does None, with a warning.

    Raises
    ------
    ValueError
        If an argument has no meaning; the message names it.

    Warns
    -----
    UserWarning
        If one normalisation option overrides another.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Any = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[NDArray[Any]], Any] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
        *,
        quirks: str | None = None,
        threads: int | None = None,
        prefetch: int = 2,
        augment_validation: bool | None = None,
    ):
        self.featurewise_center = featurewise_center
        self.samplewise_center = samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening = zca_whitening
        self.zca_epsilon = zca_epsilon
        self.rotation_range = rotation_range
        self.width_shift_range = width_shift_range
        self.height_shift_range = height_shift_range
        self.shear_range = shear_range
        self.zoom_range = _checked_zoom(zoom_range)
        self.channel_shift_range = channel_shift_range
        self.brightness_range = _checked_brightness(brightness_range)
        self.fill_mode = one_of("fill_mode", fill_mode, FILL_MODES)
        self.cval = _checked_cval(cval)
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.dtype = dtype or floatx()
        self.interpolation_order = one_of("interpolation_order", interpolation_order, range(6))
        self.data_format = _checked_data_format(data_format or image_data_format())
        is_last = self.data_format == "channels_last"
        self.channel_axis, self.row_axis, self.col_axis = (3, 1, 2) if is_last else (1, 2, 3)
        self._validation_split = _checked_split(validation_split)
        self.quirks = checked_quirks(quirks)
        self.threads = threads if threads is None else resolve_threads(threads)
        self.prefetch = _checked_prefetch(prefetch)
        self.augment_validation = augment_validation
        self._has_warned_about_validation = False
        self._is_still = False
        self.mean: Any = None
        self.std: Any = None
        self.zca_whitening_matrix: Any = None
        self._settle_normalization()

    def _settle_normalization(self) -> None:
        """Let the stronger of two normalisation options win, and say so, as Keras does."""
        if self.zca_whitening and not self.featurewise_center:
            self._override("zca_whitening", "featurewise_center", True)
        if self.zca_whitening and self.featurewise_std_normalization:
            self._override("zca_whitening", "featurewise_std_normalization", False)
        for kind in ("featurewise", "samplewise"):
            scales = getattr(self, f"{kind}_std_normalization")
            if scales and not getattr(self, f"{kind}_center"):
                self._override(f"{kind}_std_normalization", f"{kind}_center", True)

    def _override(self, winner: str, loser: str, value: bool) -> None:
        setattr(self, loser, value)
        warnings.warn(
            f"This ImageDataGenerator specifies `{winner}`, which overrides setting of `{loser}`.",
            stacklevel=4,
        )

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> NumpyArrayIterator:
        """Return augmented batches of the images in `x`; see `NumpyArrayIterator`."""
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            ignore_class_split=ignore_class_split,
            subset=subset,
            dtype=self.dtype,
        )

    def flow_from_directory(
        self,
        directory: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        *,
        use_fused_resize: bool = False,
    ) -> DirectoryIterator:
        """Return augmented batches of the files in a folder; see `DirectoryIterator`."""
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            keep_aspect_ratio=keep_aspect_ratio,
            classes=classes,
            class_mode=class_mode,
            data_format=self.data_format,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            follow_links=follow_links,
            subset=subset,
            interpolation=interpolation,
            dtype=self.dtype,
            use_fused_resize=use_fused_resize,
        )

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: Any = None,
        x_col: str = "filename",
        y_col: Any = "class",
        weight_col: str | None = None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        *,
        keep_aspect_ratio: bool = False,
        use_fused_resize: bool = False,
        **kwargs: Any,
    ) -> DataFrameIterator:
        """Return augmented batches of the files named in a frame; see `DataFrameIterator`.

        `has_ext`, `sort` and `drop_duplicates` of older versions do nothing but warn; any other
        keyword is a TypeError.
        """
        class_mode = read_deprecated(kwargs, class_mode)
        return DataFrameIterator(
            dataframe,
            directory,
            self,
            x_col=x_col,
            y_col=y_col,
            weight_col=weight_col,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            data_format=self.data_format,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            dtype=self.dtype,
            validate_filenames=validate_filenames,
            use_fused_resize=use_fused_resize,
        )

    def get_random_transform(
        self, img_shape: tuple[int, ...], seed: int | None = None
    ) -> dict[str, Any]:
        """Draw the parameters of one image of shape `img_shape` (rank 3).

        A `seed` seeds NumPy's global generator first. See `draws.draw_transform` for the keys.
        """
        if seed is not None:
            np.random.seed(seed)
        return draw_transform(self, img_shape[self.row_axis - 1], img_shape[self.col_axis - 1])

    def apply_transform(self, x: Any, transform_parameters: TransformParameters) -> Any:
        """Transform one image by given parameters.

        Parameters
        ----------
        x : ndarray, rank 3
            Not changed.
        transform_parameters : mapping
            Any of the keys of `get_random_transform`; a missing one changes nothing.

        Returns
        -------
        ndarray
            `x` itself if nothing was to do, a view of it if only flips were, else a new array.

        Raises
        ------
        ValueError
            If `x` is not of rank 3.
        """
        if np.ndim(x) != 3:
            raise ValueError(
                "Input arrays must be multi-channel 2D images: one image of rank 3, "
                f"got shape {np.shape(x)}."
            )
        if is_moved(transform_parameters):
            image = np.asarray(x)
            if self.data_format == "channels_first":
                image = image.transpose(1, 2, 0)
            x = warp_image(self, image, Transforms.of([transform_parameters]), image.dtype)
        else:
            x = flip(x, transform_parameters, self.row_axis - 1, self.col_axis - 1)
        return change_levels(x, transform_parameters, self.channel_axis - 1)

    def random_transform(self, x: Any, seed: int | None = None) -> Any:
        """Transform one image, rank 3, by parameters drawn for it."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def standardize(self, x: Any) -> Any:
        """Apply `preprocessing_function`, `rescale` and the normalisations, in that order.

        Parameters
        ----------
        x : ndarray
            One image or a batch, changed in place where NumPy can: pass a copy to keep it.
            Samplewise statistics are those of all of `x`.

        Returns
        -------
        ndarray

        Raises
        ------
        TypeError
            If an integer array is to be multiplied by a fraction (NumPy's casting error).

        Warns
        -----
        UserWarning
            If a statistic is missing because `fit` was not called; the step is skipped.
        """
        warn_if_not_fitted(self)
        return whiten(self, standardize_levels(self, x))

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Compute the mean, standard deviation and ZCA matrix that the options ask for.

        `rescale` is applied first, `preprocessing_function` is not, as in Keras. The data are
        read in chunks and summed in float64, so that memory does not grow with their number; ZCA
        alone keeps up to d x d numbers for images of d values.

        Parameters
        ----------
        x : array, rank 4, or an iterator
            Images in the generator's data format, or what `flow_from_directory`,
            `flow_from_dataframe` or `flow` of this generator returned: its images as they were
            read, each once.
        augment : bool
            Take the statistics of randomly transformed copies.
        rounds : int
            Number of copies of each image with `augment`.
        seed : int or None
            Seeds NumPy's global generator first.

        Raises
        ------
        ValueError
            If `x` is not of rank 4 or has no images.
        """
        if isinstance(x, ImageIterator):
            read, shape = x.read_images, (x.n, *x.sample_shape)
        else:
            images = np.asarray(x)
            read, shape = partial(_slice_of, images), images.shape
        if len(shape) != 4:
            raise ValueError(f"Input to `.fit()` should have rank 4. Got array with shape: {shape}")
        if shape[0] == 0:
            raise ValueError(f"Input to `.fit()` has no images: its shape is {shape}.")
        warn_about_channels(shape, self.data_format, "`.fit()`")
        if seed is not None:
            np.random.seed(seed)
        fit_statistics(self, read, shape[0], shape[1:], augment, rounds)

    def without_augmentation(self) -> ImageDataGenerator:
        """Return a copy that standardises images as this one does, and transforms none."""
        still = copy.copy(self)
        still.rotation_range = still.width_shift_range = still.height_shift_range = 0
        still.shear_range = still.channel_shift_range = 0.0
        still.zoom_range = [1, 1]
        still.brightness_range = None
        still.horizontal_flip = still.vertical_flip = False
        still._is_still = True
        return still

    def warn_about_validation(self, stacklevel: int) -> None:
        """Warn once that validation images are transformed, if they are and nobody said so."""
        if self.augment_validation is not None or self._has_warned_about_validation:
            return
        if not self._transforms():
            return
        self._has_warned_about_validation = True
        warnings.warn(
            'The images of `subset="validation"` are transformed like those of training, as in '
            "Keras: figures measured on them are of pictures that do not exist. Pass "
            "`augment_validation=False` to ImageDataGenerator to leave them as they are, or "
            "`augment_validation=True` to keep this without a warning.",
            stacklevel=stacklevel,
        )

    def _transforms(self) -> bool:
        """Return whether any option changes images at random."""
        options = (
            self.rotation_range,
            self.width_shift_range,
            self.height_shift_range,
            self.shear_range,
            self.channel_shift_range,
            self.brightness_range,
            self.horizontal_flip,
            self.vertical_flip,
        )
        return any(bool(np.any(option)) for option in options) or list(self.zoom_range) != [1, 1]

    def _keeps(self, *names: str) -> bool:
        """Return whether nobody has replaced these methods, so that they need not be called."""
        return all(
            getattr(getattr(self, name), "__func__", None) is getattr(ImageDataGenerator, name)
            for name in names
        )


def _slice_of(images: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    return images[start:stop]


def _checked_data_format(data_format: str) -> str:
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            '`data_format` should be `"channels_last"` (channel after row and column) or '
            f'`"channels_first"` (channel before row and column). Received: {data_format}'
        )
    return data_format


def _checked_split(validation_split: float) -> float:
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be strictly between 0 and 1. Received: {validation_split}"
        )
    return validation_split


def _checked_cval(cval: Any) -> Any:
    try:
        float(cval)
    except (TypeError, ValueError):
        raise TypeError(f"`cval` must be a number, the level outside, got {cval!r}.") from None
    return cval


def _checked_prefetch(prefetch: Any) -> int:
    if isinstance(prefetch, bool) or not isinstance(prefetch, (int, np.integer)) or prefetch < 0:
        raise ValueError(f"`prefetch` must be a whole number of at least 0, got {prefetch!r}.")
    return int(prefetch)


def _checked_zoom(zoom_range: Any) -> list[float]:
    if isinstance(zoom_range, (float, int)):
        return [1 - zoom_range, 1 + zoom_range]
    if len(zoom_range) == 2 and all(isinstance(factor, (float, int)) for factor in zoom_range):
        return [zoom_range[0], zoom_range[1]]
    raise ValueError(
        f"`zoom_range` should be a float or a tuple or list of two floats. Received: {zoom_range}"
    )


def _checked_brightness(brightness_range: Any) -> Any:
    if brightness_range is not None and (
        not isinstance(brightness_range, (tuple, list)) or len(brightness_range) != 2
    ):
        raise ValueError(
            "`brightness_range` should be tuple or list of two floats. "
            f"Received: {brightness_range}"
        )
    return brightness_range
