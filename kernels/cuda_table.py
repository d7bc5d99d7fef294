"""What a CUDA kernel is told of each image, in one block of memory: one small upload a batch.

NumPy only: the block is filled on the host, and looked at in the same way on either side.
"""

from typing import Any, NamedTuple

import numpy as np

from .compiling import batch_loop
from .pixel import fold_terms

ONE_PIXEL = 2.0**32  # a position in fixed point
FARTHEST = 2.0**30  # pixels; the index is a signed word
MOST_ELEMENTS = 2**31  # of one image: offsets in it are words


class Table(NamedTuple):
    """The parts of the block.

    Attributes
    ----------
    starts : (n,) int64
        The element that each image begins with.
    maps : (n, 2, 3) int64
        Output (row, col, 1) to source (row, col), in units of 2**-32 pixels.
    terms : (n, 2, 3) float32
        What `fold_terms` says of height and width.
    colour : (n, C, C + 1) float32
    sizes : (n, 2) int32
        Height and width.
    """

    starts: Any
    maps: Any
    terms: Any
    colour: Any
    sizes: Any


def parts(count: int, channels: int) -> list[tuple[type, tuple[int, ...]]]:
    """Return type and shape of each part; the ones of 8 bytes come first and so are aligned."""
    return [
        (np.int64, (count,)),
        (np.int64, (count, 2, 3)),
        (np.float32, (count, 2, 3)),
        (np.float32, (count, channels, channels + 1)),
        (np.int32, (count, 2)),
    ]


def table_bytes(count: int, channels: int) -> int:
    """Return how long the block is."""
    return sum(
        int(np.prod(shape)) * np.dtype(kind).itemsize for kind, shape in parts(count, channels)
    )


def view_table(block: Any, count: int, channels: int) -> Table:
    """Look at a block, (bytes,) uint8 of the host or of a device, as its parts."""
    views, start = [], 0
    for kind, shape in parts(count, channels):
        stop = start + int(np.prod(shape)) * np.dtype(kind).itemsize
        views.append(block[start:stop].view(kind).reshape(shape))
        start = stop
    return Table(*views)


@batch_loop
def write_terms(sizes, fill_mode, terms):
    """Write what `fold_terms` says of each axis of each image."""
    for n in range(sizes.shape[0]):
        for axis in range(2):
            size, period, reciprocal = fold_terms(np.float32(sizes[n, axis]), fill_mode)
            terms[n, axis, 0] = size
            terms[n, axis, 1] = period
            terms[n, axis, 2] = reciprocal


def fixed_point(
    inverse_maps: np.ndarray, out_size: tuple[int, int], out: np.ndarray | None = None
) -> np.ndarray:
    """Return maps in units of 2**-32 pixels, (n, 2, 3) int64.

    An affine map goes farthest at the four corners; where those are in range, so are all sums. Each
    entry is rounded to 2**-33 pixels, so that a position is off by as much for each row and column
    before it: 3e-5 pixels after 250,000 of them.

    Raises
    ------
    ValueError
        If an output pixel would come from farther than 2**30 pixels.
    """
    maps = inverse_maps.astype(np.float64)
    last_row, last_col = out_size[0] - 1, out_size[1] - 1
    corners = np.array(
        [[0, 0, 1], [0, last_col, 1], [last_row, 0, 1], [last_row, last_col, 1]], np.float64
    )
    reach = np.abs(maps @ corners.T).max(axis=(1, 2), initial=0.0)
    # The linear part alone has to fit as well.
    reach = np.maximum(reach, np.abs(maps[:, :, :2]).max(axis=(1, 2), initial=0.0))
    if (reach >= FARTHEST).any():
        bad = int(np.argmax(reach))
        raise ValueError(
            f"`inverse_maps[{bad}]` reads {reach[bad]:.3g} pixels away; on a CUDA device positions "
            f"must stay within {FARTHEST:.0f} pixels."
        )
    fixed: np.ndarray = np.empty(maps.shape, np.int64) if out is None else out
    np.rint(maps * ONE_PIXEL, out=maps)
    fixed[...] = maps
    return fixed


def write_table(
    block: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    inverse_maps: np.ndarray,
    colour: np.ndarray | None,
    *,
    channels: int,
    out_size: tuple[int, int],
    fill_code: int,
) -> None:
    """Fill a block of `table_bytes` bytes with arguments that `warp_ragged` has checked.

    Raises
    ------
    ValueError
        As `fixed_point`, and for an image of 2**31 elements or more.
    """
    lengths = sizes[:, 0] * sizes[:, 1] * channels
    if lengths.size and lengths.max() >= MOST_ELEMENTS:
        bad = int(np.argmax(lengths))
        raise ValueError(
            f"Image {bad} has {lengths[bad]} elements; on a CUDA device it must have fewer than "
            f"{MOST_ELEMENTS}."
        )
    table = view_table(block, len(starts), channels)
    table.starts[...] = starts
    fixed_point(inverse_maps, out_size, table.maps)
    write_terms(sizes, fill_code, table.terms)
    table.colour[...] = (
        np.eye(channels, channels + 1, dtype=np.float32) if colour is None else colour
    )
    table.sizes[...] = sizes


def mixes_channels(colour: np.ndarray | None) -> bool:
    """Tell whether a colour matrix brings in another channel."""
    if colour is None:
        return False
    channels = colour.shape[1]
    others = ~np.eye(channels, channels + 1, dtype=bool)
    others[:, channels] = False
    return bool((colour[:, others] != 0).any())
