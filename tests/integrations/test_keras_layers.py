"""The conversions of docs/keras-layers.md, against Keras' own layers.

A drawn parameter is fixed on Keras' side by a range of one value, on ours by the draw that gives
the end of the range: `augment_layer` is Augmenter's plan with draws of one's own.
"""

import math

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from keras import layers

from fusewarp import ArraySource, Augmenter, Loader, Policy
from fusewarp.tensorflow import as_dataset, augment_layer

PHOTOS = np.stack([skimage.data.astronaut()[y : y + 96, 150:270] for y in (0, 60, 120)])
LEVELS = PHOTOS.astype(np.float32)
IDS = np.arange(3)
LOWEST, MIDDLE, HIGHEST = 0.0, 0.5, 1.0
ANGLE, SHIFT_ROW, SHIFT_COL, SHEAR, ZOOM_ROW, ZOOM_COL = range(6)
FLIP_COL, FLIP_ROW, BRIGHTNESS, CONTRAST, SATURATION, CHANNEL_SHIFT = range(6, 12)


def ours(policy, draw=MIDDLE, **drawn) -> np.ndarray:
    """Augment with every parameter in the middle of its range, but for those named."""
    draws = np.full((3, 12), MIDDLE)
    for name, value in drawn.items():
        draws[:, globals()[name]] = value
    return augment_layer(policy).augment(tf.constant(PHOTOS), draws).numpy()


def keras_layer(layer) -> np.ndarray:
    return np.asarray(layer(LEVELS, training=True))


def augmented(policy, **options) -> np.ndarray:
    return Augmenter(policy, threads=1, **options).apply(PHOTOS, IDS)


def assert_same(ours, keras_output, atol=0.02):
    assert np.abs(np.asarray(keras_output) - LEVELS.mean()).max() > 0
    np.testing.assert_allclose(ours, keras_output, rtol=0, atol=atol)


