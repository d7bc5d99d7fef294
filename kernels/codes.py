"""Integer codes of the words in `warp`'s signature: compiled loops take numbers, not strings."""

CONSTANT, NEAREST_EDGE, REFLECT, WRAP, MIRROR = range(5)
FILL_CODES = {
    "constant": CONSTANT,
    "nearest": NEAREST_EDGE,
    "reflect": REFLECT,
    "wrap": WRAP,
    "mirror": MIRROR,
}

NEAREST_PIXEL, BILINEAR = range(2)
INTERPOLATION_CODES = {"nearest": NEAREST_PIXEL, "bilinear": BILINEAR}

# An int32 offset of the fast loops: the place of a pixel, below 2**30, and a mark where it is cval.
PLACE, OUTSIDE = 2**30 - 1, -(2**31)
