"""Policy + (seed, epoch, sample ids) -> one row of drawn parameters per picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .philox import random_uniforms
from .policy import Pair, Policy

Floats = NDArray[np.float64]
_NUM_SLOTS = 3  # of four draws each; append slots, never reorder: that would change every seed


@dataclass(frozen=True)
class Parameters:
    """Drawn parameters, each an array of shape (n,).

    Angles in degrees; shifts in the unit of the policy's range (a fraction of the output's side,
    or pixels); zooms are coordinate scales; factors and shifts of colour as in `Policy`.
    """

    angle: Floats
    shear: Floats
    shift_row: Floats
    shift_col: Floats
    zoom_row: Floats
    zoom_col: Floats
    flip_horizontal: NDArray[np.bool_]
    flip_vertical: NDArray[np.bool_]
    brightness: Floats
    contrast: Floats
    saturation: Floats
    channel_shift: Floats


def sample_parameters(policy: Policy, seed: int, epoch: int, sample_ids: ArrayLike) -> Parameters:
    """Draw the parameters of some pictures.

    Row i depends on (seed, epoch, sample_ids[i]) and the policy alone, and each parameter on its
    own draw: switching one option on or off leaves the others as they were.
    """
    draws = random_uniforms(seed, epoch, sample_ids, _NUM_SLOTS).T
    zoom_row = _between(draws[4], policy.zoom_bounds)
    return Parameters(
        angle=_around_zero(draws[0], policy.rotation_range),
        shift_row=_around_zero(draws[1], policy.height_shift_range),
        shift_col=_around_zero(draws[2], policy.width_shift_range),
        shear=_around_zero(draws[3], policy.shear_range),
        zoom_row=zoom_row,
        zoom_col=zoom_row if policy.zoom_keep_aspect else _between(draws[5], policy.zoom_bounds),
        flip_horizontal=(draws[6] < 0.5) & policy.horizontal_flip,
        flip_vertical=(draws[7] < 0.5) & policy.vertical_flip,
        brightness=_between(draws[8], policy.brightness_range),
        contrast=_between(draws[9], policy.contrast_range),
        saturation=_between(draws[10], policy.saturation_range),
        channel_shift=_around_zero(draws[11], policy.channel_shift_range),
    )


def _around_zero(draws: Floats, reach: float) -> Floats:
    return (2.0 * draws - 1.0) * reach


def _between(draws: Floats, bounds: Pair | None) -> Floats:
    low, high = bounds or (1.0, 1.0)
    return low + draws * (high - low)
