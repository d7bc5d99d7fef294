"""A batch as what Grain hands on: NumPy arrays in a tuple or a dictionary."""

from typing import Any

from ...engine import Batch
from ...engine.sources import Source


class Elements:
    """Turns batches into elements, which share their memory.

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
    """

    def __init__(self, source: Source, sample_ids: bool, as_dict: bool) -> None:
        if source.labels is None and source.weights is not None and not as_dict:
            raise ValueError(
                "The source has weights but no labels; give it labels, or no weights, or ask for "
                "as_dict=True."
            )
        present = [name for name in ("labels", "weights") if getattr(source, name) is not None]
        self._fields = ["images", *present, *(["sample_ids"] if sample_ids else [])]
        self._as_dict = as_dict

    def of(self, batch: Batch) -> Any:
        """Return the batch as a dictionary, a tuple, or the images alone."""
        values = {name: getattr(batch, name) for name in self._fields}
        if self._as_dict:
            return values
        return tuple(values.values()) if len(values) > 1 else values["images"]
