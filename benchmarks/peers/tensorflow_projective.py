"""One matrix composed by hand, and TensorFlow's projective operation: its fastest road."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Entry, Peer, Runner
from ..work import (
    ROTATION,
    SCALE,
    SHEAR,
    SHIFT,
    SIDE,
    WARP_PICTURES,
    ZOOM,
    Images,
    Maps,
    Work,
    drawn_maps,
    xy_maps,
)
from .tensorflow_data import epochs, with_threads, without_gpus

OP = "tf.raw_ops.ImageProjectiveTransformV3 on uint8, then cast and multiply; rounds to levels"


def warp_batch(images: Any, transforms: Any) -> Any:
    """Warp (n, h, w, 3) by (n, 8) transforms to float32 in 0..1."""
    import tensorflow as tf

    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=(SIDE, SIDE),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.cast(warped, tf.float32) * SCALE


def as_transforms(inverse_maps: Maps) -> NDArray[np.float32]:
    """Turn our maps into rows of eight: (n, 8) float32."""
    flat = xy_maps(inverse_maps).reshape(-1, 6)
    return np.pad(flat, ((0, 0), (0, 2))).astype(np.float32)


def warp(images: Images, inverse_maps: Maps) -> NDArray[np.float32]:
    """Warp to float32 in 0..1 by our maps."""
    without_gpus()
    made: NDArray[np.float32] = warp_batch(images, as_transforms(inverse_maps)).numpy()
    return made


def draw_transforms(count: Any, source_height: Any, source_width: Any) -> Any:
    """Draw and compose (n, 8) transforms from the output to sources of one size."""
    import tensorflow as tf

    def uniform(low: float, high: float) -> Any:
        return tf.random.uniform((count,), low, high)

    angle, shear = (uniform(-math.radians(r), math.radians(r)) for r in (ROTATION, SHEAR))
    zoom_x, zoom_y = uniform(*ZOOM), uniform(*ZOOM)
    flip = tf.where(uniform(0.0, 1.0) < 0.5, -1.0, 1.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    xx, xy = cos * zoom_x, -(cos * tf.sin(shear) + sin * tf.cos(shear)) * zoom_y
    yx, yy = sin * zoom_x, (cos * tf.cos(shear) - sin * tf.sin(shear)) * zoom_y
    centre = (SIDE - 1) / 2
    move_x, move_y = (centre + uniform(-SHIFT, SHIFT) * SIDE for _ in range(2))
    scale_x, scale_y = source_width / SIDE, source_height / SIDE
    x0 = (source_width - 1) / 2 - scale_x * (xx * flip * move_x + xy * move_y)
    y0 = (source_height - 1) / 2 - scale_y * (yx * flip * move_x + yy * move_y)
    none = tf.zeros_like(x0)
    columns = (scale_x * xx * flip, scale_x * xy, x0, scale_y * yx * flip, scale_y * yy, y0)
    return tf.stack([*columns, none, none], axis=1)


def _drawn(images: Any) -> Any:
    import tensorflow as tf

    shape = tf.shape(images)
    height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    return warp_batch(images, draw_transforms(shape[0], height, width))


def augment(images: Images) -> NDArray[np.float32]:
    """Return the pictures augmented, (n, side, side, 3) float32 in 0..1."""
    without_gpus()
    made: NDArray[np.float32] = _drawn(images).numpy()
    return made


def warp_row(work: Work, threads: int) -> Runner:
    """Warp one batch by our maps, in a data set with one thread."""
    import tensorflow as tf

    without_gpus()
    images = work.images[:WARP_PICTURES]
    data = (images[np.newaxis], as_transforms(drawn_maps(WARP_PICTURES))[np.newaxis])
    dataset = tf.data.Dataset.from_tensor_slices(data).map(warp_batch)
    return epochs(with_threads(dataset, threads), len(images))


def arrays_row(work: Work, threads: int) -> Runner:
    """Make batches of pictures in memory."""
    import tensorflow as tf

    without_gpus()
    images = work.peer_images
    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images))
    mapped = dataset.batch(work.batch_size).map(_drawn, num_parallel_calls=threads)
    return epochs(with_threads(mapped.prefetch(2), threads), len(images))


def jpeg_row(work: Work, threads: int) -> Runner:
    """Make batches of files; resizing is part of the one warp."""
    import tensorflow as tf

    without_gpus()
    paths = [str(path) for path in work.tile_paths()]

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return _drawn(image[tf.newaxis])[0]

    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    mapped = dataset.map(load, num_parallel_calls=threads).batch(work.batch_size)
    return epochs(with_threads(mapped.prefetch(2), threads), len(paths))


PEER = Peer(
    name="TensorFlow, one matrix by hand",
    packages=("tensorflow",),
    install="pip install 'fusewarp[tensorflow]'",
    process="tensorflow",
    entries=(
        Entry(
            "warp",
            "tf-projective",
            "TensorFlow projective op, by hand",
            warp_row,
            note=f"our maps; {OP}",
            threads=1,
        ),
        Entry(
            "arrays",
            "tf-projective",
            "TensorFlow projective op, by hand",
            arrays_row,
            note=f"{OP}; batches mapped in parallel, private thread pool, prefetch(2)",
        ),
        Entry(
            "jpeg",
            "tf-projective",
            "tf.io.decode_jpeg + projective op, by hand",
            jpeg_row,
            note=f"{OP}; pictures mapped in parallel; not antialiased",
        ),
    ),
    warp=warp,
    augment=augment,
)
