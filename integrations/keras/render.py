"""From source images and drawn parameters to the finished images of a batch, each written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.levels import change_levels as change_levels_of_rows
from ...kernels.levels import standardize as standardize_rows
from .draws import draw_transforms
from .geometry import TransformParameters, Transforms
from .levels import change_brightness, shift_channels
from .rows import channel_pattern, in_rows, opaque_pattern
from .standardize import (
    EPSILON,
    channel_affine,
    feature_patterns,
    preprocess,
    standardize_levels,
    warn_if_not_fitted,
    whiten,
)
from .warping import can_fuse, kernel_maps, resized_maps, warp_fused, warp_image


class Picked(NamedTuple):
    """Images (n, height, width, channels) that are `sources`, (n,) int64, of an array."""

    array: NDArray[Any]
    sources: NDArray[np.int64]


Images = NDArray[Any] | Picked | list[NDArray[Any]]

_FUSED_DTYPES = (np.float32, np.float16)


@dataclass(frozen=True)
class TransformPlan:
    """What to do to the images of a batch or of a part of it.

    `transforms` are the drawn parameters as arrays, with `inverse_maps` (n, 2, 3) made of them; or
    `parameters` holds dictionaries, for a generator that does not work by ours.
    """

    transforms: Transforms | None = None
    inverse_maps: NDArray[np.float32] | None = None
    parameters: Sequence[TransformParameters] = ()

    def part(self, start: int, stop: int) -> TransformPlan:
        """Return the plan of the images `start` to `stop`."""
        return TransformPlan(
            None if self.transforms is None else self.transforms.part(start, stop),
            None if self.inverse_maps is None else self.inverse_maps[start:stop],
            self.parameters[start:stop],
        )


class Renderer:
    """Turns source images and drawn parameters into finished images of a batch.

    Four ways, the first that is possible: `fused` writes warp, flips and standardisation in one
    pass of the kernel; `passes` follows the warp with one pass for what needs the whole warped
    image; `steps` does one thing after the other in NumPy, for batches that are not float32 or
    float16; `public` calls the generator's methods because somebody has overridden them.

    Parameters
    ----------
    generator : ImageDataGenerator or an object with its methods
    image_shape : tuple of int
        Of one image in the generator's data format.
    pixel_dtype, batch_dtype : dtype
        What Keras computes in, and what it stores.
    """

    def __init__(
        self,
        generator: Any,
        image_shape: tuple[int, ...],
        pixel_dtype: np.dtype[Any],
        batch_dtype: np.dtype[Any],
    ) -> None:
        self.generator = generator
        self._image_shape = image_shape
        self._pixel_dtype = pixel_dtype
        self._is_own = is_own(generator, "apply_transform", "standardize")
        self._is_float = pixel_dtype.kind == "f" and batch_dtype in _FUSED_DTYPES
        self._warps = self._whitens_batch = False
        self._patterns: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._scaling: _Scaling | None = None
        if self._is_own:
            self._whitens_batch = generator.zca_whitening and batch_dtype.kind == "f"
            self._warps = self._is_float and can_fuse(generator)
            if self._is_float:
                self._patterns = feature_patterns(generator, image_shape)
            if self._warps:
                self._scaling = _scaling(generator, image_shape[generator.channel_axis - 1])

    def warn(self) -> None:
        """Warn of statistics that are missing."""
        if self._is_own:
            warn_if_not_fitted(self.generator)

    def plan(self, count: int, rng: Any) -> TransformPlan:
        """Draw the parameters of `count` images, in Keras' order, and compose their maps."""
        generator = self.generator
        if self._is_own and is_own(generator, "get_random_transform"):
            transforms = draw_transforms(generator, *self._size(), count, rng)
        else:
            draw = _no_transform if is_still(generator) else generator.get_random_transform
            parameters = [draw(self._image_shape) for _ in range(count)]
            if not self._is_own:
                return TransformPlan(parameters=parameters)
            transforms = Transforms.of(parameters)
        maps = kernel_maps(generator, transforms, *self._size()) if self._warps else None
        return TransformPlan(transforms, maps)

    def images_at_once(self, plan: TransformPlan) -> int:
        """Return how many images to render in one call: what it works on should stay in cache."""
        values = max(1, int(np.prod(self._image_shape)))
        return max(1, 2**22 // (values if self._is_fused(plan) else 4 * values))

    def render(self, images: Images, plan: TransformPlan, out: NDArray[Any]) -> None:
        """Write `images`, channels last, into `out`, in the generator's data format.

        Those in a list may have other sizes than the batch's: the warp resizes them.
        """
        if plan.transforms is None:
            self._render_public(images, plan.parameters, out)
        elif self._is_fused(plan):
            self._render_fused(images, plan, plan.transforms, out)
        elif self._is_float:
            self._render_passes(images, plan, plan.transforms, out)
        else:
            self._render_steps(images, plan.transforms, out)

    def finish(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Do what is cheaper for the batch as a whole: the ZCA product."""
        if self._whitens_batch and len(batch):
            batch[...] = whiten(self.generator, batch)
        return batch

    def _is_fused(self, plan: TransformPlan) -> bool:
        transforms = plan.transforms
        return not (self._scaling is None or transforms is None or transforms.change_levels())

    def _render_fused(
        self, images: Images, plan: TransformPlan, transforms: Transforms, out: NDArray[Any]
    ) -> None:
        assert self._scaling is not None
        gain, bias, is_uniform, colour = self._scaling
        # Float levels that only change place must not be interpolated: inf and NaN would spread.
        can_copy = is_uniform or _is_float(images)
        moved = transforms.are_moved()
        if isinstance(images, list) or not can_copy or moved.any():
            self._warp(images, plan, out, colour)
            if moved.all() or not _is_float(images):
                return
        axis = self.generator.channel_axis - 1
        images = _gathered(images)
        for i in np.flatnonzero(~moved):
            image = images[i]
            source = self._flipped(image, transforms.flips[i])
            if is_uniform:
                scale_levels(source, gain[0], bias[0], out[i])
                continue
            planes = zip(np.moveaxis(source, axis, 0), gain, bias, strict=True)
            for target, plane in zip(np.moveaxis(out[i], axis, 0), planes, strict=True):
                scale_levels(*plane, target)

    def _warp(
        self,
        images: Images,
        plan: TransformPlan,
        out: NDArray[Any],
        colour: NDArray[np.float32] | None,
    ) -> None:
        assert plan.inverse_maps is not None
        if not isinstance(images, list):
            array, sources = images if isinstance(images, Picked) else (images, None)
            colours = None if colour is None else np.tile(colour, (len(out), 1, 1))
            warp_fused(self.generator, array, plan.inverse_maps, out, colours, sources)
            return
        colours = None if colour is None else colour[np.newaxis]
        for i, image in enumerate(images):
            maps = resized_maps(plan.inverse_maps[i : i + 1], self._size(), image.shape[:2])
            warp_fused(self.generator, image[np.newaxis], maps, out[i : i + 1], colours)

    def _render_passes(
        self, images: Images, plan: TransformPlan, transforms: Transforms, out: NDArray[Any]
    ) -> None:
        generator = self.generator
        work = out if out.dtype == np.float32 else np.empty(out.shape, np.float32)
        self._warp_levels(images, plan, transforms, work)
        if transforms.change_levels():
            shifts, factors = transforms.levels.T.astype(np.float32, order="C")
            opaque = opaque_pattern(self._image_shape, generator.channel_axis - 1)
            change_levels_of_rows(in_rows(work, generator.channel_axis), shifts, factors, opaque)
        if generator.preprocessing_function:
            for image in work:
                preprocess(generator.preprocessing_function, image)
        self._standardize(work, out)

    def _warp_levels(
        self, images: Images, plan: TransformPlan, transforms: Transforms, work: NDArray[Any]
    ) -> None:
        """Write the warped and flipped levels, float32, into `work`."""
        moved = transforms.are_moved()
        if isinstance(images, list) or (
            self._warps and moved.any() and (moved.all() or not _is_float(images))
        ):
            self._warp(images, plan, work, None)
            return
        images = _gathered(images)
        for i, image in enumerate(images):
            if not moved[i]:
                np.copyto(work[i], self._flipped(image, transforms.flips[i]), casting="unsafe")
            elif self._warps:
                part = plan.part(i, i + 1)
                self._warp(images[i : i + 1], part, work[i : i + 1], None)
            else:
                work[i] = self._warp_alone(image, transforms.part(i, i + 1), None)

    def _standardize(self, work: NDArray[np.float32], out: NDArray[Any]) -> None:
        generator = self.generator
        patterns = self._patterns
        samplewise = generator.samplewise_center or generator.samplewise_std_normalization
        if out is work and not (generator.rescale or samplewise or patterns):
            return
        ones = np.ones(self._image_shape[generator.channel_axis - 1], np.float32)
        neutral = channel_pattern(ones, self._image_shape, generator.channel_axis - 1)
        means, gains = patterns or (neutral - 1, neutral)
        standardize_rows(
            in_rows(work, generator.channel_axis),
            in_rows(out, generator.channel_axis),
            scale=generator.rescale or 1.0,
            is_centered=bool(generator.samplewise_center),
            is_scaled=bool(generator.samplewise_std_normalization),
            epsilon=EPSILON,
            means=means,
            gains=gains,
        )

    def _render_steps(self, images: Images, transforms: Transforms, out: NDArray[Any]) -> None:
        images = _own_copies(images)
        for i, target in enumerate(out):
            pixels = self._finish_steps(images[i], transforms.part(i, i + 1), target)
            if pixels is not target:
                target[...] = pixels

    def _finish_steps(
        self, image: NDArray[Any], transform: Transforms, target: NDArray[Any]
    ) -> Any:
        """Return the finished image: `target` itself where the steps could work in it."""
        generator = self.generator
        pixels = target if target.dtype == self._pixel_dtype else None
        if transform.are_moved()[0]:
            pixels = self._warp_alone(image, transform, pixels)
        else:
            moved = self._flipped(image, transform.flips[0])
            pixels = np.empty(moved.shape, self._pixel_dtype) if pixels is None else pixels
            np.copyto(pixels, moved, casting="unsafe")
        shift, factor = (None if np.isnan(x) else x for x in transform.levels[0].tolist())
        levels = {"channel_shift_intensity": shift, "brightness": factor}
        pixels = change_levels(pixels, levels, generator.channel_axis - 1)
        pixels = standardize_levels(generator, pixels)
        return pixels if self._whitens_batch else whiten(generator, pixels)

    def _warp_alone(
        self, image: NDArray[Any], transform: Transforms, out: NDArray[Any] | None
    ) -> NDArray[Any]:
        return warp_image(self.generator, image, transform, self._pixel_dtype, out)

    def _render_public(
        self, images: Images, parameters: Sequence[TransformParameters], out: NDArray[Any]
    ) -> None:
        for target, image, drawn in zip(out, _own_copies(images), parameters, strict=True):
            pixels = self._in_data_format(image).astype(self._pixel_dtype, order="C")
            pixels = self.generator.apply_transform(pixels, drawn)
            target[...] = self.generator.standardize(pixels)

    def _size(self) -> tuple[int, int]:
        """Return the images' height and width."""
        row_axis = 1 if self.generator.data_format == "channels_first" else 0
        return self._image_shape[row_axis], self._image_shape[row_axis + 1]

    def _flipped(self, image: NDArray[Any], flips: NDArray[np.bool_]) -> NDArray[Any]:
        vertical, horizontal = flips
        image = image[::-1] if vertical else image
        return self._in_data_format(image[:, ::-1] if horizontal else image)

    def _in_data_format(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.generator.data_format == "channels_first":
            image = image.transpose(2, 0, 1)
        return image


def is_still(generator: Any) -> bool:
    """Return whether this is a copy made by `without_augmentation`."""
    return bool(getattr(generator, "_is_still", False))


def _no_transform(image_shape: tuple[int, ...]) -> dict[str, Any]:
    return {}


def is_own(generator: Any, *names: str) -> bool:
    """Return whether these methods are our class's own, so that they need not be called."""
    return hasattr(generator, "_keeps") and bool(generator._keeps(*names))


def _gathered(images: Images) -> NDArray[Any] | list[NDArray[Any]]:
    return images.array[images.sources] if isinstance(images, Picked) else images


def _own_copies(images: Images) -> list[NDArray[Any]]:
    """Copy images that may lie in scratch memory: a user's function could read files into it."""
    return [np.array(image) for image in _gathered(images)]


def _is_float(images: Images) -> bool:
    array = images.array if isinstance(images, Picked) else images
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


class _Scaling(NamedTuple):
    """Standardisation as ``levels * gain + bias``, (C,) each, and as a colour matrix (C, C + 1).

    `colour` is None where it would change nothing.
    """

    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    is_uniform: bool
    colour: NDArray[np.float32] | None


def _scaling(generator: Any, channels: int) -> _Scaling | None:
    affine = channel_affine(generator, channels)
    if affine is None:
        return None
    gain, bias = (part.astype(np.float32) for part in affine)
    is_uniform = bool((gain == gain[0]).all() and (bias == bias[0]).all())
    colour = np.column_stack([np.diag(gain), bias]).astype(np.float32)
    is_neutral = bool((gain == 1).all() and not bias.any())
    return _Scaling(gain, bias, is_uniform, None if is_neutral else colour)


def scale_levels(
    levels: NDArray[Any], gain: np.float32, bias: np.float32, out: NDArray[Any]
) -> None:
    """Write ``levels * gain + bias``, computed in float32, into `out`."""
    np.multiply(levels, gain, out=out, dtype=np.float32)  # NumPy 1 would take float16 for uint8
    if bias != 0:
        out += bias


def change_levels(
    image: NDArray[Any], parameters: TransformParameters, channel_axis: int
) -> NDArray[Any]:
    """Apply the channel shift and the brightness of one image, those that were drawn."""
    if parameters.get("channel_shift_intensity") is not None:
        image = shift_channels(image, parameters["channel_shift_intensity"])
    if parameters.get("brightness") is not None:
        image = change_brightness(image, parameters["brightness"], channel_axis)
    return image
