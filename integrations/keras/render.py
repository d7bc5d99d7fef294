"""A batch: parameters drawn in order, then pixels in parallel, each image written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.buffers import BufferPool
from ...engine.threads import run_slices
from .draws import draw_transforms
from .geometry import TransformParameters, is_moved
from .levels import change_brightness, shift_channels
from .standardize import channel_affine, standardize_levels, warn_if_not_fitted, whiten
from .warping import can_fuse, flip, kernel_maps, warp_fused, warp_image

ReadBlock = Callable[[int, int], NDArray[Any]]

_BLOCK_BYTES = 2**20  # sources gathered before a warp; they should still be in cache then
_FUSED_DTYPES = (np.float32, np.float16)


def make_batch(
    generator: Any,
    read_block: ReadBlock,
    count: int,
    image_shape: tuple[int, ...],
    pixel_dtype: np.dtype[Any],
    batch_dtype: np.dtype[Any],
    buffers: BufferPool,
) -> NDArray[Any]:
    """Make one batch of `count` images.

    All parameters are drawn first, by the calling thread: the random numbers come in Keras' order
    and the pixels, which need none, do not depend on the number of threads.

    Parameters
    ----------
    generator : ImageDataGenerator or an object with its methods
        Anything else than our own class is used through `get_random_transform`,
        `apply_transform` and `standardize`, and so is a subclass that overrides one of them.
    read_block : callable
        ``read_block(start, stop)`` returns these of the batch's images, (n, height, width,
        channels); called from several threads.
    count : int
        Number of images.
    image_shape : tuple of int
        Shape of one image in the generator's data format.
    pixel_dtype, batch_dtype : dtype
        What Keras computes in, and what it stores.
    buffers : BufferPool
        Where the batch's memory comes from.
    """
    batch = buffers.empty((count, *image_shape), batch_dtype)
    renderer = Renderer(generator, image_shape, pixel_dtype, batch.dtype)
    if getattr(generator, "threads", None) == 1 and generator.preprocessing_function:
        # A function that draws random numbers itself gets them between the images', as in Keras.
        for at in range(count):
            plan = renderer.plan([generator.get_random_transform(image_shape)])
            renderer.render(read_block(at, at + 1), plan, batch[at : at + 1])
    else:
        _fill(renderer, read_block, renderer.plan(renderer.draw(count)), batch)
    return renderer.finish(batch)


def _fill(
    renderer: Renderer, read_block: ReadBlock, plan: TransformPlan, batch: NDArray[Any]
) -> None:
    block_size = max(1, _BLOCK_BYTES // max(1, batch[:1].nbytes))

    def fill(start: int, stop: int) -> None:
        for at in range(start, stop, block_size):
            end = min(at + block_size, stop)
            renderer.render(read_block(at, end), plan.part(at, end), batch[at:end])

    run_slices(fill, len(batch), getattr(renderer.generator, "threads", None))


@dataclass(frozen=True)
class TransformPlan:
    """What to do to the images of a batch or of a part of it.

    `inverse_maps` (n, 2, 3) and `colour` (n, C, C + 1) are those of the fused pass; without maps
    the images go through the steps one by one, and `colour` None leaves the levels.
    """

    parameters: Sequence[TransformParameters]
    inverse_maps: NDArray[np.float32] | None = None
    colour: NDArray[np.float32] | None = None

    def part(self, start: int, stop: int) -> TransformPlan:
        """Return the plan of the images `start` to `stop`."""
        return TransformPlan(
            self.parameters[start:stop],
            None if self.inverse_maps is None else self.inverse_maps[start:stop],
            None if self.colour is None else self.colour[start:stop],
        )


class Renderer:
    """Turns source images and drawn parameters into finished images of a batch.

    Three ways, the first that is possible: `fused` writes warp, flips and standardisation in one
    pass of the kernel; `steps` does them one after the other; `public` calls the generator's
    methods because somebody has overridden them.
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
        self._is_own = hasattr(generator, "_keeps") and generator._keeps(
            "apply_transform", "standardize"
        )
        self._gain_bias = None
        self._whitens_batch = False
        if self._is_own:
            warn_if_not_fitted(generator)
            self._whitens_batch = generator.zca_whitening and batch_dtype.kind == "f"
            if pixel_dtype.kind == "f" and batch_dtype in _FUSED_DTYPES and can_fuse(generator):
                self._gain_bias = channel_affine(generator, image_shape[generator.channel_axis - 1])

    def draw(self, count: int) -> list[dict[str, Any]]:
        """Draw the parameters of `count` images."""
        generator = self.generator
        if self._is_own and generator._keeps("get_random_transform"):
            return draw_transforms(generator, *self._size(), count)
        return [generator.get_random_transform(self._image_shape) for _ in range(count)]

    def plan(self, parameters: Sequence[TransformParameters]) -> TransformPlan:
        """Choose the way of these images, and compose their matrices at once if it is the fused."""
        if self._gain_bias is None or any(_changes_levels(p) for p in parameters):
            return TransformPlan(parameters)
        gain, bias = self._gain_bias
        inverse_maps = kernel_maps(self.generator, parameters, *self._size())
        colour = None
        if np.any(gain != 1) or np.any(bias != 0):
            colour = np.column_stack([np.diag(gain), bias]).astype(np.float32)
            colour = np.tile(colour, (len(parameters), 1, 1))
        return TransformPlan(parameters, inverse_maps, colour)

    def render(self, images: NDArray[Any], plan: TransformPlan, out: NDArray[Any]) -> None:
        """Write `images`, channels last, into `out`, in the generator's data format."""
        if plan.inverse_maps is not None:
            self._render_fused(images, plan, out)
            return
        for target, image, parameters in zip(out, images, plan.parameters, strict=True):
            if self._is_own:
                pixels = self._render_steps(image, parameters, target)
            else:
                pixels = self._render_public(image, parameters)
            if pixels is not target:
                target[...] = pixels

    def finish(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Do what is cheaper for the batch as a whole: the ZCA product."""
        if self._whitens_batch and len(batch):
            batch[...] = whiten(self.generator, batch)
        return batch

    def _render_fused(self, images: NDArray[Any], plan: TransformPlan, out: NDArray[Any]) -> None:
        assert self._gain_bias is not None
        assert plan.inverse_maps is not None
        gain, bias = (part.astype(np.float32) for part in self._gain_bias)
        is_uniform = bool(np.all(gain == gain[0]) and np.all(bias == bias[0]))
        # Float levels that only change place must not be interpolated: inf and NaN would spread.
        can_copy = is_uniform or images.dtype.kind == "f"
        if not can_copy or any(is_moved(p) for p in plan.parameters):
            warp_fused(self.generator, images, plan.inverse_maps, out, plan.colour)
            return
        axis = self.generator.channel_axis - 1
        for i, image in enumerate(images):
            source = self._flipped(image, plan.parameters[i])
            if is_uniform:
                scale_levels(source, gain[0], bias[0], out[i])
                continue
            planes = zip(np.moveaxis(source, axis, 0), gain, bias, strict=True)
            for target, plane in zip(np.moveaxis(out[i], axis, 0), planes, strict=True):
                scale_levels(*plane, target)

    def _render_steps(
        self, image: NDArray[Any], parameters: TransformParameters, target: NDArray[Any]
    ) -> Any:
        """Return the finished image: `target` itself where the steps could work in it."""
        generator = self.generator
        pixels = target if target.dtype == self._pixel_dtype else None
        if is_moved(parameters):
            pixels = warp_image(generator, image, parameters, self._pixel_dtype, pixels)
        elif pixels is None:
            pixels = self._flipped(image, parameters).astype(self._pixel_dtype, order="C")
        else:
            np.copyto(pixels, self._flipped(image, parameters), casting="unsafe")
        pixels = change_levels(pixels, parameters, generator.channel_axis - 1)
        pixels = standardize_levels(generator, pixels)
        return pixels if self._whitens_batch else whiten(generator, pixels)

    def _render_public(self, image: NDArray[Any], parameters: TransformParameters) -> Any:
        pixels = self._in_data_format(image).astype(self._pixel_dtype, order="C")
        pixels = self.generator.apply_transform(pixels, parameters)
        return self.generator.standardize(pixels)

    def _size(self) -> tuple[int, int]:
        """Return the images' height and width."""
        row_axis = 1 if self.generator.data_format == "channels_first" else 0
        return self._image_shape[row_axis], self._image_shape[row_axis + 1]

    def _flipped(self, image: NDArray[Any], parameters: TransformParameters) -> NDArray[Any]:
        generator = self.generator
        return flip(
            self._in_data_format(image), parameters, generator.row_axis - 1, generator.col_axis - 1
        )

    def _in_data_format(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.generator.data_format == "channels_first":
            image = image.transpose(2, 0, 1)
        return image


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


def _changes_levels(parameters: TransformParameters) -> bool:
    return (
        parameters.get("channel_shift_intensity") is not None
        or parameters.get("brightness") is not None
    )
