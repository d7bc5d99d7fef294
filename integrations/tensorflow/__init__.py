"""fusewarp for tf.data and inside models: datasets, and a layer."""

from .augmented_dataset import from_dataset
from .layer import AugmentLayer, augment_layer
from .loader_dataset import as_dataset

__all__ = ["AugmentLayer", "as_dataset", "augment_layer", "from_dataset"]
