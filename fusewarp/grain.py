"""fusewarp for Grain: the batches of a `Loader` as a `grain.MapDataset`.

`as_map_dataset` makes it; `share_threads` is the `worker_init_fn` of its worker processes.
"""

from .integrations.grain import as_map_dataset, share_threads

__all__ = ["as_map_dataset", "share_threads"]
