"""fusewarp for Grain: the batches of a loader as a `grain.MapDataset`."""

from .batches import as_map_dataset
from .workers import share_threads

__all__ = ["as_map_dataset", "share_threads"]
