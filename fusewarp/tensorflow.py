"""fusewarp for TensorFlow: datasets for `model.fit`, and a layer for inside a model.

`as_dataset` turns a `Loader` into a `tf.data.Dataset`; `from_dataset` augments a dataset that
exists already; `augment_layer` does it within the model. Importing this module registers the layer,
so that `keras.models.load_model` knows it.
"""

from .integrations.tensorflow import AugmentLayer, as_dataset, augment_layer, from_dataset

__all__ = ["AugmentLayer", "as_dataset", "augment_layer", "from_dataset"]
