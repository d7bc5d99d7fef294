"""The plan: a few numbers per picture, all that the kernels need to know of a policy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..kernels.fitting import fit_maps
from .affine import Size, frame_maps, source_maps
from .colour import colour_matrices
from .minify import useful_sizes
from .policy import Policy
from .sampling import sample_parameters
from .sources import Located


@dataclass(frozen=True)
class Plan:
    """What is to be done to n pictures.

    Attributes
    ----------
    frame : (n, 2, 3) float64
        Output pixels to the unaugmented picture in the output's frame; independent of the
        sources' sizes, which are known only once they are decoded.
    colour : (n, C, C + 1) float32 or None
    size : (height, width) of the output
    useful_sizes : (n, 2) float64
        From which source sizes on nothing of each picture is lost; infinite: no pixel may be.
    """

    frame: NDArray[np.float64]
    colour: NDArray[np.float32] | None
    size: Size
    useful_sizes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)

    def part(self, rows: slice) -> "Plan":
        """Return the plan of some of the pictures."""
        return Plan(self.frame[rows], self.colour_of(rows), self.size, self.useful_sizes[rows])

    def inverse_maps(self, rows: slice, source_sizes: ArrayLike) -> NDArray[np.float32]:
        """Return the maps, output to source, of some rows: (k, 2, 3) float32."""
        return source_maps(self.frame[rows], self.size, source_sizes)

    def fit(
        self, rows: slice, located: Located
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.int64], NDArray[np.float32]]:
        """Return what `fit_maps` does for some rows: factors, sizes, inverse maps."""
        return fit_maps(
            self.frame[rows],
            self.size,
            self.useful_sizes[rows],
            located.sizes,
            located.sizes if located.extents is None else located.extents,
        )

    def colour_of(self, rows: slice) -> NDArray[np.float32] | None:
        """Return the colour matrices of some rows, or None."""
        return None if self.colour is None else self.colour[rows]


def make_plan(
    policy: Policy,
    seed: int,
    epoch: int,
    sample_ids: NDArray[Any],
    *,
    size: Size,
    channels: int,
    source_dtype: DTypeLike,
) -> Plan:
    """Draw and compose the plan of some pictures: a pure function of its arguments."""
    parameters = sample_parameters(policy, seed, epoch, sample_ids)
    frame = frame_maps(parameters, policy, size)
    averages = policy.interpolation == "bilinear"  # nearest pixels may be labels, not levels
    return Plan(
        frame=frame,
        colour=colour_matrices(parameters, policy, channels, source_dtype),
        size=size,
        useful_sizes=useful_sizes(frame, size) if averages else np.full((len(frame), 2), np.inf),
    )
