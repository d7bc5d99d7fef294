"""The engine: policies, plans, sources, order, threads and the loader. Knows no framework."""

from .array_record_source import ArrayRecordSource
from .augmenter import Augmenter
from .batch import Batch, Skipped
from .block_order import BlockShuffle
from .cuda_memory import DeviceMemoryError
from .device_batch import DeviceBatch
from .devices import DeviceError
from .errors import SampleError
from .files import FolderSource
from .leakage import (
    Leak,
    check_no_leaks,
    check_no_unseen_classes,
    find_leaks,
    group_copies,
)
from .loader import Loader
from .mixing import ConcatSource, WeightedShuffle
from .packed import PackedSource
from .parquet_source import ParquetSource
from .policy import Policy
from .sources import ArraySource
from .split import stratified_split, train_validation_test_split
from .table import TableSource
from .tar_source import TarSource
from .tfrecord_source import TFRecordSource

__all__ = [
    "ArrayRecordSource",
    "ArraySource",
    "Augmenter",
    "Batch",
    "BlockShuffle",
    "ConcatSource",
    "DeviceBatch",
    "DeviceError",
    "DeviceMemoryError",
    "FolderSource",
    "Leak",
    "Loader",
    "PackedSource",
    "ParquetSource",
    "Policy",
    "SampleError",
    "Skipped",
    "TFRecordSource",
    "TableSource",
    "TarSource",
    "WeightedShuffle",
    "check_no_leaks",
    "check_no_unseen_classes",
    "find_leaks",
    "group_copies",
    "stratified_split",
    "train_validation_test_split",
]
