"""A Keras layer that augments inside a model, made of TensorFlow's own ops."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...engine import Policy
from ...engine.affine import Size
from ...engine.augmenter import checked_size
from .plan_ops import NUM_DRAWS, colours, constant_colours, frame_maps, parameters_of
from .warp_ops import reduce_areas, warp

_SEEDS = 2**32


def augment_layer(
    policy: Policy, size: int | tuple[int, int] | None = None, seed: int = 0, **options: Any
) -> "AugmentLayer":
    """Return a layer that augments batches inside a model while it trains.

    See `AugmentLayer`; `options` are those of every Keras layer, `name` for example.
    """
    return AugmentLayer(policy, size=size, seed=seed, **options)


@keras.saving.register_keras_serializable(package="fusewarp")
class AugmentLayer(keras.layers.Layer):  # type: ignore[misc]
    """Resizes, augments and normalises pictures by a policy, with TensorFlow's own ops.

    The ranges, the one inverse map and the one colour matrix of each picture are those of
    `Augmenter`. The random numbers are TensorFlow's: they depend on the seed and on how many
    batches the layer has augmented, which is a weight and saved with the model, and differ between
    the replicas of a `tf.distribute` strategy; XLA draws others from the same seed. A loader with
    an Augmenter is the faster way, and the one whose pictures do not depend on batches; the layer
    is for a model that must bring its augmentation along.

    Parameters
    ----------
    policy : Policy
    size : int or (height, width), optional
        Of the output. Default: the size of the pictures.
    seed : int
        0 <= seed < 2**32.

    Input: (n, height, width, channels) raw levels, integers or floats; channels static. Output:
    the same with `size`, in the layer's compute dtype, neither rounded nor clipped.

    With `training=True` the pictures are augmented; else they are only resized and normalised
    (`rescale`, `mean`, `std`), which is `policy.without_augmentation()`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these, the backend of Keras is not TensorFlow, or the policy does
        not fit the pictures.

    Notes
    -----
    With the same draws the result is the Augmenter's within 0.03 grey levels for pictures of up to
    500 pixels a side: positions are float32 here. Where a position lies within 1e-4 pixels of a
    jump (the rim with "constant", the seam of "wrap", half-way with "nearest" interpolation),
    either side may come out. An Augmenter averages areas before a picture is made smaller by 2 or
    more, counted with its own zoom; the layer counts the resize alone, so it is softer or
    sharper where the zoom makes the difference.
    """

    def __init__(
        self,
        policy: Policy,
        size: int | tuple[int, int] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **options})  # levels as they come, in float32
        if not isinstance(policy, Policy):
            raise TypeError(f"`policy` must be a fusewarp.Policy, got {type(policy).__name__}.")
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "AugmentLayer is made of TensorFlow's ops, and Keras runs on "
                f"{keras.backend.backend()!r}. Augment in a Loader instead."
            )
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _SEEDS:
            raise ValueError(f"`seed` must be a whole number from 0 to 2**32 - 1, got {seed!r}.")
        self.policy = policy
        self.size = checked_size(size)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        """Refuse pictures that the policy does not fit."""
        if len(input_shape) != 4 or input_shape[3] is None:
            raise ValueError(
                "AugmentLayer needs batches (n, height, width, channels) with a known number of "
                f"channels, got the shape {tuple(input_shape)}."
            )
        constant_colours(self.policy, input_shape[3])
        self.num_batches = self.add_weight(
            name="num_batches",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Return the finished batch, augmented if `training`."""
        if training:
            draws = self._draws(tf.shape(images)[0])
            return tf.cast(self.augment(images, draws), self.compute_dtype)
        policy = self.policy.without_augmentation()
        pictures = tf.cast(images, tf.float32)
        if self.size is not None and tuple(images.shape[1:3]) != self.size:
            frame = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
            pictures = self._resample(images, frame, policy)
        matrix = constant_colours(policy, images.shape[3])
        if matrix is not None:
            pictures = pictures * np.diagonal(matrix) + matrix[:, -1]
        return tf.cast(pictures, self.compute_dtype)

    def augment(self, images: Any, draws: Any) -> Any:
        """Augment with given draws instead of random ones.

        Parameters
        ----------
        images : (n, H, W, C)
        draws : (n, 12) float32 or float64
            In [0, 1): what each parameter is made of, in the engine's order.

        Returns
        -------
        (n, h, w, C) float32
        """
        parameters = parameters_of(draws, self.policy)
        size = tf.cast(self._output_size(images), tf.float64)
        frame = tf.cast(frame_maps(parameters, self.policy, size), tf.float32)
        pictures = self._resample(images, frame, self.policy)
        if constant_colours(self.policy, images.shape[3]) is None:
            return pictures
        mid_grey = images.dtype.max / 2 if images.dtype.is_unsigned else 127.5
        matrices = colours(parameters, self.policy, images.shape[3], mid_grey)
        linear, offset = matrices[:, :, :-1], matrices[:, :, -1]
        mixed = tf.einsum("nhwc,ndc->nhwd", pictures, linear)
        return mixed + offset[:, tf.newaxis, tf.newaxis]

    def _draws(self, count: Any) -> Any:
        seed = tf.stack([tf.constant(self.seed, tf.int64), self.num_batches.value])
        self.num_batches.assign_add(1)
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            replica = context.replica_id_in_sync_group
            seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(replica, tf.int64))
        return tf.random.stateless_uniform((count, NUM_DRAWS), seed, alg="philox")

    def _output_size(self, images: Any) -> Any:
        return tf.shape(images)[1:3] if self.size is None else tf.constant(self.size)

    def _resample(self, images: Any, frame: Any, policy: Policy) -> Any:
        size = self._output_size(images)
        pictures = tf.cast(images, tf.float32)
        extents = tf.cast(tf.shape(images)[1:3], tf.float32)
        if self._may_reduce(images.shape, policy):
            rounded = images.dtype.is_integer
            pictures, extents = reduce_areas(pictures, size, rounded=rounded)
        scale = extents / tf.cast(size, tf.float32)
        maps = frame * tf.expand_dims(scale, 1)
        warped = warp(pictures, maps, (extents - 1.0) / 2.0, size, policy)
        warped.set_shape((images.shape[0], *self._static_size(images.shape), images.shape[3]))
        return warped

    def _may_reduce(self, shape: Any, policy: Policy) -> bool:
        if self.size is None or policy.interpolation == "nearest":
            return False
        sides = zip(shape[1:3], self.size, strict=True)
        return any(side is None or side >= 2 * wanted for side, wanted in sides)

    def _static_size(self, shape: Any) -> Size | tuple[Any, Any]:
        return (shape[1], shape[2]) if self.size is None else self.size

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return (n, height, width, channels) of the output."""
        return (input_shape[0], *self._static_size(input_shape), input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes the same layer of."""
        own = {"policy": self.policy.to_dict(), "size": self.size, "seed": self.seed}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AugmentLayer":
        """Return the layer that `get_config` described."""
        return cls(**{**config, "policy": Policy.from_dict(config["policy"])})
