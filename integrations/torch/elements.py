"""A batch as tensors that share its memory."""

from typing import Any

import numpy as np
import torch

from ...engine import Batch
from ...engine.sources import Source

_TEXT = "US"
_NUMBERS = "?biuf"


class Elements:
    """Turns batches into what a dataset gives out.

    Parameters
    ----------
    source : Source
        Its labels and weights decide which fields there are.
    sample_ids : bool
        Append the sample ids.
    as_dict : bool
        Give dictionaries instead of tuples.

    Raises
    ------
    ValueError
        If the source has weights but no labels, which a tuple cannot tell.
    TypeError
        If labels or weights are neither numbers, truth values nor text.
    """

    def __init__(self, source: Source, sample_ids: bool, as_dict: bool) -> None:
        if source.labels is None and source.weights is not None and not as_dict:
            raise ValueError(
                "The source has weights but no labels; give it labels, or no weights, or ask for "
                "as_dict=True."
            )
        present = [name for name in ("labels", "weights") if getattr(source, name) is not None]
        for name in present:
            _check_type(name, getattr(source, name).dtype)
        self._fields = ["images", *present, *(["sample_ids"] if sample_ids else [])]
        self._as_dict = as_dict

    def of(self, batch: Batch) -> Any:
        """Return the batch as a dictionary, a tuple, or the images alone."""
        values = {name: as_tensor(getattr(batch, name)) for name in self._fields}
        if self._as_dict:
            return values
        return tuple(values.values()) if len(values) > 1 else values["images"]

    def rows(self, element: Any) -> list[Any]:
        """Cut what `of` returned into its samples, which share its memory."""
        if self._as_dict:
            columns = zip(*element.values(), strict=True)
            return [dict(zip(element, row, strict=True)) for row in columns]
        return list(zip(*element, strict=True) if isinstance(element, tuple) else element)


def as_tensor(values: Any) -> Any:
    """Return a tensor of the same memory, which it keeps alive; text as a list of strings.

    A `DeviceBatch` comes by DLPack: PyTorch's current stream waits for what fills it.
    """
    if not isinstance(values, np.ndarray):
        return torch.from_dlpack(values)
    return values.tolist() if values.dtype.kind in _TEXT else torch.from_numpy(values)


def _check_type(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in _NUMBERS + _TEXT:
        raise TypeError(
            f"The source's {name} are {dtype}, which PyTorch has no tensors of; give numbers, "
            "truth values or text."
        )
