"""Count the cache lines that one load of a warp touches, and the bytes that a block brings in.

Needs no GPU: the addresses that the threads of a turned 224 x 224 x 3 uint8 picture read are worked
out with NumPy. Prints a Markdown table, for several shapes of a block.
"""

from collections.abc import Iterator

import numpy as np

SIDE, CHANNELS = 224, 3
WARP = 32
LINE, SECTOR = 128, 32  # bytes
SHAPES = ((4, 8, 16), (4, 16, 8), (4, 4, 32), (4, 32, 4), (1, 8, 16), (1, 32, 4))
ANGLES = (0, 10, 20, 45, 90)  # degrees


def tiles(pixels: int, cols: int, rows: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield warp, output row and first column of the threads of each block that are inside.

    Parameters
    ----------
    pixels : int
        Neighbours in a row that a thread makes.
    cols, rows : int
        Threads of a block.
    """
    thread_rows, thread_cols = np.divmod(np.arange(rows * cols), cols)
    for top in range(0, SIDE, rows):
        for left in range(0, SIDE, cols * pixels):
            out_rows, out_cols = top + thread_rows, left + thread_cols * pixels
            inside = (out_rows < SIDE) & (out_cols < SIDE)
            yield (np.arange(rows * cols) // WARP)[inside], out_rows[inside], out_cols[inside]


def places(out_rows: np.ndarray, out_cols: np.ndarray, angle_deg: float) -> np.ndarray:
    """Return the byte of the upper left neighbour, (threads,), in a turned picture."""
    centre = (SIDE - 1) / 2
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    src_rows = cos * (out_rows - centre) - sin * (out_cols - centre) + centre
    src_cols = sin * (out_rows - centre) + cos * (out_cols - centre) + centre
    rows = np.clip(np.floor(src_rows), 0, SIDE - 2).astype(np.int64)
    cols = np.clip(np.floor(src_cols), 0, SIDE - 2).astype(np.int64)
    first: np.ndarray = (rows * SIDE + cols) * CHANNELS
    return first


def count_reads(pixels: int, cols: int, rows: int, angle_deg: float) -> tuple[float, float]:
    """Count what a block reads.

    Returns
    -------
    lines : float
        Cache lines of 128 bytes that one load of a warp touches, on average.
    bytes : float
        Sectors of 32 bytes that a block touches at all, in bytes for each output pixel.
    """
    lines = loads = sectors = 0
    neighbours = [row * SIDE * CHANNELS + col * CHANNELS for row in (0, 1) for col in (0, 1)]
    for warps, out_rows, out_cols in tiles(pixels, cols, rows):
        touched = []
        for pixel in range(pixels):
            base = places(out_rows, out_cols + pixel, angle_deg)
            for offset in (near + channel for near in neighbours for channel in range(CHANNELS)):
                touched.append(base + offset)
                lines += np.unique(warps * SIDE**3 + (base + offset) // LINE).size
                loads += np.unique(warps).size
        sectors += np.unique(np.concatenate(touched) // SECTOR).size
    return lines / loads, sectors * SECTOR / SIDE**2


def main() -> None:
    """Print the table."""
    print("| pixels a thread | block | " + " | ".join(f"{angle}°" for angle in ANGLES) + " |")
    print("|" + "---|" * (2 + len(ANGLES)))
    for shape in SHAPES:
        counts = (count_reads(*shape, angle) for angle in ANGLES)
        cells = " | ".join(f"{lines:.1f}, {amount:.1f}" for lines, amount in counts)
        print(f"| {shape[0]} | {shape[1]}x{shape[2]} | {cells} |")


if __name__ == "__main__":
    main()
