"""Keras' global settings, and its `PyDataset`; stand-ins where Keras is not installed.

The drop-in augments with NumPy alone, so it works without Keras, for PyTorch or JAX loops.
"""

from __future__ import annotations

import importlib.util
from typing import Any

HAS_KERAS = importlib.util.find_spec("keras") is not None

if HAS_KERAS:
    from keras.utils import PyDataset as PyDataset
else:

    class PyDataset:  # type: ignore[no-redef]
        """The three settings that `keras.utils.PyDataset` has."""

        def __init__(
            self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
        ) -> None:
            self.workers = workers
            self.use_multiprocessing = use_multiprocessing
            self.max_queue_size = max_queue_size


def floatx() -> str:
    """Return Keras' default float type, `float32` without Keras."""
    return str(_config().floatx()) if HAS_KERAS else "float32"


def image_data_format() -> str:
    """Return Keras' default data format, `channels_last` without Keras."""
    return str(_config().image_data_format()) if HAS_KERAS else "channels_last"


def is_interactive() -> bool:
    """Return whether messages are printed rather than logged, as Keras is set."""
    return bool(_config().is_interactive_logging_enabled()) if HAS_KERAS else True


def _config() -> Any:
    import keras

    return keras.config
