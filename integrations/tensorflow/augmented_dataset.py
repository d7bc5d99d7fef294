"""Our augmentation over a tf.data pipeline that exists already."""

from itertools import count
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ...engine import Augmenter
from ...engine.buffers import BufferPool

_LEVELS = (tf.uint8, tf.uint16)


def from_dataset(ds: Any, augmenter: Augmenter, *, first_epoch: int = 0, prefetch: int = 2) -> Any:
    """Return the dataset with the pictures of every batch resized and augmented.

    TensorFlow reads, decodes and batches as before; Python is entered once per batch, and the
    augmenter's threads do the work. The new batch is taken over without a copy.

    Parameters
    ----------
    ds : tf.data.Dataset
        Of batches of raw pictures, (n, height, width, channels) uint8 or uint16. Elements are the
        images alone, a tuple that begins with them, such as `(images, labels, weights)`, or a
        dictionary with the key "images"; all the rest is passed on as it is.
    augmenter : Augmenter
        With a `size`, unless all pictures of the dataset are of one known size.
    first_epoch : int
        The number of the first iteration.
    prefetch : int
        Batches made ahead of the one that is asked for; 0 makes none.

    Returns
    -------
    tf.data.Dataset
        As many elements of the same structure; images have the augmenter's size, layout and dtype,
        all static but for the number of pictures, which is what it was.

    Raises
    ------
    TypeError
        If the images are floats, or `ds` or `augmenter` is something else.
    ValueError
        If the dataset is not batched, the pictures' rank or channels are not static, their size is
        neither static nor given by the augmenter, or the policy does not fit the channels.

    Notes
    -----
    A sample's id is its place in the iteration, counted from 0, and each iteration is an epoch:
    the first is number `first_epoch`. So a run repeats exactly if the dataset's order does, and
    a picture that a shuffle moved is augmented as its new place says. Keras looks at one batch of
    a model that has not been built yet; that counts as an iteration.
    """
    if not isinstance(ds, tf.data.Dataset):
        raise TypeError(f"`ds` must be a tf.data.Dataset, got {type(ds).__name__}.")
    if not isinstance(augmenter, Augmenter):
        raise TypeError(f"`augmenter` must be an Augmenter, got {type(augmenter).__name__}.")
    if augmenter.device.kind != "cpu":
        raise ValueError(
            "`augmenter` must work on the CPU: what tf.data maps runs there. To augment on a GPU, "
            'make a Loader and `as_dataset(loader, device="GPU:0")`.'
        )
    spec = _checked_spec(_images_of(ds.element_spec), augmenter)
    size = augmenter.size or tuple(spec.shape[1:3])
    shape = augmenter.batch_shape(0, size, spec.shape[3])[1:]
    buffers = BufferPool(max_free=prefetch + 2)

    def augment(images: NDArray[Any], first_id: int, epoch: int) -> NDArray[Any]:
        out = buffers.empty((len(images), *shape), augmenter.dtype)
        if len(images) == 0:
            return out
        ids = np.arange(first_id, first_id + len(images))
        augmenter.apply(images, ids, int(epoch), out)
        return out

    def augmented(epoch: Any, first_id: Any, element: Any) -> Any:
        arguments = [_images_of(element), first_id, epoch]
        images = tf.numpy_function(augment, arguments, tf.as_dtype(augmenter.dtype))
        images.set_shape((spec.shape[0], *shape))
        return _with_images(element, images)

    dataset = _numbered(ds, first_epoch).map(augmented)
    if prefetch:
        dataset = dataset.prefetch(prefetch)
    known = ds.cardinality()
    if known != tf.data.UNKNOWN_CARDINALITY:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(known))
    return dataset


def _numbered(ds: Any, first_epoch: int) -> Any:
    """Return a dataset of (epoch, id of the batch's first sample, element)."""
    numbers = count(first_epoch)

    def next_epoch(_: Any) -> Any:
        return tf.numpy_function(lambda: np.int64(next(numbers)), [], tf.int64)

    def with_first_id(first_id: Any, numbered: tuple[Any, Any]) -> tuple[Any, Any]:
        epoch, element = numbered
        num_samples = tf.shape(_images_of(element), tf.int64)[0]
        return first_id + num_samples, (epoch, first_id, element)

    # Drawn once at the start of each iteration, then repeated beside every element.
    epochs = tf.data.Dataset.range(1).map(next_epoch)
    epochs = epochs.flat_map(lambda epoch: tf.data.Dataset.from_tensors(epoch).repeat())
    return tf.data.Dataset.zip(epochs, ds).scan(np.int64(0), with_first_id)


def _images_of(element: Any) -> Any:
    if isinstance(element, dict):
        if "images" not in element:
            raise ValueError(
                f'Elements that are dictionaries need the key "images", got {sorted(element)}.'
            )
        return element["images"]
    return element[0] if isinstance(element, tuple) else element


def _with_images(element: Any, images: Any) -> Any:
    if isinstance(element, dict):
        return {**element, "images": images}
    return (images, *element[1:]) if isinstance(element, tuple) else images


def _checked_spec(spec: Any, augmenter: Augmenter) -> Any:
    if not isinstance(spec, tf.TensorSpec):
        raise ValueError(
            f"The dataset's images must be dense tensors of one size per batch, got {spec}. Resize "
            "and batch them first: `ds.map(resize).batch(32)`."
        )
    if spec.dtype not in _LEVELS:
        raise TypeError(
            f"The dataset's images must be raw levels, uint8 or uint16, got {spec.dtype.name}. "
            "Leave rescaling and normalisation out of it and give them to the Policy (`rescale`, "
            "`mean`, `std`), or convert the levels: `tf.cast(images, tf.uint8)`."
        )
    _check_shape(spec.shape, augmenter)
    channels = spec.shape[3]
    size = augmenter.size or tuple(spec.shape[1:3])
    ids = np.zeros(1, np.int64)  # what the policy cannot do with such pictures is refused here
    augmenter.plan(ids, 0, size=size, channels=channels, source_dtype=spec.dtype.as_numpy_dtype)
    return spec


def _check_shape(shape: Any, augmenter: Augmenter) -> None:
    if shape.rank is None:
        raise ValueError(
            "The dataset's images have no static rank; state their shape before: "
            "`tf.ensure_shape(images, (None, height, width, 3))`."
        )
    if shape.rank == 3:
        raise ValueError(
            f"The dataset's images have the shape {tuple(shape)}: it is not batched. Give "
            "`ds.batch(32)`."
        )
    if shape.rank != 4:
        raise ValueError(
            "The dataset's images must be (n, height, width, channels), got the shape "
            f"{tuple(shape)}."
        )
    if shape[3] is None:
        raise ValueError(
            f"The dataset's images have an unknown number of channels, {tuple(shape)}; state it: "
            "`tf.ensure_shape(images, (None, None, None, 3))`, or `decode_jpeg(..., channels=3)`."
        )
    if augmenter.size is None and None in tuple(shape[1:3]):
        raise ValueError(
            f"The dataset's images have no static size, {tuple(shape)}; give the Augmenter a "
            "`size`."
        )
