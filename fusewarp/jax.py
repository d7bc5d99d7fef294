"""fusewarp for JAX: the batches of a loader as global arrays of a sharding."""

from .integrations.jax import as_global_arrays

__all__ = ["as_global_arrays"]
