"""The warp in plain float64 NumPy: slow, obvious, and sharing nothing with kernels/.

`tests/kernels/test_warp_reference.py` holds it against `scipy.ndimage.affine_transform`.
"""

import numpy as np

FILL_MODES = ("constant", "nearest", "reflect", "wrap", "mirror")
INTERPOLATIONS = ("nearest", "bilinear")
TIE = 1e-4  # pixels: a float32 position may fall on either side of a jump this near


def source_positions(inverse_map, out_shape):
    """Return the unfolded source rows and columns of all output pixels, each (h, w) float64."""
    rows, cols = np.meshgrid(*(np.arange(size) for size in out_shape), indexing="ij")
    m = np.asarray(inverse_map, np.float64)
    return tuple(m[axis, 0] * rows + m[axis, 1] * cols + m[axis, 2] for axis in (0, 1))


def fold(positions, size, fill_mode):
    """Bring positions into 0 .. size - 1 as SciPy's `map_coordinate` does."""
    last = size - 1
    if size == 1:
        return np.zeros_like(positions)
    if fill_mode == "reflect":
        folded = np.mod(positions, 2 * size)
        positions = np.where(folded > size - 0.5, 2 * size - 1 - folded, folded)
    elif fill_mode == "mirror":
        folded = np.mod(positions, 2 * last)
        positions = np.where(folded > last, 2 * last - folded, folded)
    elif fill_mode == "wrap":
        below = positions + last * (np.trunc(-positions / last) + 1)
        above = positions - last * np.trunc(positions / last)
        positions = np.where(positions < 0, below, np.where(positions > last, above, positions))
    return np.clip(positions, 0, last)


def sample(image, rows, cols, interpolation):
    """Read (h, w, C) float64 levels at positions inside the image."""
    image = image.astype(np.float64)
    if interpolation == "nearest":
        return image[np.floor(rows + 0.5).astype(int), np.floor(cols + 0.5).astype(int)]
    top, left = np.floor(rows).astype(int), np.floor(cols).astype(int)
    bottom = np.minimum(top + 1, image.shape[0] - 1)
    right = np.minimum(left + 1, image.shape[1] - 1)
    down, across = (rows - top)[..., np.newaxis], (cols - left)[..., np.newaxis]
    upper = (1 - across) * image[top, left] + across * image[top, right]
    lower = (1 - across) * image[bottom, left] + across * image[bottom, right]
    return (1 - down) * upper + down * lower


def warp(images, inverse_maps, out_shape, fill_mode, interpolation, cval=0.0, colour=None):
    """Warp (n, H, W, C) to (n, h, w, C) float64, neither rounded nor clipped."""
    height, width = images.shape[1:3]
    warped = []
    for n, image in enumerate(images):
        rows, cols = source_positions(inverse_maps[n], out_shape)
        folded = fold(rows, height, fill_mode), fold(cols, width, fill_mode)
        levels = sample(image, *folded, interpolation)
        if fill_mode == "constant":
            outside = (rows < 0) | (rows > height - 1) | (cols < 0) | (cols > width - 1)
            levels[outside] = cval
        if colour is not None:
            matrix = colour[n].astype(np.float64)
            levels = levels @ matrix[:, :-1].T + matrix[:, -1]
        warped.append(levels)
    return np.stack(warped)


def near_jump(inverse_maps, source_shape, out_shape, fill_mode, interpolation):
    """Mark, (n, h, w), the pixels whose value jumps within `TIE` pixels of their position.

    Jumps are half-way positions with `nearest` interpolation, the first and last pixel centre with
    `constant`, and multiples of size - 1 with `wrap`.
    """
    marks = []
    for inverse_map in inverse_maps:
        mark = np.zeros(out_shape, bool)
        for positions, size in zip(
            source_positions(inverse_map, out_shape), source_shape, strict=True
        ):
            if interpolation == "nearest":
                mark |= _distance_to_multiple(positions + 0.5, 1) < TIE
            if fill_mode == "constant":
                mark |= (np.abs(positions) < TIE) | (np.abs(positions - (size - 1)) < TIE)
            if fill_mode == "wrap" and size > 1:
                mark |= _distance_to_multiple(positions, size - 1) < TIE
        marks.append(mark)
    return np.stack(marks)


def _distance_to_multiple(values, step):
    return np.abs(values - step * np.round(values / step))


def cast(levels, dtype):
    """Round and clip for uint8, round to the nearest for float types."""
    if np.dtype(dtype) == np.uint8:
        return np.clip(np.floor(levels + 0.5), 0, 255).astype(np.uint8)
    return levels.astype(dtype)


def random_images(rng, shape, dtype):
    """Draw noise over the whole range of the type; float32 from -50 to 300."""
    if np.dtype(dtype) == np.float32:
        return rng.uniform(-50, 300, shape).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def random_inverse_maps(rng, count, source_shape, out_shape):
    """Draw turns, zooms, shears and shifts that leave the image on all sides; float32."""
    linear = rng.uniform(-1.5, 1.5, (count, 2, 2))
    middle_in, middle_out = (np.subtract(shape, 1) / 2 for shape in (source_shape, out_shape))
    shift = middle_in + rng.uniform(-1, 1, (count, 2)) * source_shape - linear @ middle_out
    return np.concatenate([linear, shift[..., np.newaxis]], axis=2).astype(np.float32)
