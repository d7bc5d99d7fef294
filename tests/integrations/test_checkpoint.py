"""The state of a run as a file: whole or the one before, and refused where it does not fit."""

import errno

import keras
import numpy as np
import pytest
from keras import layers

from fusewarp.engine import ArraySource, Policy
from fusewarp.integrations.keras import checkpoint
from fusewarp.integrations.keras.checkpoint import (
    STATE,
    Position,
    build_variables,
    digest_of,
    load_state,
    restore,
    save_state,
    variables_of,
)
from fusewarp.integrations.keras.trainer import CHECKPOINT, CONFIG, TransferTrainer
from oracles.small_training import coloured_pictures, small_base

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IMAGES, LABELS = coloured_pictures(24)
SOURCE = ArraySource(IMAGES, LABELS)
ROWS = [{"epoch": 0, "stage": "head", "loss": 0.5}]


def network(units=3):
    inputs = keras.Input((6,))
    x = layers.Dropout(0.5, seed=1)(inputs)
    frozen = layers.Dense(5, trainable=False)
    outputs = layers.Dense(units, activation="softmax")(frozen(x))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    build_variables(model, np.zeros(1, np.int64))
    return model


def train(model, steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        model.train_on_batch(rng.normal(size=(8, 6)), rng.integers(0, 3, 8))


def values_of(model):
    return [keras.ops.convert_to_numpy(variable) for variable in variables_of(model)]


def test_a_state_and_back(tmp_path):
    model = network()
    train(model, 3)
    kept = values_of(model)
    save_state(tmp_path, model, Position(1, 2, 3), ROWS, "digest")
    train(model, 2, seed=1)
    assert any(not np.array_equal(a, b) for a, b in zip(kept, values_of(model), strict=True))
    state = load_state(tmp_path)
    assert (state.position, state.history, state.digest) == (Position(1, 2, 3), ROWS, "digest")
    restore(model, state)
    for one, two in zip(kept, values_of(model), strict=True):
        np.testing.assert_array_equal(one, two)


def test_it_holds_seeds_metrics_and_the_optimizer_but_no_frozen_weight():
    """Dense 2, the seed 1, Adam: 2 moments for each, iterations and rate, metrics 2 each."""
    model = network()
    paths = [variable.path for variable in variables_of(model)]
    assert sum("seed" in path for path in paths) == 1
    assert sum("adam" in path.lower() for path in paths) == 2 * 2 + 2
    assert sum("accuracy" in path for path in paths) == 2
    assert len(paths) == 2 + 1 + 6 + 4


def test_training_goes_on_as_if_nothing_had_been(tmp_path):
    """Dropout, Adam's moments and the metrics of the epoch included."""
    whole, killed, again = network(), network(), network()
    killed.set_weights(whole.get_weights())
    again.set_weights(whole.get_weights())
    for model in (whole, killed):
        train(model, 3)
    save_state(tmp_path, killed, Position(0, 0, 3), [], "")
    restore(again, load_state(tmp_path))
    for model in (whole, again):
        train(model, 3, seed=9)
    for one, two in zip(values_of(whole), values_of(again), strict=True):
        np.testing.assert_array_equal(one, two)


def test_there_is_none_yet(tmp_path):
    assert load_state(tmp_path / "nothing") is None


def full_disk(monkeypatch):
    def fail(file, **arrays):
        file.write(b"PK half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.np, "savez", fail)


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    model = network()
    save_state(tmp_path, model, Position(0, 1, 0), ROWS, "")
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(OSError, match=r"No space left.*one before it is whole") as caught:
            save_state(tmp_path, model, Position(0, 2, 0), ROWS, "")
    assert caught.value.errno == errno.ENOSPC
    assert load_state(tmp_path).position == Position(0, 1, 0)
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 torn"])
def test_what_is_no_state(tmp_path, content):
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.npz is no checkpoint"):
        load_state(tmp_path)


def test_a_state_of_another_network(tmp_path):
    save_state(tmp_path, network(), Position(), [], "")
    with pytest.raises(ValueError, match="another configuration"):
        restore(network(units=4), load_state(tmp_path))


def test_digests_tell_weights_and_words_apart():
    weights = [np.arange(4.0), np.ones((2, 2))]
    other = [np.arange(4.0), np.ones((2, 2)) + 1e-12]
    assert digest_of(weights, ["a"]) == digest_of(weights, ["a"])
    assert len({digest_of(weights), digest_of(other), digest_of(weights, ["a"])}) == 3


def trainer_of(base=None, **arguments):
    arguments = {"epochs": (1, 0), "batch_size": 8, "pixels": "tf", "threads": 1, **arguments}
    return TransferTrainer(small_base() if base is None else base, **arguments)


class TestRunFolder:
    def test_a_run_is_not_written_over(self, tmp_path):
        trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, CONFIG}
        with pytest.raises(FileExistsError, match="resume=True"):
            trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path)

    def test_resuming_needs_a_folder(self):
        with pytest.raises(ValueError, match="needs the `run_folder`"):
            trainer_of().fit(SOURCE, verbose=0, resume=True)

    def test_a_finished_run_only_gets_its_weights_again(self, tmp_path):
        first, again = trainer_of(), trainer_of()
        first.fit(SOURCE, verbose=0, run_folder=tmp_path)
        again.fit(SOURCE, verbose=0, run_folder=tmp_path, resume=True)
        assert again.history == first.history
        for one, two in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize(
        "other", [{"batch_size": 4}, {"policy": Policy()}, {"base": small_base(seed=4)}]
    )
    def test_another_configuration_or_base_cannot_go_on(self, tmp_path, other):
        trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path)
        with pytest.raises(ValueError, match="another configuration or another base"):
            trainer_of(**other).fit(SOURCE, verbose=0, run_folder=tmp_path, resume=True)

    def test_other_threads_can(self, tmp_path):
        trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path)
        again = trainer_of(threads=2)
        assert again.fit(SOURCE, verbose=0, run_folder=tmp_path, resume=True)

    def test_more_epochs_are_another_configuration(self, tmp_path):
        trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path)
        with pytest.raises(ValueError, match="another configuration"):
            trainer_of(epochs=(2, 0)).fit(SOURCE, verbose=0, run_folder=tmp_path, resume=True)

    @pytest.mark.parametrize(
        "other",
        [
            ArraySource(IMAGES[::-1].copy(), LABELS),
            ArraySource(IMAGES, LABELS[::-1].copy()),
            ArraySource(IMAGES[:-1], LABELS[:-1]),
        ],
    )
    def test_other_pictures_or_labels_cannot_go_on(self, tmp_path, other):
        trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path)
        with pytest.raises(ValueError, match="other pictures or labels"):
            trainer_of().fit(other, verbose=0, run_folder=tmp_path, resume=True)

    def test_a_rate_that_a_callback_has_set_is_kept(self, tmp_path):
        class Lower(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.optimizer.learning_rate.assign(1e-5)

        trainer_of().fit(SOURCE, verbose=0, run_folder=tmp_path, callbacks=[Lower()])
        again = trainer_of()
        again.fit(SOURCE, verbose=0, run_folder=tmp_path, resume=True)
        rate = float(again._networks.classifier.optimizer.learning_rate)
        assert rate == pytest.approx(1e-5)

    def test_a_full_disk_ends_the_run_with_the_remedy(self, tmp_path, monkeypatch):
        trainer = trainer_of(epochs=(2, 0))
        trainer.fit(SOURCE, verbose=0, run_folder=tmp_path)
        kept = (tmp_path / CHECKPOINT / STATE).read_bytes()
        full_disk(monkeypatch)
        with pytest.raises(OSError, match="go on with resume"):
            trainer_of(epochs=(2, 0)).fit(SOURCE, verbose=0, run_folder=tmp_path / "other")
        assert (tmp_path / CHECKPOINT / STATE).read_bytes() == kept
