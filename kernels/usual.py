"""Calls that together compile what users usually need, on tiny images: what `warmup` keeps on disk.

Each goes through the public functions, so that it compiles what a user's call would.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from .compiling import TALLY, NotKeptError, Tally, loading_only
from .fitting import fit_maps
from .grid import take_grid
from .levels import change_levels, standardize
from .reduce import reduce_areas
from .warp import warp

Call = tuple[str, Callable[[], object]]

DTYPES = ("float32", "uint8", "float16")
LAYOUTS = ("HWC", "CHW")
# None, or what a colour matrix is filled with: a full matrix mixes channels.
COLOURS = {"none": None, "plain": 0.0, "mixed": 1.0}
FOLDING = ("reflect", "wrap", "mirror")
OTHER_IMAGES = ((1, "uint8"), (4, "uint8"), (1, "float32"), (3, "float32"))


def warp_call(
    channels: int,
    source: str,
    target: str,
    fill_mode: str = "nearest",
    layout: str = "HWC",
    colours: str = "plain",
    interpolation: str = "bilinear",
) -> Call:
    """Describe and make a call of `warp`; `colours` are a key of COLOURS."""
    name = f"warp {channels} x {source} to {target}, {fill_mode}, {layout}, {colours}"
    images = np.zeros((1, 4, 4, channels), source)
    maps = np.eye(2, 3, dtype=np.float32)[np.newaxis]
    out = np.empty((1, 4, 4, channels) if layout == "HWC" else (1, channels, 4, 4), target)
    fill = COLOURS[colours]
    colour = None if fill is None else np.full((1, channels, channels + 1), fill, np.float32)
    call = partial(
        warp,
        images,
        maps,
        out,
        colour=colour,
        fill_mode=fill_mode,
        layout=layout,
        interpolation=interpolation,
    )
    return f"{name}, {interpolation}", call


def rgb_calls(fill_mode: str) -> Iterator[Call]:
    """Warp RGB of uint8: to every type and layout where edges repeat, else what is common."""
    is_default = fill_mode == "nearest"
    for target, layout in product(DTYPES, LAYOUTS):
        if is_default or target == "float32" or layout == "HWC":
            colours = "none" if target == "uint8" else "plain"
            yield warp_call(3, "uint8", target, fill_mode, layout, colours)
        if is_default or target == "float32":
            yield warp_call(3, "uint8", target, fill_mode, layout, "mixed")
    yield warp_call(3, "uint8", "uint8", fill_mode, "HWC", "plain")


def folding_calls() -> Iterator[Call]:
    """Fold at the edges, in float32 and fixed point; loops over pixels are as for "nearest"."""
    for fill_mode in FOLDING:
        yield warp_call(3, "uint8", "float32", fill_mode)
        yield warp_call(3, "uint8", "uint8", fill_mode, colours="none")


def other_calls() -> Iterator[Call]:
    """Warp gray, RGBA and float images."""
    for (channels, source), fill_mode in product(OTHER_IMAGES, ("nearest", "constant")):
        yield warp_call(channels, source, "float32", fill_mode)
    yield warp_call(3, "float32", "float32", layout="CHW")


def nearest_calls() -> Iterator[Call]:
    """Warp to the nearest pixel."""
    for target in ("float32", "uint8"):
        yield warp_call(3, "uint8", target, interpolation="nearest")


def level_calls() -> Iterator[Call]:
    """Change levels, standardise to both float types, and pick pixels from a grid."""
    rows, ones = np.zeros((1, 4, 12), np.float32), np.ones(1, np.float32)
    yield "change levels", partial(change_levels, rows, ones, ones, np.ones((1, 12), bool))
    pattern = np.ones((1, 12), np.float32)
    finish = partial(standardize, rows, means=pattern, gains=pattern, scale=1.0, epsilon=1e-6)
    for dtype in ("float32", "float16"):
        out = np.empty(rows.shape, dtype)
        yield f"standardise to {dtype}", partial(finish, out, is_centered=True, is_scaled=True)
    image, places = np.zeros((4, 4, 3), np.uint8), np.arange(2)
    yield "pick pixels", partial(take_grid, image, places, places, image[:2, :2].copy())


def reduce_calls() -> Iterator[Call]:
    """Fit maps to images, and average areas before a warp that makes them smaller."""
    first, sizes, factors = (
        np.zeros(1, np.int64),
        np.full((1, 2), 4, np.int64),
        np.full((1, 2), 2, np.int64),
    )
    frame, useful = np.zeros((1, 2, 3)), np.ones((1, 2))
    yield "fit maps", partial(fit_maps, frame, (2, 2), useful, sizes, sizes)
    for channels, dtype in ((3, "uint8"), (3, "float32")):
        pixels, reduced = np.zeros(16 * channels, dtype), np.empty(4 * channels, dtype)
        call = partial(reduce_areas, pixels, first, sizes, factors, channels, reduced, first)
        yield f"reduce {dtype}", call


# The longest first: each is a process's work.
GROUPS: dict[str, Callable[[], Iterator[Call]]] = {
    "RGB, edges repeated": partial(rgb_calls, "nearest"),
    "averaging": reduce_calls,
    "gray, RGBA, float images": other_calls,
    "RGB, a constant outside": partial(rgb_calls, "constant"),
    "levels": level_calls,
    "nearest pixels": nearest_calls,
    "reflect, wrap, mirror": folding_calls,
}


def warm_up(group: str) -> Tally:
    """Make all calls of a group; return what had to be compiled, and what was on disk."""
    before = replace(TALLY)
    for _, call in GROUPS[group]():
        call()
    return Tally(
        TALLY.loaded - before.loaded,
        TALLY.compiled - before.compiled,
        TALLY.lost - before.lost,
        TALLY.problem,
    )


def missing_calls() -> list[str]:
    """Describe the usual calls that would have to compile."""
    missing = []
    with loading_only():
        for group in GROUPS.values():
            for name, call in group():
                try:
                    call()
                except NotKeptError:
                    missing.append(name)
    return missing
