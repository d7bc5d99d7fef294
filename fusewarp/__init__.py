"""fusewarp: image augmentation in one fused pass over each picture."""

from pathlib import Path

_HERE = Path(__file__).parent
if not (_HERE / "engine").is_dir():  # a checkout that is not installed: the rooms lie beside us
    __path__.append(str(_HERE.parent))

from . import kernels  # noqa: E402
from .engine import (  # noqa: E402
    ArrayRecordSource,
    ArraySource,
    Augmenter,
    Batch,
    BlockShuffle,
    ConcatSource,
    DeviceBatch,
    DeviceError,
    DeviceMemoryError,
    FolderSource,
    Loader,
    PackedSource,
    ParquetSource,
    Policy,
    SampleError,
    TableSource,
    TarSource,
    TFRecordSource,
    WeightedShuffle,
    check_no_leaks,
    group_copies,
    stratified_split,
    train_validation_test_split,
)

__version__ = "0.1.0"

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
    "Loader",
    "PackedSource",
    "ParquetSource",
    "Policy",
    "SampleError",
    "TFRecordSource",
    "TableSource",
    "TarSource",
    "WeightedShuffle",
    "check_no_leaks",
    "group_copies",
    "kernels",
    "stratified_split",
    "train_validation_test_split",
]
