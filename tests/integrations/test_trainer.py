import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import fusewarp.keras
from fusewarp.engine import ArraySource, FolderSource, Loader, Policy, SampleError
from fusewarp.integrations.keras.bases import build_base
from fusewarp.integrations.keras.heads import Head
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.small_training import (
    coloured_pictures,
    small_base,
    write_coloured_folder,
)

# Keras itself calls np.array on TensorFlow's tensors, whose __array__ is of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FAST = {"epochs": (1, 1), "batch_size": 8, "learning_rate": (1e-2, 1e-3), "threads": 1}


@pytest.fixture(scope="module")
def pictures():
    return ArraySource(*coloured_pictures(21))


@pytest.fixture(scope="module")
def validation():
    return ArraySource(*coloured_pictures(10, seed=1))


class StagesSeen(keras.callbacks.Callback):
    """Notes the numbers of the epochs, and the learning rate each was trained at."""

    def __init__(self):
        super().__init__()
        self.epochs, self.rates = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.rates.append(float(self.model.optimizer.learning_rate))


def trained(pictures, validation=None, *, base=None, callbacks=(), **arguments):
    base = small_base() if base is None else base
    arguments = {"pixels": "tf", "trainable_layers": 2, **FAST, **arguments}
    trainer = TransferTrainer(base, **arguments)
    trainer.fit(pictures, validation, callbacks=callbacks, verbose=0)
    return trainer


@pytest.fixture(scope="module")
def two_stages(pictures, validation):
    callback = StagesSeen()
    base = small_base()
    before = [weight.numpy().copy() for weight in base.weights]
    trainer = trained(pictures, validation, base=base, callbacks=[callback])
    return trainer, before, callback


class TestFrozen:
    def test_every_frozen_weight_and_statistic_is_bit_equal(self, two_stages):
        trainer, before, _ = two_stages
        names, frozen = [], []
        for weight, old in zip(trainer.conv_base.model.weights, before, strict=True):
            if "late_conv" not in weight.path:
                names.append(weight.path)
                frozen.append(np.array_equal(weight.numpy(), old))
        assert len(names) == 10  # first conv 2, two batch normalizations of 4 each
        assert frozen == [True] * 10, names

    def test_the_last_layers_have_learned(self, two_stages):
        trainer, before, _ = two_stages
        changed = [
            not np.array_equal(weight.numpy(), old)
            for weight, old in zip(trainer.conv_base.model.weights, before, strict=True)
            if "late_conv" in weight.path
        ]
        assert changed == [True, True]

    def test_stages_count_their_parameters(self, two_stages):
        head, fine_tuning = two_stages[0].stages
        late_conv = 3 * 3 * 8 * 12 + 12
        total = (3 * 3 * 3 * 8 + 8) + 4 * 8 + late_conv + 4 * 12 + (12 * 3 + 3)
        assert (head.name, head.trainable_parameters) == ("head", 39)
        assert fine_tuning.trainable_parameters == 39 + late_conv
        assert head.frozen_parameters == total - 39
        assert fine_tuning.frozen_parameters == total - 39 - late_conv

    def test_each_stage_is_compiled_at_its_rate(self, two_stages):
        assert two_stages[2].rates == pytest.approx([1e-2, 1e-3])

    def test_without_fine_tuning_the_whole_base_is_bit_equal(self, pictures):
        for arguments in ({"trainable_layers": 0}, {"epochs": (1, 0)}):
            base = small_base()
            before = base.get_weights()
            trainer = trained(pictures, base=base, **arguments)
            assert [stage.name for stage in trainer.stages] == ["head"]
            for weight, old in zip(base.get_weights(), before, strict=True):
                np.testing.assert_array_equal(weight, old)

    def test_layers_the_user_froze_or_not_make_no_difference(self, pictures):
        base = small_base()
        for layer in base.layers:
            layer.trainable = False
        assert trained(pictures, base=base).stages[1].trainable_parameters == 39 + 876