@pytest.mark.parametrize("size", [(64, 80), (160, 200), (96, 61)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_resizing(size, interpolation):
    expected = layers.Resizing(*size, interpolation=interpolation)(LEVELS)
    assert_same(augmented(Policy(interpolation=interpolation), size=size), expected)


def test_resizing_to_less_than_half_is_the_antialiased_kind():
    half = augmented(Policy(), size=(32, 40))
    smooth, skipping = (
        np.abs(half - layers.Resizing(32, 40, antialias=antialias)(LEVELS)).mean()
        for antialias in (True, False)
    )
    assert smooth < 0.7 * skipping


@pytest.mark.parametrize(
    ("layer", "policy"),
    [
        (layers.Rescaling(1 / 255), Policy(rescale=1 / 255)),
        (layers.Rescaling(1 / 127.5, offset=-1), Policy(rescale=1 / 127.5, mean=1)),
        (
            layers.Normalization(mean=(120, 110, 100), variance=(64, 49, 36)),
            Policy(mean=(120, 110, 100), std=(8, 7, 6)),
        ),
    ],
)
def test_rescaling_and_normalization(layer, policy):
    assert_same(augmented(policy), layer(LEVELS), atol=1e-5)


@pytest.mark.parametrize(("mode", "rows", "cols"), [("horizontal", 0, 1), ("vertical", 1, 0)])
def test_random_flip(mode, rows, cols):
    flipped = np.flip(LEVELS, axis=1 if rows else 2)
    result = keras_layer(layers.RandomFlip(mode, seed=1))
    assert all(
        np.array_equal(picture, raw) or np.array_equal(picture, turned)
        for picture, raw, turned in zip(result, LEVELS, flipped, strict=True)
    )
    policy = Policy(horizontal_flip=bool(cols), vertical_flip=bool(rows))
    np.testing.assert_array_equal(ours(policy, FLIP_ROW=LOWEST, FLIP_COL=LOWEST), flipped)
    np.testing.assert_array_equal(ours(policy, FLIP_ROW=0.5, FLIP_COL=0.5), LEVELS)


def test_random_flip_of_both_ways_has_one_draw_in_keras():
    many = np.repeat(LEVELS[:1], 64, axis=0)
    turned = np.asarray(layers.RandomFlip(seed=1)(many, training=True))
    half_turn = np.flip(LEVELS[0], axis=(0, 1))
    assert all(np.array_equal(p, LEVELS[0]) or np.array_equal(p, half_turn) for p in turned)


FILL_MODES = ["nearest", "reflect"]


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("factor", [0.1, -0.07])
def test_random_rotation(fill_mode, factor):
    policy = Policy(rotation_range=360 * abs(factor), fill_mode=fill_mode)
    angle = ours(policy, ANGLE=HIGHEST if factor > 0 else LOWEST)
    assert_same(angle, keras_layer(layers.RandomRotation((factor, factor), fill_mode=fill_mode)))


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_random_translation(fill_mode):
    policy = Policy(height_shift_range=0.21, width_shift_range=0.13, fill_mode=fill_mode)
    layer = layers.RandomTranslation((0.21, 0.21), (-0.13, -0.13), fill_mode=fill_mode)
    assert_same(ours(policy, SHIFT_ROW=HIGHEST, SHIFT_COL=LOWEST), keras_layer(layer))


def test_wrap_has_another_period_and_constant_no_rim():
    ramp = np.tile(np.arange(8, dtype=np.float32)[:, np.newaxis], (1, 8, 1, 1))

    def moved(fill_mode, pixels):
        fixed = (pixels / 8, pixels / 8)
        layer = layers.RandomTranslation((0, 0), fixed, fill_mode=fill_mode, fill_value=100)
        draws = np.full((1, 12), MIDDLE)
        draws[:, SHIFT_COL] = HIGHEST
        policy = Policy(width_shift_range=pixels / 8, fill_mode=fill_mode, cval=100)
        mine = augment_layer(policy).augment(tf.constant(ramp), draws)
        theirs = layer(ramp, training=True)
        return [np.asarray(images)[0, 0, :2, 0].tolist() for images in (mine, theirs)]

    assert moved("wrap", 2) == [[5, 6], [6, 7]]
    assert moved("constant", 0.25) == [[100, 0.75], [25, 0.75]]


@pytest.mark.parametrize("factor", [0.3, -0.3])
def test_random_zoom(factor):
    policy = Policy(zoom_range=0.3, zoom_keep_aspect=True, fill_mode="reflect")
    zoom = ours(policy, ZOOM_ROW=HIGHEST if factor > 0 else LOWEST)
    assert_same(zoom, keras_layer(layers.RandomZoom((factor, factor))))


def test_random_zoom_of_both_sides():
    policy = Policy(zoom_range=(0.8, 1.4), fill_mode="reflect")
    layer = layers.RandomZoom((0.4, 0.4), (-0.2, -0.2))
    assert_same(ours(policy, ZOOM_ROW=HIGHEST, ZOOM_COL=LOWEST), keras_layer(layer))


def test_random_shear_moves_each_row_as_far():
    factor = 0.2
    size = 101  # Keras shears about the upper left corner, we about the centre
    rows = np.zeros((1, size, size, 1), np.float32)
    rows[:, :, 50] = 255
    layer = layers.RandomShear(x_factor=(factor, factor), fill_mode="constant", seed=1)
    theirs = np.asarray(layer(rows, training=True))[0, :, :, 0]
    policy = Policy(shear_range=math.degrees(math.asin(factor)), fill_mode="constant")
    draws = np.full((1, 12), MIDDLE)
    draws[:, SHEAR] = HIGHEST
    mine = augment_layer(policy).augment(tf.constant(rows), draws).numpy()[0, :, :, 0]
    middle = slice(30, 70)
    assert np.average(np.arange(size), weights=mine[middle].sum(axis=0)) == pytest.approx(50, abs=1)
    slopes = [
        np.polyfit(np.arange(30, 70), picture[middle] @ np.arange(size) / 255, 1)[0]
        for picture in (mine, theirs)
    ]
    assert abs(slopes[0]) == pytest.approx(factor, abs=0.002)
    assert abs(slopes[1]) == pytest.approx(factor, abs=0.002)


def test_random_contrast_agrees_where_the_mean_is_mid_grey():
    grey = 127.5 + 0.3 * (LEVELS - LEVELS.mean(axis=(1, 2), keepdims=True))
    theirs = np.asarray(layers.RandomContrast((0.0, 0.0))(grey, training=True))
    np.testing.assert_allclose(theirs, grey, atol=1e-3)
    layer = layers.RandomContrast(0.4, seed=3)
    theirs = np.asarray(layer(grey, training=True))
    factors = ((theirs - 127.5) / (grey - 127.5))[:, 50, 50, 0]
    assert (np.abs(factors - 1) <= 0.4).all()
    draws = np.full((3, 12), MIDDLE)
    draws[:, CONTRAST] = (factors - 0.6) / 0.8
    policy = Policy(contrast_range=(0.6, 1.4))
    mine = augment_layer(policy).augment(tf.constant(grey, tf.float32), draws)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=0.01)


@pytest.mark.parametrize("factor", [0.2, -0.3])
def test_random_brightness_is_a_channel_shift(factor):
    policy = Policy(channel_shift_range=255 * abs(factor))
    shifted = ours(policy, CHANNEL_SHIFT=HIGHEST if factor > 0 else LOWEST)
    theirs = keras_layer(layers.RandomBrightness((factor, factor)))
    assert_same(np.clip(shifted, 0, 255), theirs)


def test_random_color_degeneration_is_saturation():
    policy = Policy(saturation_range=(0.3, 1.0))
    theirs = keras_layer(layers.RandomColorDegeneration((0.7, 0.7)))
    assert_same(ours(policy, SATURATION=LOWEST), theirs)


def test_layers_that_mix_pictures_follow_the_dataset():
    one_hot = np.eye(2, dtype=np.float32)[[0, 1, 0]]
    loader = Loader(ArraySource(PHOTOS, one_hot), Augmenter(Policy(rescale=1 / 255)), 3)
    mix_up = layers.MixUp(alpha=0.4, seed=1)
    dataset = as_dataset(loader, as_dict=True).map(mix_up)
    [batch] = dataset.map(lambda batch: (batch["images"], batch["labels"]))
    images, labels = batch
    assert images.shape == PHOTOS.shape
    np.testing.assert_allclose(labels.numpy().sum(axis=1), 1, rtol=1e-6)
    assert keras.ops.max(images) <= 1
