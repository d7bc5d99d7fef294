"""What the rows in PyTorch share: threads, and batches of processes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Runner
from ..work import Images


def use_threads(threads: int) -> None:
    """Set how many threads an operation of PyTorch may use."""
    import torch

    torch.set_num_threads(threads)


def as_tensor(images: Images) -> Any:
    """Return pictures as PyTorch wants them: (n, 3, h, w) uint8, contiguous."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def as_images(tensors: Any) -> NDArray[np.float32]:
    """Return a batch of PyTorch's, or a list of pictures, as (n, h, w, 3) float32."""
    made = np.stack([np.asarray(tensor, np.float32) for tensor in tensors])
    images: NDArray[np.float32] = made.transpose(0, 2, 3, 1)
    return images


class Dataset:
    """A data set for `DataLoader`: `load(item)` for each of `items`, in workers too."""

    def __init__(self, load: Callable[[Any], Any], items: Any) -> None:
        self.load, self.items = load, items

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """Load one item."""
        return self.load(self.items[index])


def loader_row(load: Callable[[Any], Any], items: Any, batch_size: int, threads: int) -> Runner:
    """Make a row of `DataLoader` epochs, for one thread in this process, else in worker processes.

    One worker would be slower than none. Workers stay between epochs, and each has one thread, as
    is PyTorch's own default there.
    """
    from torch.utils.data import DataLoader

    workers: dict[str, Any] = {}
    if threads > 1:
        workers = {
            "num_workers": threads,
            "persistent_workers": True,
            "multiprocessing_context": "spawn",  # to fork a process that has threads may hang
        }
    dataset: Any = Dataset(load, items)
    loader: Any = DataLoader(dataset, batch_size, shuffle=True, **workers)

    def run(laps: int) -> int:
        return sum(len(batch) for _ in range(laps) for batch in loader)

    def close() -> None:
        if loader._iterator is not None:  # PyTorch has no public way to end persistent workers
            loader._iterator._shutdown_workers()

    return Runner(run, close)