class TestRefusals:
    def test_a_stage_that_would_train_nothing(self, pictures):
        with pytest.raises(ValueError, match=r"nothing.*trainable_layers=2 reaches 'late_b"):
            trained(pictures, trainable_layers=1)

    def test_batch_normalization_alone_is_nothing(self, pictures):
        inputs = keras.Input((32, 40, 3))
        x = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(inputs))
        with pytest.raises(ValueError, match=r"trainable_layers=2 reaches 'conv'"):
            trained(pictures, base=keras.Model(inputs, x), trainable_layers=1)

    def test_a_base_without_weights(self, pictures):
        inputs = keras.Input((32, 40, 3))
        base = keras.Model(inputs, layers.AveragePooling2D(2)(inputs))
        with pytest.raises(ValueError, match=r"No layer of this base can learn"):
            trained(pictures, base=base, trainable_layers=1)

    def test_more_layers_than_there_are(self, pictures):
        with pytest.raises(ValueError, match=r"is 6, but small_base has 6 layers|is 7, but"):
            trained(pictures, trainable_layers=7)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"base": "resnet51"}, ValueError, "no base 'resnet51'"),
            ({"base": 50}, TypeError, "a name or a keras.Model, got 50"),
            ({"pixels": "tf"}, ValueError, "for your own model only, got 'tf'"),
            ({"weights": "none.h5"}, FileNotFoundError, "no file none.h5"),
            ({"base": small_base()}, ValueError, "does not say what pixels it wants"),
            ({"epochs": 0}, ValueError, "at least 1 for the head"),
            ({"epochs": (1, -1)}, ValueError, "`epochs` must be at least 0, got -1"),
            ({"epochs": 1.5}, TypeError, "`epochs` must be a whole number, got 1.5"),
            ({"epochs": (1, 2, 3)}, ValueError, "got (1, 2, 3)"),
            ({"epochs": "3"}, TypeError, "got '3'"),
            ({"learning_rate": 0.0}, ValueError, "above 0 and finite, got 0.0"),
            ({"learning_rate": (1e-3, float("nan"))}, ValueError, "got nan"),
            ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
            ({"trainable_layers": -1}, ValueError, "`trainable_layers` must be at least 0"),
            ({"trainable_layers": 1.5}, TypeError, "`trainable_layers` must be a whole number"),
            ({"head": "mlp"}, TypeError, "a Head or a keras.Model, got 'mlp'"),
            ({"label_smoothing": 1.0}, ValueError, "below 1, got 1.0"),
            ({"mixed_precision": "half"}, ValueError, "got 'half'"),
            ({"cache_features": True}, ValueError, "leaves nothing to chance"),
            ({"image_size": (96, 96, 3)}, ValueError, "got (96, 96, 3)"),
            ({"image_size": 0}, ValueError, "`image_size` must be at least 1, got 0"),
            ({"seed": -1}, ValueError, "`seed` must be at least 0"),
            ({"metrics": "accuracy"}, TypeError, "a list of metrics, got 'accuracy'"),
            ({"optimizer": "adamm"}, ValueError, "adamm"),
            ({"policy": {"rotation_range": 3}}, TypeError, "must be a Policy"),
            ({"policy": Policy(rescale=1 / 255)}, ValueError, "would rescale twice"),
            ({"policy": Policy(mean=127.0)}, ValueError, "has mean=127.0"),
            ({"policy": Policy(std=(1.0, 2.0, 3.0))}, ValueError, "would rescale twice"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, message):
        with pytest.raises(error, match=re.escape(message)):
            TransferTrainer(**arguments)

    def test_own_model_with_a_weights_file(self):
        with pytest.raises(ValueError, match=r"model\.load_weights\('mine\.weights\.h5'\)"):
            TransferTrainer(small_base(), weights="mine.weights.h5")

    @pytest.mark.parametrize(
        ("images", "labels", "error", "message"),
        [
            (np.zeros((4, 5, 5, 3), np.float32), [0, 1, 0, 1], TypeError, "0-1 or 0-255"),
            (np.zeros((4, 5, 5, 1), np.uint8), [0, 1, 0, 1], ValueError, "has 1 channels"),
            (np.zeros((4, 5, 5, 3), np.uint8), None, ValueError, "no labels"),
            (np.zeros((2, 5, 5, 3), np.uint8), [[0, 1], [1, 0]], ValueError, "argmax(axis=1)"),
            (np.zeros((2, 5, 5, 3), np.uint8), [0, 0], ValueError, "two are needed"),
            (np.zeros((2, 5, 5, 3), np.uint8), [-1, 1], ValueError, "start at 0, got -1"),
        ],
    )
    def test_sources_that_do_not_fit(self, images, labels, error, message):
        with pytest.raises(error, match=re.escape(message)):
            trained(ArraySource(images, labels))

    def test_validation_with_other_classes(self, pictures, tmp_path):
        more = ArraySource(np.zeros((4, 5, 5, 3), np.uint8), [0, 1, 2, 3])
        with pytest.raises(ValueError, match="a label 3, but training had 3 classes"):
            trained(pictures, more)
        folder = FolderSource(write_coloured_folder(tmp_path, 1))
        fewer = FolderSource(tmp_path, classes=["red", "blue"])
        with pytest.raises(ValueError, match=r"in training, but \['red', 'blue'\] here"):
            trained(folder, fewer)

    def test_validation_with_pictures_of_training(self, pictures):
        leaky = ArraySource(pictures.images[:9:4], pictures.labels[:9:4])
        with pytest.raises(ValueError, match=r"3 of the 3 validation pictures are among those"):
            trained(pictures, leaky)

    def test_validation_with_classes_that_were_not_trained(self, pictures):
        images, labels = coloured_pictures(12, seed=1)
        train = pictures.select(np.flatnonzero(pictures.labels != 1))
        with pytest.raises(ValueError, match="none is for training: 1"):
            trained(train, ArraySource(images, labels))

    def test_not_a_source(self):
        with pytest.raises(TypeError, match=r"a FolderSource, an ArraySource or .* got ndarray"):
            trained(np.zeros((4, 5, 5, 3), np.uint8))

    def test_a_checkpoint_that_would_expect_other_pixels(self, pictures, tmp_path):
        checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="without its pixel step"):
            trained(pictures, callbacks=[checkpoint])
        with pytest.raises(TypeError, match="must be Keras callbacks"):
            trained(pictures, callbacks=[print])

    def test_no_model_before_fit(self, pictures):
        trainer = TransferTrainer(small_base(), pixels="tf")
        for use in (lambda: trainer.model, trainer.augmenter, lambda: trainer.predict(pictures)):
            with pytest.raises(RuntimeError, match="call `fit` first"):
                use()


