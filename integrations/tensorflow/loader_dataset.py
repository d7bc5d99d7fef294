"""A loader as a `tf.data.Dataset`: whole batches, full static spec, no copy."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import tensorflow as tf

from ...engine import Batch, Loader
from ...engine.loader import check_is_loader
from .device_dataset import DeviceDataset


def as_dataset(
    loader: Loader,
    *,
    sample_ids: bool = False,
    as_dict: bool = False,
    device: str | None = None,
) -> Any:
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
    as_dict : bool
        Give dictionaries with the keys "images", "labels", "weights", "sample_ids", as far as the
        source has them, for a training loop of your own.
    device : str, optional
        Where the tensors are to lie, such as "GPU:0". A loader that works on the CPU gives a
        dataset that copies ahead to there, one batch; nothing can be added to it any more. For a
        loader whose Augmenter works on a CUDA device it must be that device, and what is returned
        is a `DeviceDataset`, an iterable of tensors that were never on the host.

    Returns
    -------
    tf.data.Dataset or DeviceDataset
        Elements `(images, labels)`, `(images, labels, weights)`, or `images` alone, as the
        source has labels and weights. dtypes and shapes are static but for the number of
        pictures, which is static too with `drop_remainder`; the cardinality is known, unless
        `on_error="skip"` may leave a whole batch out. Text labels become `tf.string`.

    Raises
    ------
    ValueError
        If a finite loader stands in the middle of an epoch: a dataset gives whole epochs. If the
        source has weights but no labels, which no tuple for `model.fit` can hold. If `device` is
        none of TensorFlow's, or not the one of a loader that works on a CUDA device.
    TypeError
        If labels or weights are of a type that TensorFlow has no tensors of.

    Notes
    -----
    An iteration that is given up (`break`, `del iterator`, an exception) stops the loader's work;
    a new one gives up the one before. The options keep the order, switch automatic sharding off
    (give the Loader its `shard`), and keep TensorFlow from reading ahead of the loader's position.

    The function runs in this process, so such a dataset cannot be sent to a tf.data service or
    saved with a model.
    """
    check_is_loader(loader)
    if loader.epochs is not None and loader.state_dict()["step"] != 0:
        raise ValueError(
            f"The loader stands at {loader.state_dict()}, inside an epoch. To resume there, make "
            "it with epochs=None and give model.fit the `steps_per_epoch` that are left."
        )
    fields = _fields(loader, sample_ids, as_dict)

    def element(batch: Batch) -> Any:
        values = {name: getattr(batch, name) for name in fields}
        return values if as_dict else _tuple_or_one(values)

    if loader.augmenter.device.kind == "cuda":
        if device is None:
            raise ValueError(
                "The loader's batches lie on a CUDA device, a tf.data.Dataset runs on the host. "
                'Give `device="GPU:0"` for an iterable of tensors there.'
            )
        return DeviceDataset(loader, device, lambda: _whole_epochs(loader), element)

    def elements() -> Iterator[Any]:
        with closing(_whole_epochs(loader)) as batches:
            for batch in batches:
                yield element(batch)

    specs = _specs(loader, fields)
    signature = specs if as_dict else _tuple_or_one(specs)
    dataset = tf.data.Dataset.from_generator(elements, output_signature=signature)
    if loader.epochs is None or loader.on_error == "raise":  # "skip" may leave out a whole batch
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(_cardinality(loader)))
    dataset = dataset.with_options(_options())
    if device is None:
        return dataset
    return dataset.apply(tf.data.experimental.prefetch_to_device(device, buffer_size=1))


def _fields(loader: Loader, sample_ids: bool, as_dict: bool) -> list[str]:
    source = loader.source
    if source.labels is None and source.weights is not None and not as_dict:
        raise ValueError(
            "The source has weights but no labels; give it labels, or no weights, or ask for "
            "as_dict=True."
        )
    present = {"labels": source.labels, "weights": source.weights}
    fields = ["images", *(name for name, values in present.items() if values is not None)]
    return [*fields, "sample_ids"] if sample_ids else fields


def _tuple_or_one(values: dict[str, Any]) -> Any:
    return tuple(values.values()) if len(values) > 1 else next(iter(values.values()))


def _whole_epochs(loader: Loader) -> Any:
    state = loader.state_dict()
    if loader.epochs is not None and state["step"] != 0:
        loader.load_state_dict({**state, "step": 0})
    return iter(loader)


def _cardinality(loader: Loader) -> int:
    if loader.epochs is None:
        return int(tf.data.INFINITE_CARDINALITY)
    return len(loader) * loader.epochs


def _specs(loader: Loader, fields: list[str]) -> dict[str, Any]:
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
    return {
        name: tf.TensorSpec((count, *arrays[name][0]), _tensor_dtype(name, arrays[name][1]))
        for name in fields
    }


def _tensor_dtype(name: str, dtype: np.dtype[Any]) -> Any:
    try:
        return tf.as_dtype(dtype)
    except TypeError:
        raise TypeError(
            f"The source's {name} are {dtype}, which TensorFlow has no tensors of; give numbers, "
            "truth values or text."
        ) from None


def _all_batches_full(loader: Loader) -> bool:
    if loader.on_error == "skip":
        return False
    return loader.drop_remainder or loader.shard_samples % loader.batch_size == 0


def _options() -> Any:
    options = tf.data.Options()
    options.deterministic = True
    # The loader prefetches; TensorFlow's own would run the loader's position ahead of the model.
    options.experimental_optimization.inject_prefetch = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
