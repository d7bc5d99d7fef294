"""A loader as a `tf.data.Dataset`: whole batches, full static spec, no copy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ..engine import Batch, Loader


def as_dataset(loader: Loader, *, sample_ids: bool = False) -> Any:
    """Return a dataset of the loader's batches, for `model.fit` and other tf.data users.

    TensorFlow takes each batch's memory as it is (64-byte aligned), without a copy. Python is
    entered once per batch; decoding and warping run on fusewarp's threads, ahead by the loader's
    `prefetch`.

    Parameters
    ----------
    loader : Loader
        With a finite `epochs`, every iteration of the dataset gives that many whole epochs: it
        starts the epoch anew if an earlier iteration was given up, so a look at the data with
        `dataset.take(1)` costs the training nothing. With `epochs=None` the dataset is endless and
        goes on from the loader's position; give `model.fit` `steps_per_epoch=len(loader)`.
    sample_ids : bool
        Append the sample ids to each element.

    Returns
    -------
    tf.data.Dataset
        Elements `(images, labels)`, `(images, labels, weights)`, or `images` alone, as the
        source has labels and weights. dtypes and shapes are static but for the number of
        pictures, which is static too with `drop_remainder`; the cardinality is known, unless
        `on_error="skip"` may leave a whole batch out.

    Raises
    ------
    ValueError
        If a finite loader stands in the middle of an epoch: a dataset gives whole epochs. If the
        source has weights but no labels, which no element of `model.fit` can hold.

    Notes
    -----
    The function runs in this process, so such a dataset cannot be sent to a tf.data service or
    saved with a model.
    """
    if loader.epochs is not None and loader.state_dict()["step"] != 0:
        raise ValueError(
            f"The loader stands at {loader.state_dict()}, inside an epoch. To resume there, make "
            "it with epochs=None and give model.fit the `steps_per_epoch` that are left."
        )
    fields = _fields(loader, sample_ids)

    def elements() -> Iterator[Any]:
        for batch in _whole_epochs(loader):
            values = tuple(getattr(batch, name) for name in fields)
            yield values if len(values) > 1 else values[0]

    dataset = tf.data.Dataset.from_generator(elements, output_signature=_spec(loader, fields))
    if loader.epochs is None or loader.on_error == "raise":  # "skip" may leave out a whole batch
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(_cardinality(loader)))
    return dataset.with_options(_options())


def _fields(loader: Loader, sample_ids: bool) -> list[str]:
    source = loader.source
    if source.labels is None and source.weights is not None:
        raise ValueError("The source has weights but no labels; give it labels, or no weights.")
    present = {"labels": source.labels, "weights": source.weights}
    fields = ["images", *(name for name, values in present.items() if values is not None)]
    return [*fields, "sample_ids"] if sample_ids else fields


def _whole_epochs(loader: Loader) -> Iterator[Batch]:
    state = loader.state_dict()
    if loader.epochs is not None and state["step"] != 0:
        loader.load_state_dict({**state, "step": 0})
    return iter(loader)


def _cardinality(loader: Loader) -> int:
    if loader.epochs is None:
        return int(tf.data.INFINITE_CARDINALITY)
    return len(loader) * loader.epochs


def _spec(loader: Loader, fields: list[str]) -> Any:
    count = loader.batch_size if _all_batches_full(loader) else None
    source = loader.source
    shape = loader.augmenter.batch_shape(0, loader.image_size, source.channels)[1:]
    arrays: dict[str, tuple[tuple[int, ...], Any]] = {
        "images": (shape, loader.augmenter.dtype),
        "sample_ids": ((), np.dtype(np.int64)),
    }
    for name in ("labels", "weights"):
        values = getattr(source, name)
        if values is not None:
            arrays[name] = (values.shape[1:], values.dtype)
    specs = tuple(
        tf.TensorSpec((count, *arrays[name][0]), tf.as_dtype(arrays[name][1])) for name in fields
    )
    return specs if len(specs) > 1 else specs[0]


def _all_batches_full(loader: Loader) -> bool:
    if loader.on_error == "skip":
        return False
    index, count = loader.shard
    share = len(range(index, len(loader.source), count))
    return loader.drop_remainder or share % loader.batch_size == 0


def _options() -> Any:
    options = tf.data.Options()
    # The loader prefetches; TensorFlow's own would run the loader's position ahead of the model.
    options.experimental_optimization.inject_prefetch = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