class TestHistory:
    def test_epochs_count_through_both_stages(self, two_stages):
        trainer, _, callback = two_stages
        assert callback.epochs == [0, 1]
        assert [(row["epoch"], row["stage"]) for row in trainer.history] == [
            (0, "head"),
            (1, "fine-tuning"),
        ]

    def test_rows_hold_losses_metrics_and_measurements(self, two_stages):
        expected = {"epoch", "stage", "loss", "accuracy", "val_loss", "val_accuracy"}
        expected |= {"learning_rate", "seconds", "images_per_second", "wait_share"}
        for row in two_stages[0].history:
            assert set(row) == expected
            assert row["images_per_second"] == pytest.approx(21 / row["seconds"])
            assert 0 <= row["wait_share"] <= 1

    def test_one_number_for_both_stages(self):
        values = TransferTrainer(epochs=4, learning_rate=1e-2).hyperparameters()
        assert values["epochs"] == [4, 4]
        assert values["learning_rate"] == pytest.approx([1e-2, 1e-3])

    def test_a_run_that_is_stopped_early_keeps_its_history(self, pictures, validation):
        stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9)
        trainer = trained(pictures, validation, epochs=(5, 4), callbacks=[stop])
        assert [row["stage"] for row in trainer.history] == ["head"] * 2 + ["fine-tuning"] * 2
        assert [row["epoch"] for row in trainer.history] == [0, 1, 2, 3]

    def test_a_run_that_is_interrupted_keeps_its_history_and_model(self, pictures):
        class Interrupt(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2:
                    raise KeyboardInterrupt

        trainer = TransferTrainer(small_base(), pixels="tf", **{**FAST, "epochs": (4, 0)})
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(pictures, callbacks=[Interrupt()], verbose=0)
        assert [row["epoch"] for row in trainer.history] == [0, 1]
        assert trainer.predict(pictures).shape == (21, 3)

    def test_stages_are_announced(self, pictures, capsys):
        trainer = TransferTrainer(small_base(), pixels="tf", trainable_layers=2, **FAST)
        trainer.fit(pictures, verbose=2)
        assert "915 parameters trainable" in capsys.readouterr().out


def note_reads(source, monkeypatch):
    """Return the list that the ids read from a source will be added to."""
    read, seen = source.read, []

    def noting(sample_id, min_size=(0, 0)):
        seen.append(sample_id)
        return read(sample_id, min_size)

    monkeypatch.setattr(source, "read", noting)
    return seen


class TestPixels:
    @pytest.mark.parametrize("pixels", ["raw", "torch", "caffe"])
    def test_training_feed_and_saved_model_agree(self, pictures, pixels):
        """The same pictures, as the loader feeds them and as raw levels into the model."""
        trainer = trained(pictures, pixels=pixels, epochs=(1, 0))
        raw = trainer.model.predict(pictures.images, verbose=0)
        np.testing.assert_allclose(trainer.predict(pictures), raw, atol=1e-5)
        assert np.ptp(raw, axis=0).min() > 1e-3  # otherwise any pixels would agree

    def test_levels_may_be_bytes_or_floats(self, two_stages, pictures):
        model = two_stages[0].model
        levels = pictures.images[:4]
        expected = model.predict(levels.astype(np.float32), verbose=0)
        np.testing.assert_array_equal(model.predict(levels, verbose=0), expected)
        called = keras.ops.convert_to_numpy(model(levels))
        np.testing.assert_allclose(called, expected, atol=1e-6)

    def test_a_base_that_rescales_inside_is_fed_raw_levels(self, pictures):
        trainer = trained(pictures, base=small_base(rescaling=True), pixels=None, epochs=(1, 0))
        fed = trainer.augmenter(augment=False).apply(pictures.images, range(21))
        np.testing.assert_array_equal(fed, pictures.images.astype(np.float32))
        kinds = [type(layer).__name__ for layer in trainer.model.layers]
        assert "Normalization" not in kinds

    def test_evaluation_is_that_of_the_saved_model(self, two_stages, validation):
        trainer = two_stages[0]
        probabilities = trainer.model.predict(validation.images, verbose=0)
        right = probabilities.argmax(axis=1) == validation.labels
        losses = -np.log(probabilities[np.arange(10), validation.labels])
        measured = trainer.evaluate(validation)
        assert measured["accuracy"] == pytest.approx(right.mean())
        assert measured["loss"] == pytest.approx(losses.mean(), abs=1e-5)

    def test_validation_after_each_epoch_is_not_augmented(self, two_stages, validation):
        trainer = two_stages[0]
        last = trainer.history[-1]
        measured = trainer.evaluate(validation)
        assert last["val_loss"] == pytest.approx(measured["loss"], abs=1e-6)
        assert last["val_accuracy"] == pytest.approx(measured["accuracy"])

    def test_every_sample_is_read_once_an_epoch(self, monkeypatch):
        train, held_out = (ArraySource(*coloured_pictures(n)) for n in (19, 11))
        train_ids = note_reads(train, monkeypatch)
        held_out_ids = note_reads(held_out, monkeypatch)
        trainer = TransferTrainer(small_base(), pixels="tf", **{**FAST, "epochs": (2, 0)})
        trainer.fit(train, held_out, verbose=0, check_leaks=False)  # it would read them too
        assert sorted(train_ids[:38]) == sorted(list(range(19)) * 2)
        assert held_out_ids[:22] == list(range(11)) * 2

    def test_the_second_stage_goes_on_with_new_augmentations(self, pictures, monkeypatch):
        load, epochs = Loader.load_state_dict, []

        def noting(self, state):
            epochs.append(state["epoch"])
            load(self, state)

        monkeypatch.setattr(Loader, "load_state_dict", noting)
        trained(pictures, epochs=(2, 1))
        assert epochs == [0, 2]


class TestRun:
    @pytest.mark.slow
    def test_same_seed_same_weights(self, pictures):
        first, again, other = (trained(pictures, seed=seed) for seed in (1, 1, 2))
        weights = [trainer.model.get_weights() for trainer in (first, again, other)]
        for one, two in zip(*weights[:2], strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)
        assert not np.allclose(weights[0][-2], weights[2][-2])

    @pytest.mark.slow
    def test_fit_again_starts_anew(self, pictures):
        trainer = trained(pictures, epochs=(1, 0))
        trainer.fit(pictures, verbose=0)
        assert [row["epoch"] for row in trainer.history] == [0]

    def test_sample_weights_reach_the_loss(self):
        images, labels = coloured_pictures(21)
        without = ArraySource(images, labels, np.zeros(21, np.float32))
        trainer = trained(without, epochs=(1, 0))
        assert trainer.history[0]["loss"] == 0.0

    def test_a_broken_picture_is_named(self, tmp_path):
        source = FolderSource(write_coloured_folder(tmp_path, 8))
        source.paths[11].write_bytes(b"\xff\xd8 no JPEG")
        with pytest.raises(SampleError, match=re.escape(str(source.paths[11]))):
            trained(source, image_size=(32, 40), epochs=(3, 0))

    @pytest.mark.slow
    def test_optimizer_objects_are_copied_with_the_stages_rate(self, pictures):
        optimizer = keras.optimizers.SGD(0.5, momentum=0.75)
        callback = StagesSeen()
        trained(pictures, optimizer=optimizer, callbacks=[callback])
        assert callback.rates == pytest.approx([1e-2, 1e-3])
        assert callback.model.optimizer.momentum == 0.75
        assert callback.model.optimizer is not optimizer

    def test_no_thread_waits_behind_a_run(self, pictures):
        stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9)
        trainer = trained(pictures, epochs=(9, 0), callbacks=[stop])
        assert len(trainer.history) == 2  # and fit returned, with its generator closed


