"""fusewarp for PyTorch: datasets for `torch.utils.data.DataLoader`.

`as_iterable_dataset` turns a `Loader` into an `IterableDataset` of whole batches; `as_map_dataset`
turns a source and an `Augmenter` into a dataset that a sampler of PyTorch chooses from.
"""

from .integrations.torch import as_iterable_dataset, as_map_dataset

__all__ = ["as_iterable_dataset", "as_map_dataset"]
