"""The batches of a loader that works on a CUDA device, as tensors that lie there."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import tensorflow as tf

from ...engine import Batch, Loader


class DeviceDataset:
    """An iterable of tensors on a GPU, for training loops of one's own and `train_on_batch`.

    What a `tf.data.Dataset` gets from Python goes through the host's memory, so this is none:
    TensorFlow takes each batch by DLPack, where it lies.

    Parameters
    ----------
    loader : Loader
        Whose Augmenter works on a CUDA device.
    device : str
        TensorFlow's name of the same device, such as "GPU:0".
    batches : callable
        Starts an iteration over the loader.
    element : callable
        Turns a batch into what is given out.
    """

    def __init__(
        self,
        loader: Loader,
        device: str,
        batches: Callable[[], Any],
        element: Callable[[Batch], Any],
    ) -> None:
        _check_device(loader, device)
        self._loader, self._batches, self._element = loader, batches, element

    def __len__(self) -> int:
        if self._loader.epochs is None:
            raise TypeError("An endless loader has no length; it has `len(loader)` steps an epoch.")
        return len(self._loader) * self._loader.epochs

    def __iter__(self) -> Iterator[Any]:
        with closing(self._batches()) as batches:
            for batch in batches:
                yield self._element(batch._replace(images=as_tensor(batch.images)))


def as_tensor(images: Any) -> Any:
    """Return a `DeviceBatch` as a tensor of the same memory.

    TensorFlow does not tell its stream, so this waits until the batch is filled.
    """
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def _check_device(loader: Loader, device: str) -> None:
    """Refuse a device that is not the loader's, or that TensorFlow does not know."""
    allow_memory_growth()
    known = [logical.name.removeprefix("/device:") for logical in tf.config.list_logical_devices()]
    wanted = device.removeprefix("/").removeprefix("device:").upper()
    if wanted not in known:
        raise ValueError(f"`device` must be one of {', '.join(known)}, got {device!r}.")
    index = loader.augmenter.device.index
    is_simulated = loader.augmenter.is_simulated  # its memory is the host's
    if wanted != f"GPU:{index}" and not is_simulated:
        raise ValueError(
            f"`device` is {device!r}, but the loader's Augmenter works on cuda:{index}; "
            f'give "GPU:{index}", or make the Augmenter with another `device`.'
        )


def allow_memory_growth() -> None:
    """Keep TensorFlow from taking a GPU's whole memory, or say that it has done so already."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # it has been used already
            if not tf.config.experimental.get_memory_growth(gpu):
                warnings.warn(
                    "TensorFlow has taken this GPU's memory already, and fusewarp may find none. "
                    "Call tf.config.experimental.set_memory_growth(gpu, True) before anything else "
                    "uses TensorFlow, or set TF_FORCE_GPU_ALLOW_GROWTH=true.",
                    stacklevel=4,
                )
        except ValueError:  # a virtual device, whose limit somebody has set
            continue
