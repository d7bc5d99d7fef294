"""fusewarp for TensorFlow: `as_dataset` turns a `Loader` into a `tf.data.Dataset`."""

from .integrations.tensorflow import as_dataset, from_dataset

__all__ = ["as_dataset", "from_dataset"]
