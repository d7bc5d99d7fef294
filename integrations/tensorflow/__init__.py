"""fusewarp for tf.data: a loader as a dataset, and our augmentation over a dataset."""

from .augmented_dataset import from_dataset
from .loader_dataset import as_dataset

__all__ = ["as_dataset", "from_dataset"]
