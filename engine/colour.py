"""Drawn parameters -> one colour matrix (C, C + 1) per picture.

Order of work: brightness, contrast, saturation, channel shift, then rescale, mean and std. All are
affine in the channels, so they are one matrix.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .policy import Policy
from .sampling import Floats, Parameters

_LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601, as Pillow's and TensorFlow's grey
_ALPHA_CHANNELS = 4


def colour_matrices(
    parameters: Parameters, policy: Policy, channels: int, source_dtype: DTypeLike
) -> NDArray[np.float32] | None:
    """Compose the colour matrices of n pictures.

    Parameters
    ----------
    parameters : Parameters
        Of n pictures.
    policy : Policy
    channels : int
        4 means RGBA: the colour steps leave the fourth channel alone.
    source_dtype : dtype
        Its largest value defines mid-grey for the contrast.

    Returns
    -------
    (n, channels, channels + 1) float32, or None
        None when every picture keeps its colours.

    Raises
    ------
    ValueError
        If `mean` or `std` do not have one value per channel, or saturation is asked of pictures
        that are not RGB or RGBA.
    """
    if not _changes_colour(policy):
        return None
    matrices = np.zeros((len(parameters.angle), channels, channels + 1))
    matrices[:, np.arange(channels), np.arange(channels)] = 1.0
    opaque = channels - 1 if channels == _ALPHA_CHANNELS else channels
    _jitter(matrices[:, :opaque], parameters, policy, _mid_grey(source_dtype))
    _normalise(matrices, policy, channels)
    return matrices.astype(np.float32)


def _changes_colour(policy: Policy) -> bool:
    random = (policy.brightness_range, policy.contrast_range, policy.saturation_range)
    constant = (policy.rescale, policy.mean, policy.std)
    return any(x is not None for x in random + constant) or policy.channel_shift_range != 0


def _mid_grey(source_dtype: DTypeLike) -> float:
    dtype = np.dtype(source_dtype)
    return np.iinfo(dtype).max / 2 if dtype.kind == "u" else 127.5


def _jitter(matrices: Floats, parameters: Parameters, policy: Policy, mid_grey: float) -> None:
    """Apply the random steps to the rows of the colour channels, in place."""
    matrices *= (parameters.brightness * parameters.contrast)[:, np.newaxis, np.newaxis]
    matrices[:, :, -1] += ((1.0 - parameters.contrast) * mid_grey)[:, np.newaxis]
    if policy.saturation_range is not None:
        _saturate(matrices, parameters.saturation)
    matrices[:, :, -1] += parameters.channel_shift[:, np.newaxis]


def _saturate(matrices: Floats, saturation: Floats) -> None:
    if matrices.shape[1] != len(_LUMA):
        raise ValueError(
            f"`saturation_range` needs RGB or RGBA pictures, got {matrices.shape[1]} channel(s)."
        )
    grey = np.einsum("c,ncd->nd", _LUMA, matrices)[:, np.newaxis]
    matrices += (1.0 - saturation)[:, np.newaxis, np.newaxis] * (grey - matrices)


def _normalise(matrices: Floats, policy: Policy, channels: int) -> None:
    if policy.rescale is not None:
        matrices *= policy.rescale
    if policy.mean is not None:
        matrices[:, :, -1] -= _channel_values("mean", policy.mean, channels)
    if policy.std is not None:
        matrices /= _channel_values("std", policy.std, channels)[:, np.newaxis]


def _channel_values(name: str, value: float | tuple[float, ...], channels: int) -> Floats:
    values = np.atleast_1d(np.asarray(value, np.float64))
    if len(values) not in (1, channels):
        raise ValueError(f"`{name}` has {len(values)} values for pictures of {channels} channels.")
    return np.broadcast_to(values, (channels,))
