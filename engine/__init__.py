"""The engine: policies, plans, sources, order, threads and the loader. Knows no framework."""

from .augmenter import Augmenter
from .errors import SampleError
from .files import FolderSource
from .loader import Batch, Loader, Skipped
from .packed import PackedSource
from .policy import Policy
from .sources import ArraySource
from .split import stratified_split, train_validation_test_split
from .table import TableSource

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
    "TableSource",
    "stratified_split",
    "train_validation_test_split",
]
