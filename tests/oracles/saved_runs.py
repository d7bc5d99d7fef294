"""Run folders of tiny models that nobody trained, for tests of what comes after training."""

import json

import keras
import numpy as np

from fusewarp import Policy

SIZE = (16, 20)
ACTIVATIONS = {
    "single-label": "softmax",
    "binary": "sigmoid",
    "multi-label": "sigmoid",
    "regression": None,
}
POLICY = Policy(rotation_range=30, horizontal_flip=True, brightness_range=(0.7, 1.2))


def tiny_model(task, num_outputs, seed=0, **input_options):
    """Every pixel counts, so that a flipped or turned picture gives something else."""
    levels = keras.Input((*SIZE, 3), name="rgb_levels", **input_options)
    pixels = keras.layers.Normalization(mean=[127.0] * 3, variance=[60.0**2] * 3)(levels)
    initializer = keras.initializers.RandomNormal(stddev=0.1, seed=seed)
    dense = keras.layers.Dense(
        num_outputs, activation=ACTIVATIONS[task], kernel_initializer=initializer
    )
    return keras.Model(levels, dense(keras.layers.Flatten()(pixels)))


def write_run(folder, task, names, **hyperparameters):
    """Write model.keras, labels.txt and report.json; return the model."""
    folder.mkdir(parents=True)
    model = tiny_model(task, 1 if task == "binary" else len(names))
    model.save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    values = {"policy": POLICY.to_dict(), "seed": 5, **hyperparameters}
    report = {"task": task, "class_names": names, "hyperparameters": values}
    (folder / "report.json").write_text(json.dumps(report))
    return model


def noise_pictures(count, seed=0, size=SIZE):
    """Make (count, height, width, 3) uint8 pictures of large spots."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size[0] // 4, size[1] // 4, 3), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)
