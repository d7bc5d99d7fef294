"""A run of the trainer in a process of its own, which a test may kill at any moment."""

import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fusewarp.engine import ArraySource, Policy
from fusewarp.integrations.keras.checkpoint import load_state
from fusewarp.integrations.keras.trainer import TransferTrainer

TRAIN, HELD_OUT, BATCH = 44, 10, 8
EPOCHS = (5, 5)
STEPS = 6
HELD_OUT_LEVEL = 200


@keras.saving.register_keras_serializable("tests")
class Note(keras.layers.Layer):
    """Passes pictures on, and writes down which ones: their levels are their numbers."""

    def __init__(self, log="", seconds=0.0, **more):
        super().__init__(**more)
        self.log, self.seconds = log, seconds

    def call(self, pictures):
        def note(batch):
            levels = np.rint(batch.numpy()[:, 0, 0, 0]).astype(int)
            with open(self.log, "a") as file:
                file.write(" ".join(map(str, levels)) + "\n")
            time.sleep(self.seconds)
            return batch

        noted = tf.py_function(note, [pictures], tf.float32)
        noted.set_shape(pictures.shape)
        return noted


def plain_pictures(first_level, count):
    levels = np.arange(first_level, first_level + count, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (count, 6, 6, 3)).copy()
    return ArraySource(images, np.arange(count) % 2)


def train(folder, seconds=0.0):
    """Train in `folder`/run, or go on; write the final weights and the history at the end."""
    folder = Path(folder)
    log, run = folder / "levels.txt", folder / "run"
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    pixels = keras.Input((6, 6, 3))
    x = Note(str(log), seconds)(pixels)
    for name in ("early", "late"):
        initializer = keras.initializers.GlorotUniform(seed=1)
        x = keras.layers.Conv2D(4, 3, name=name, kernel_initializer=initializer)(x)
    trainer = TransferTrainer(
        keras.Model(pixels, x),
        pixels="raw",
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=(1e-2, 1e-3),
        trainable_layers=1,
        policy=Policy(horizontal_flip=True),
        threads=1,
    )
    state = load_state(run / "checkpoint")
    place = "0 0" if state is None else f"{state.position.epoch} {state.position.step}"
    with open(log, "a") as file:
        file.write(f"from {place}\n")
    trainer.fit(
        plain_pictures(0, TRAIN),
        plain_pictures(HELD_OUT_LEVEL, HELD_OUT),
        verbose=0,
        run_folder=run,
        resume=True,
        checkpoint_seconds=0.0,
    )
    weights = {str(n): w for n, w in enumerate(trainer.model.get_weights())}
    np.savez(folder / "final.npz", **weights)
    timed = ("seconds", "images_per_second", "wait_share")
    rows = [{k: v for k, v in row.items() if k not in timed} for row in trainer.history]
    (folder / "history.txt").write_text(repr(rows))


def steps_of(log):
    """Return what was trained on, (epoch, step) -> levels, without what a kill undid."""
    trained = {}
    place = (0, 0)
    for line in Path(log).read_text().splitlines():
        words = line.split()
        if words[0] == "from":
            place = (int(words[1]), int(words[2]))
            trained = {at: levels for at, levels in trained.items() if at < place}
        elif int(words[0]) < HELD_OUT_LEVEL:
            trained[place] = [int(word) for word in words]
            epoch, step = place
            place = (epoch, step + 1) if step + 1 < STEPS else (epoch + 1, 0)
    return trained
