"""The engine: policies, plans, sources, order, threads and the loader. Knows no framework."""

from .augmenter import Augmenter
from .errors import SampleError
from .loader import Batch, Loader, Skipped
from .packed import PackedSource
from .policy import Policy
from .sources import ArraySource, FolderSource
from .split import stratified_split, train_validation_test_split

__all__ = [
    "ArraySource",
    "Augmenter",
    "Batch",
    "FolderSource",
    "Loader",
    "PackedSource",
    "Policy",
    "SampleError",
    "Skipped",
    "stratified_split",
    "train_validation_test_split",
]
