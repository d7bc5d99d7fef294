"""fusewarp for Ray Data: a dataset of a loader, and callable classes for ``map_batches``."""

from .augment import Augment
from .augment_rows import AugmentRows
from .dataset import as_dataset

__all__ = ["Augment", "AugmentRows", "as_dataset"]
