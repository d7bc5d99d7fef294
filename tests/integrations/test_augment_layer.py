import subprocess
import sys

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from fusewarp import Augmenter, Policy
from fusewarp.engine.philox import random_uniforms
from fusewarp.tensorflow import AugmentLayer, augment_layer

PHOTO = skimage.data.astronaut()[100:164, 180:260]
IDS = np.arange(16)
GEOMETRY = {
    "rotation_range": 180,
    "width_shift_range": 0.3,
    "height_shift_range": 5,
    "shear_range": 20,
    "zoom_range": (0.6, 1.4),
    "horizontal_flip": True,
    "vertical_flip": True,
}
COLOUR = {
    "brightness_range": (0.5, 1.5),
    "contrast_range": (0.5, 1.5),
    "channel_shift_range": 20,
    "rescale": 1 / 50,
}
FILLS = ["nearest", "constant", "reflect", "wrap", "mirror"]


def photos(height=64, width=80) -> np.ndarray:
    """Return the photo 16 times, each with noise of its own: every pixel tells its place."""
    rng = np.random.default_rng(1)
    tiled = np.tile(PHOTO, (-(-height // 64), -(-width // 80), 1))[:height, :width]
    return np.clip(tiled + rng.integers(-60, 60, (16, height, width, 3)), 0, 255).astype(np.uint8)


def both(images, policy, size=None) -> tuple[np.ndarray, np.ndarray]:
    """Augment with the engine and with the layer, by the same draws."""
    engines = Augmenter(policy, size=size, seed=3, threads=2).apply(images, IDS, 2)
    draws = random_uniforms(3, 2, IDS, 3)
    return engines, augment_layer(policy, size).augment(tf.constant(images), draws).numpy()


@pytest.mark.parametrize("fill_mode", FILLS)
@pytest.mark.parametrize("size", [None, (50, 70), (90, 100)])
def test_equals_the_augmenter_with_its_draws(fill_mode, size):
    policy = Policy(**GEOMETRY, fill_mode=fill_mode, cval=77)
    engines, layers = both(photos(), policy, size)
    assert engines.std() > 20
    np.testing.assert_allclose(layers, engines, rtol=0, atol=0.01)


@pytest.mark.parametrize("fill_mode", FILLS)
def test_positions_on_the_very_edge_are_inside(fill_mode):
    policy = Policy(horizontal_flip=True, vertical_flip=True, fill_mode=fill_mode, cval=77)
    engines, layers = both(photos(65, 80), policy)
    np.testing.assert_array_equal(layers, engines)


@pytest.mark.parametrize("zoom", [{}, {"zoom_keep_aspect": True}, {"zoom_range": 0.3}])
def test_equals_the_augmenter_with_nearest_pixels(zoom):
    policy = Policy(**{**GEOMETRY, **zoom}, fill_mode="reflect", interpolation="nearest")
    engines, layers = both(photos(), policy, (50, 70))
    assert (engines != layers).mean() < 1e-4  # half-way between two pixels either may come out


def test_equals_the_augmenter_on_large_photos():
    policy = Policy(**GEOMETRY, fill_mode="nearest")
    engines, layers = both(photos(500, 400), policy)
    np.testing.assert_allclose(layers, engines, rtol=0, atol=0.03)


SATURATED = {"saturation_range": (0.2, 1.8), "mean": (0.1, 0.2, 0.3), "std": (1, 2, 3)}


@pytest.mark.parametrize(
    ("dtype", "channels", "options"),
    [
        (np.uint8, 1, {"mean": 0.5, "std": 2.0}),
        (np.uint8, 3, SATURATED),
        (np.uint16, 3, SATURATED),
        (np.float32, 3, SATURATED),
        (np.uint8, 4, {"saturation_range": (0.2, 1.8), "mean": (0.1, 0.2, 0.3, 0.4)}),
        (np.uint8, 5, {}),
    ],
)
def test_colours_equal_the_augmenters(dtype, channels, options):
    images = np.random.default_rng(1).integers(0, 256, (16, 9, 8, channels)).astype(dtype)
    engines, layers = both(images, Policy(**COLOUR, **options))
    np.testing.assert_allclose(layers, engines, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("run", "dtype"),
    [("eager", np.uint8), ("eager", np.float32), ("graph", np.uint8), ("xla", np.uint8)],
)
@pytest.mark.parametrize("size", [(31, 40), (7, 9), (130, 80)])
def test_without_training_only_resizes_and_normalises(run, dtype, size):
    images = photos(65, 83).astype(dtype)
    policy = Policy(**GEOMETRY, rescale=1 / 255, mean=(0.4, 0.5, 0.6), std=0.25)
    layer = augment_layer(policy, size)
    call = layer if run == "eager" else tf.function(layer, jit_compile=run == "xla")
    expected = Augmenter(policy.without_augmentation(), size=size).apply(images, IDS)
    np.testing.assert_allclose(call(tf.constant(images)), expected, rtol=0, atol=1e-4)


def test_pixels_that_nothing_changes_are_returned_as_they_are():
    np.testing.assert_array_equal(augment_layer(Policy(rotation_range=9))(photos()), photos())


def test_areas_are_averaged_where_the_resize_alone_skips_pixels():
    policy = Policy(width_shift_range=0.2, rotation_range=15)
    engines, layers = both(photos(128, 240), policy, (40, 50))
    np.testing.assert_allclose(layers, engines, rtol=0, atol=0.01)


def test_each_batch_and_each_picture_has_draws_of_its_own():
    same = np.repeat(photos()[:1], 4, axis=0)
    layer, again = (augment_layer(Policy(**GEOMETRY), seed=7) for _ in range(2))
    first, second = (layer(same, training=True).numpy() for _ in range(2))
    pictures = [*first, *second]
    distances = [np.abs(a - b).mean() for at, a in enumerate(pictures) for b in pictures[at + 1 :]]
    assert min(distances) > 1
    np.testing.assert_array_equal(again(same, training=True), first)
    assert np.abs(augment_layer(Policy(**GEOMETRY), seed=8)(same, training=True) - first).max() > 1


def test_draws_fill_the_policys_ranges():
    layer = augment_layer(Policy(channel_shift_range=10))
    shifts = layer(np.zeros((4000, 1, 1, 3), np.uint8), training=True)[:, 0, 0].numpy()
    assert (shifts == shifts[:, :1]).all()
    assert -10 <= shifts.min() < -9.9
    assert 9.9 < shifts.max() < 10
    assert abs(shifts.mean()) < 0.5


def small_model(shape=(None, None, 3)) -> keras.Model:
    policy = Policy(**GEOMETRY, **COLOUR, std=(1, 2, 3))
    inputs = keras.Input(shape, dtype="uint8")
    augmented = augment_layer(policy, (24, 20), seed=5, name="augment")(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(augmented))
    return keras.Model(inputs, outputs)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_a_model_learns_and_is_the_same_after_saving(tmp_path):
    model = small_model()
    assert model.get_layer("augment").output.shape == (None, 24, 20, 3)
    model.compile("sgd", "mse")
    model.fit(photos(), np.zeros((16, 2)), batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer, loaded_layer = (each.get_layer("augment") for each in (model, loaded))
    assert isinstance(loaded_layer, AugmentLayer)
    assert loaded_layer.policy == layer.policy
    assert loaded_layer.num_batches.numpy() == 4
    np.testing.assert_array_equal(loaded(photos()), model(photos()))
    np.testing.assert_array_equal(
        loaded_layer(photos(), training=True), layer(photos(), training=True)
    )


@pytest.mark.parametrize("shape", [(None, None, 3), (64, 80, 3)])
def test_an_exported_model_answers_the_same(shape, tmp_path):
    model = small_model(shape)
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(photos()), model(photos()), rtol=0, atol=1e-4)


def test_output_has_the_compute_dtype():
    policy = Policy(rotation_range=9, rescale=1 / 255)
    layer = augment_layer(policy, 16, dtype="mixed_float16")
    for training in (True, False):
        assert layer(photos(), training=training).dtype == tf.float16
    levels = augment_layer(Policy(), dtype="mixed_float16")(photos().astype(np.float32) + 0.25)
    np.testing.assert_array_equal(levels, (photos() + 0.25).astype(np.float16))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": {}}, TypeError, "`policy`.*got dict"),
        ({"policy": Policy(), "size": (1, 2, 3)}, ValueError, "`size`"),
        ({"policy": Policy(), "seed": -1}, ValueError, "`seed`.*got -1"),
        ({"policy": Policy(), "seed": 0.5}, ValueError, "`seed`.*got 0.5"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        augment_layer(**arguments)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"mean": (1, 2)}, (4, 4, 3), "`mean` has 2 values"),
        ({"saturation_range": (0.5, 1)}, (4, 4, 1), "RGB"),
        ({}, (4, 3), "batches"),
        ({}, (4, 4, None), "known number of channels"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(options, shape, message):
    with pytest.raises(ValueError, match=message):
        augment_layer(Policy(**options))(keras.Input(shape))


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="torch"):
        AugmentLayer(Policy())


MIRRORED = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np, tensorflow as tf, keras
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from fusewarp import Policy
from fusewarp.tensorflow import augment_layer
noise = np.random.default_rng(1).integers(0, 256, (1, 12, 12, 3), np.uint8)
images = np.repeat(noise, 8, axis=0)
with strategy.scope():
    layer = augment_layer(Policy(rotation_range=90))
    layers = [layer, keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((12, 12, 3), dtype="uint8"), *layers])
    model.compile(keras.optimizers.SGD(1e-9), "mse")

@tf.function
def augmented(batch):
    return strategy.run(lambda images: layer(images, training=True), args=(batch,))

[batch] = strategy.experimental_distribute_dataset(
    tf.data.Dataset.from_tensor_slices(images).batch(8)
)
first, second = strategy.experimental_local_results(augmented(batch))
pictures = [*first.numpy(), *second.numpy()]
assert len(pictures) == 8
distances = [np.abs(a - b).mean() for n, a in enumerate(pictures) for b in pictures[n + 1:]]
assert min(distances) > 0.1, distances
assert layer.num_batches.numpy() == 1
model.fit(images, np.zeros(8), batch_size=4, epochs=3, verbose=0)
assert layer.num_batches.numpy() == 7, layer.num_batches
"""


@pytest.mark.slow
def test_replicas_draw_differently():
    result = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