RELOAD = """
import sys
sys.modules["fusewarp"] = None  # an import of it would fail, installed or not
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
levels = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(levels, verbose=0))
"""


def predict_in_a_fresh_process(model, levels, tmp_path):
    """Save, load and predict where no fusewarp can be imported."""
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "levels.npy", levels)
    names = [str(tmp_path / name) for name in ("model.keras", "levels.npy", "out.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", RELOAD, *names],
        check=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    return np.load(tmp_path / "out.npy")


def test_the_saved_model_needs_no_fusewarp(pictures, tmp_path):
    """With "caffe" pixels: standard layers swap the channels too."""
    trainer = trained(pictures, pixels="caffe", epochs=(1, 0))
    reloaded = predict_in_a_fresh_process(trainer.model, pictures.images, tmp_path)
    np.testing.assert_allclose(reloaded, trainer.predict(pictures), atol=1e-5)
    np.testing.assert_allclose(
        reloaded, trainer.model.predict(pictures.images, verbose=0), atol=1e-6
    )


@pytest.mark.slow
def test_lite0_learns_colours_from_a_folder(tmp_path):
    train = FolderSource(write_coloured_folder(tmp_path / "train", 16))
    held_out = FolderSource(write_coloured_folder(tmp_path / "held_out", 8, seed=1))
    trainer = TransferTrainer(
        image_size=64, epochs=(6, 2), batch_size=8, learning_rate=(3e-3, 1e-5)
    )
    trainer.fit(train, held_out, verbose=0)
    assert trainer.class_names == ["blue", "green", "red"]
    assert trainer.history[-1]["val_accuracy"] >= 0.95

    fresh = build_base("efficientnet-lite0", weights="imagenet", image_size=(64, 64)).model
    last = {weight.path for layer in fresh.layers[-20:] for weight in layer.weights}
    moved, held = 0, 0
    for weight, old in zip(trainer.conv_base.model.weights, fresh.weights, strict=True):
        may_change = old.path in last and "_bn/" not in old.path
        assert np.array_equal(weight.numpy(), old.numpy()) != may_change, old.path
        moved, held = moved + may_change, held + (not may_change)
    assert (moved, held) == (7, 238)  # of 49 convolutions and 49 batch normalizations of 4

    pictures = np.stack([held_out.read(sample_id) for sample_id in range(4)])
    resized = np.stack([np.asarray(keras.ops.image.resize(p, (64, 64))) for p in pictures])
    reloaded = predict_in_a_fresh_process(trainer.model, resized, tmp_path)
    np.testing.assert_allclose(reloaded, trainer.model.predict(resized, verbose=0), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ConvNeXtTiny", "MobileNetV3Small", "EfficientNetB0", "ResNet50"])
def test_saved_models_of_other_families_need_no_fusewarp(name, pictures, tmp_path):
    trainer = TransferTrainer(name, weights=None, image_size=(64, 64), trainable_layers=0, **FAST)
    trainer.fit(pictures, verbose=0)
    levels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    reloaded = predict_in_a_fresh_process(trainer.model, levels, tmp_path)
    np.testing.assert_allclose(reloaded, trainer.predict(ArraySource(levels)), rtol=1e-4, atol=1e-5)


def test_every_public_name_is_there():
    assert all(hasattr(fusewarp.keras, name) for name in fusewarp.keras.__all__)
    assert fusewarp.keras.Head is Head
