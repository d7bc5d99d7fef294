"""fusewarp for Ray Data: datasets whose pictures are made by actors of a cluster.

`as_dataset` turns a `Loader` into a `ray.data.Dataset`; `Augment` and `AugmentRows` are what
``map_batches`` of a dataset of your own takes.
"""

from .integrations.ray import Augment, AugmentRows, as_dataset

__all__ = ["Augment", "AugmentRows", "as_dataset"]
