"""A batch while it is made: parameters drawn at once, pixels on the pool's threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.buffers import BufferPool
from ...engine.threads import Job, Lane
from .render import Images, Renderer, TransformPlan

ReadBlock = Callable[[int, int], Images]

_SLICES_PER_THREAD = 2  # a thread that is done goes on with the next batch


class ImageBatch:
    """The images of one batch, being made.

    All parameters are drawn by whoever makes this object: the random numbers come in Keras' order
    and the pixels, which need none, do not depend on the number of threads.

    Parameters
    ----------
    generator : ImageDataGenerator or an object with its methods
        Anything else than our own class is used through `get_random_transform`,
        `apply_transform` and `standardize`, and so is a subclass that overrides one of them.
    read_block : callable
        ``read_block(start, stop)`` returns these of the batch's images, channels last: an array
        (n, height, width, channels), `Picked` ones of a larger array, or a list of arrays of
        other sizes, which the warp resizes.
        Called from several threads.
    count : int
        Number of images.
    image_shape : tuple of int
        Shape of one image in the generator's data format.
    pixel_dtype, batch_dtype : dtype
        What Keras computes in, and what it stores.
    buffers : BufferPool
        Where the batch's memory comes from.
    lane : Lane
        Where it is made.
    rng : numpy.random.RandomState
        What to draw from.
    """

    def __init__(
        self,
        generator: Any,
        read_block: ReadBlock,
        count: int,
        image_shape: tuple[int, ...],
        pixel_dtype: np.dtype[Any],
        batch_dtype: np.dtype[Any],
        buffers: BufferPool,
        lane: Lane,
        rng: Any,
    ) -> None:
        self._images = buffers.empty((count, *image_shape), batch_dtype)
        self._renderer = Renderer(generator, image_shape, pixel_dtype, self._images.dtype)
        self._job: Job | None = None
        if draws_between_images(generator):
            self._make_in_turn(read_block, rng)
            return
        make = self._slice_maker(read_block, self._renderer.plan(count, rng))
        slice_size = max(1, -(-count // (lane.threads * _SLICES_PER_THREAD)))
        self._job = lane.start(make, count, slice_size)

    def result(self) -> NDArray[Any]:
        """Wait for the images, and warn of what was missing.

        Raises
        ------
        Exception
            Whatever reading or rendering an image raised, once nothing is working on the batch.
        """
        if self._job is not None:
            try:
                self._job.wait()
            except BaseException:  # Ctrl-C too: nothing may be writing when the caller goes on
                self.cancel()
                raise
        self._renderer.warn()
        return self._renderer.finish(self._images)

    def cancel(self) -> None:
        """Skip what has not begun, and wait for what has."""
        if self._job is not None:
            self._job.cancel()
            self._job.finish()

    def _slice_maker(
        self, read_block: ReadBlock, plan: TransformPlan
    ) -> Callable[[int, int], None]:
        renderer, images = self._renderer, self._images
        block_size = renderer.images_at_once(plan)

        def make(start: int, stop: int) -> None:
            for at in range(start, stop, block_size):
                end = min(at + block_size, stop)
                renderer.render(read_block(at, end), plan.part(at, end), images[at:end])

        return make

    def _make_in_turn(self, read_block: ReadBlock, rng: Any) -> None:
        for at in range(len(self._images)):
            plan = self._renderer.plan(1, rng)
            self._renderer.render(read_block(at, at + 1), plan, self._images[at : at + 1])


def draws_between_images(generator: Any) -> bool:
    """Return whether a user's function is to find the generator's state that it finds in Keras.

    With ``threads=1`` a `preprocessing_function` that draws random numbers itself gets them between
    the images' own.
    """
    return bool(
        getattr(generator, "threads", None) == 1
        and getattr(generator, "preprocessing_function", None)
    )
