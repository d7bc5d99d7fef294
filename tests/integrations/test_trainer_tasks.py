"""Every task, head and option, trained for real on small pictures."""

import keras
import numpy as np
import pytest
from keras import layers

from fusewarp.engine import ArraySource, Policy, TableSource
from fusewarp.integrations.keras.heads import Head
from fusewarp.integrations.keras.stages import Diverged
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.small_training import coloured_pictures, small_base, write_coloured_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IMAGES, COLOURS = coloured_pictures(48)
LEARNABLE = {"epochs": (12, 1), "batch_size": 8, "learning_rate": (3e-2, 1e-3), "threads": 1}
FLIPS = Policy(horizontal_flip=True)
RED = IMAGES[..., 0].mean(axis=(1, 2)) / 255


def trained(labels, *, images=IMAGES, weights=None, **arguments):
    arguments = {"pixels": "tf", "trainable_layers": 2, "policy": FLIPS, **LEARNABLE, **arguments}
    trainer = TransferTrainer(small_base(), **arguments)
    source = ArraySource(images, labels, weights)
    trainer.fit(source, source, verbose=0, check_leaks=False)
    return trainer, source


class TestTasks:
    def test_binary(self):
        trainer, source = trained((COLOURS == 2).astype(int), task="binary")
        predictions, labels = trainer.predict_labelled(source)
        assert predictions.shape == (48, 1)
        assert ((predictions[:, 0] > 0.5) == labels).mean() > 0.95
        assert trainer.class_names == ["0", "1"]
        assert trainer.history[-1]["val_accuracy"] > 0.95

    def test_multi_label(self):
        """Warm and cold are no exclusive classes of red, green and blue."""
        labels = np.stack([COLOURS == 2, COLOURS != 2, np.ones(48)], axis=1).astype(int)
        trainer, source = trained(labels)
        assert trainer.resolved_task.name == "multi-label"
        predictions = trainer.predict(source)
        assert ((predictions > 0.5) == labels).mean() > 0.95
        assert trainer.model.predict(IMAGES, verbose=0) == pytest.approx(predictions, abs=1e-4)

    def test_regression(self):
        trainer, source = trained(RED.astype(np.float32), learning_rate=(1e-2, 1e-4))
        predictions = trainer.predict(source)[:, 0]
        assert np.corrcoef(predictions, RED)[0, 1] > 0.9
        row = trainer.history[-1]
        assert row["val_mean_absolute_error"] == pytest.approx(
            np.abs(predictions - RED).mean(), rel=1e-3
        )

    def test_smoothed_labels(self):
        trainer, source = trained(COLOURS, label_smoothing=0.2)
        assert (trainer.predict(source).argmax(axis=1) == COLOURS).mean() > 0.95
        assert trainer.predict(source).max() < 0.97  # 0.87 is what the loss asks for


class TestHeads:
    def test_hidden_layers(self):
        trainer, source = trained(COLOURS, head=Head(units=(16,), dropout=0.1))
        assert (trainer.predict(source).argmax(axis=1) == COLOURS).mean() > 0.95
        assert trainer.model.get_layer("hidden_1").units == 16

    def test_the_users_own(self):
        features = keras.Input((8, 10, 12))
        outputs = layers.Dense(3, activation="softmax")(layers.Flatten()(features))
        trainer, source = trained(COLOURS, head=keras.Model(features, outputs, name="mine"))
        assert (trainer.predict(source).argmax(axis=1) == COLOURS).mean() > 0.95

    def test_the_users_own_that_does_not_fit(self):
        features = keras.Input((8, 10, 12))
        logits = layers.Dense(3)(layers.GlobalAveragePooling2D()(features))
        with pytest.raises(ValueError, match="no probabilities"):
            trained(COLOURS, head=keras.Model(features, logits))


class TestClassWeights:
    def test_they_are_weights_of_samples(self):
        """A class that weighs nothing is not learned, and the loss is that of the others."""
        trainer, source = trained(COLOURS, class_weight={"2": 0.0})
        predicted = trainer.predict(source).argmax(axis=1)
        assert (predicted[COLOURS != 2] == COLOURS[COLOURS != 2]).mean() > 0.95
        assert (predicted[COLOURS == 2] == 2).mean() < 0.5

    def test_they_do_not_weigh_validation(self):
        trainer, source = trained(COLOURS, class_weight={"2": 0.0}, epochs=(1, 0))
        assert trainer.history[0]["val_loss"] == pytest.approx(
            trainer.evaluate(source)["loss"], rel=1e-5
        )


