"""fusewarp for PyTorch: an iterable dataset of a loader, and a map-style one of a source."""

from .iterable import as_iterable_dataset
from .map_style import as_map_dataset

__all__ = ["as_iterable_dataset", "as_map_dataset"]