PLAIN = {"policy": Policy(), "epochs": (4, 0), "head": Head(dropout=0.0)}


class TestFeatures:
    def test_kept_or_not_the_same_head_comes_out(self):
        """Without dropout: the order is the same, so only rounding differs."""
        kept, _ = trained(COLOURS, **PLAIN)
        not_kept, _ = trained(COLOURS, **PLAIN, cache_features=False)
        for one, two in zip(kept.model.get_weights(), not_kept.model.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, atol=2e-5)
        for one, two in zip(kept.history, not_kept.history, strict=True):
            assert one["loss"] == pytest.approx(two["loss"], abs=1e-4)
            assert one["val_loss"] == pytest.approx(two["val_loss"], abs=1e-4)

    def test_the_base_runs_once_over_each_picture(self):
        seen = []

        class Count(keras.layers.Layer):
            def call(self, pictures):
                import tensorflow as tf

                def note(batch):
                    seen.append(len(batch))
                    return batch

                noted = tf.py_function(note, [pictures], tf.float32)
                noted.set_shape(pictures.shape)
                return noted

        pixels = keras.Input((32, 40, 3))
        base = keras.Model(pixels, layers.Conv2D(4, 3)(Count()(pixels)))
        trainer = TransferTrainer(
            base, pixels="raw", policy=Policy(), epochs=(5, 0), batch_size=8, threads=1
        )
        seen.clear()
        source = ArraySource(IMAGES, COLOURS)
        trainer.fit(source, source, verbose=0, check_leaks=False)
        assert sum(seen) == 2 * 48  # training and validation

    def test_fine_tuning_goes_on_with_pictures(self):
        trainer, source = trained(COLOURS, policy=Policy())
        assert [stage.name for stage in trainer.stages] == ["head", "fine-tuning"]
        assert trainer.history[-1]["epoch"] == 12
        assert (trainer.predict(source).argmax(axis=1) == COLOURS).mean() > 0.95


def test_a_loss_that_is_no_number_any_more(tmp_path):
    with pytest.raises(Diverged, match=r"not finite any more, in epoch .*lower `learning_rate`"):
        trained(RED.astype(np.float32), learning_rate=(1e30, 1.0), optimizer="sgd")


@pytest.mark.slow
def test_mixed_precision_computes_in_it_and_keeps_float32(tmp_path):
    before = keras.config.dtype_policy().name
    trainer = TransferTrainer(
        "MobileNetV2",
        weights=None,
        mixed_precision="bfloat16",
        image_size=32,
        epochs=(1, 0),
        batch_size=8,
        threads=1,
    )
    trainer.fit(ArraySource(IMAGES[:16], COLOURS[:16]), verbose=0)
    assert keras.config.dtype_policy().name == before
    layer = trainer.conv_base.model.layers[1]
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
    outputs = trainer.predict(ArraySource(IMAGES[:4], COLOURS[:4]))
    assert outputs.dtype == np.float32
    trainer.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(IMAGES[:4, :32, :32], verbose=0),
        trainer.model.predict(IMAGES[:4, :32, :32], verbose=0),
        atol=1e-3,
    )


def test_mixed_precision_is_not_for_an_own_model():
    with pytest.raises(ValueError, match="set_dtype_policy"):
        TransferTrainer(small_base(), pixels="tf", mixed_precision="float16")


def test_a_table_says_what_its_columns_are(tmp_path):
    """One column of numbers that could be classes, were it not for the table."""
    write_coloured_folder(tmp_path, 8)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    table = {"file": names, "warmth": [float(name.startswith("red")) for name in names]}
    source = TableSource(table, tmp_path, path="file", label="warmth")
    assert source.task == "regression"
    trainer = TransferTrainer(small_base(), pixels="tf", epochs=(1, 0), batch_size=8)
    trainer.fit(source, verbose=0)
    assert trainer.resolved_task.name == "regression"
    assert trainer.class_names == ["warmth"]
