"""The two stages: a head on the frozen base, then the base's last layers as well."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from .checkpoint import Position, State, build_variables, restore
from .features import MOST_BYTES, FeatureBatches, compute_features, is_plain
from .feed import Batches, Feed, Meter, run
from .freezing import count_parameters, set_trainable
from .interrupt import Wish
from .networks import Networks
from .own_data import OwnData
from .stages import Keeper, Recorder, Saving, Stage, Validation
from .tasks import METRICS

if TYPE_CHECKING:
    from .trainer import Source, TransferTrainer

Verbose = Literal["auto", 0, 1, 2]
HEAD, FINE_TUNING = "head", "fine-tuning"


@dataclass(frozen=True)
class Data:
    """What a run is about; the weights are of the classes."""

    train: "Source"
    validation: "Source | None"
    weights: NDArray[np.float32] | None


@dataclass(frozen=True)
class Session:
    """How a run is kept, stopped, listened to and shown."""

    saving: Saving
    wish: Wish
    callbacks: Sequence[keras.callbacks.Callback]
    verbose: Verbose


@dataclass(frozen=True)
class _Work:
    """What a stage trains, on what, and how it validates."""

    network: keras.Model
    train_batches: Batches
    evaluate: Callable[[], dict[str, float]] | None
    on_features: bool


class Schedule:
    """Runs the stages of a trainer whose networks have been built.

    Parameters
    ----------
    trainer : TransferTrainer
        Its `stages` and `history` are filled.
    networks : Networks
    num_layers : int
        At the end of the base, that fine-tuning may change; 0 leaves it out.
    data : Data
    session : Session
    """

    def __init__(
        self,
        trainer: "TransferTrainer",
        networks: Networks,
        num_layers: int,
        data: Data,
        session: Session,
    ) -> None:
        self._trainer, self._networks, self._num_layers = trainer, networks, num_layers
        self._data, self._session = data, session

    def run(self, state: State | None) -> None:
        """Run both stages, or what is left of them."""
        names = [HEAD, FINE_TUNING] if self._num_layers else [HEAD]
        begun = state.position.stage if state is not None else 0
        for place, name in enumerate(names):
            if place < begun:
                self._begin(place, name, self._networks.classifier)  # its counts are reported
                continue
            self._run_stage(place, name, state)
            state = None

    def _run_stage(self, place: int, name: str, state: State | None) -> None:
        trainer = self._trainer
        work = self._work_of(name)
        stage = self._begin(place, name, work.network)
        labels = np.asarray(self._data.train.labels)[:1]
        build_variables(work.network, trainer.resolved_task.targets(labels))
        start = Position(place, len(trainer.history))
        if state is None:
            self._session.saving.save(work.network, start, trainer.history)
        else:
            restore(work.network, state)
            start, trainer.history[:] = state.position, state.history
        if self._session.verbose:
            print(stage, "(on features that were computed once)" if work.on_features else "")
        before = sum(row["stage"] != name for row in trainer.history)
        if start.step:
            self._train(work, stage, start, start.epoch + 1, state)
            start = Position(place, start.epoch + 1)
            if work.network.stop_training:
                return
        if start.epoch < before + stage.epochs:
            self._train(work, stage, start, before + stage.epochs)

    def _begin(self, place: int, name: str, network: keras.Model) -> Stage:
        """Freeze and thaw the base, then compile: Keras takes note of `trainable` only there."""
        trainer, classifier = self._trainer, self._networks.classifier
        num_layers = 0 if place == 0 else self._num_layers
        set_trainable(trainer.conv_base.model, num_layers, batch_norm=trainer.train_batch_norm)
        trainable = count_parameters(classifier.trainable_weights)
        frozen = count_parameters(classifier.weights) - trainable
        epochs, rate = trainer.stage_epochs[place], trainer.stage_rates[place]
        for model in {id(network): network, id(classifier): classifier}.values():
            self._compile(model, rate)
        trainer.stages.append(Stage(name, epochs, rate, trainable, frozen))
        return trainer.stages[-1]

    def _compile(self, network: keras.Model, rate: float) -> None:
        trainer, task = self._trainer, self._trainer.resolved_task
        metrics = METRICS[task.name] if trainer.metrics is None else trainer.metrics
        network.compile(
            optimizer=trainer.make_optimizer(rate),
            loss=trainer.loss or task.loss(),
            metrics=[task.metric(metric) for metric in metrics],
        )

    def _train(
        self, work: _Work, stage: Stage, start: Position, stop: int, state: State | None = None
    ) -> None:
        """Train from `start` to the end of epoch `stop - 1`; only the first may be a part."""
        trainer, session, batches = self._trainer, self._session, work.train_batches
        batches.load_state_dict({"seed": trainer.seed, "epoch": start.epoch, "step": start.step})
        meter = Meter(len(self._data.train), len(batches))
        own: list[keras.callbacks.Callback] = [meter]
        if work.evaluate is not None:
            own.append(Validation(work.evaluate))
        own.append(Recorder(trainer.history, stage))
        keeper = Keeper(session.saving, start, len(batches), trainer.history, session.wish, state)
        feed = Feed(batches, trainer.resolved_task, meter=meter, class_weights=self._data.weights)
        run(
            lambda: work.network.fit(
                feed.batches,
                steps_per_epoch=feed.steps - start.step,
                initial_epoch=start.epoch,
                epochs=stop,
                callbacks=[*own, *session.callbacks, keeper],  # it keeps what the others did
                verbose=session.verbose,
                shuffle=False,  # the loader has shuffled already
            ),
            feed,
        )

    def _work_of(self, name: str) -> _Work:
        if name == HEAD and self._keeps_features():
            return self._work_on_features()
        trainer, network = self._trainer, self._networks.classifier
        train = trainer.make_batches(self._data.train, augment=True)
        validation = self._data.validation
        if validation is None:
            return _Work(network, train, None, False)

        def evaluate() -> dict[str, float]:
            batches = trainer.make_batches(validation, augment=False)
            return trainer.evaluate_batches(network, batches)

        return _Work(network, train, evaluate, False)

    def _keeps_features(self) -> bool:
        if isinstance(self._data.train, OwnData) or not is_plain(self._trainer.used_policy):
            return False
        if self._trainer.cache_features is not None:
            return self._trainer.cache_features
        floats = math.prod(int(side) for side in self._networks.extractor.output_shape[1:])
        return 4 * floats * len(self._data.train) <= MOST_BYTES

    def _work_on_features(self) -> _Work:
        trainer, top = self._trainer, self._networks.top
        set_trainable(trainer.conv_base.model, 0)
        train = self._features_of(self._data.train, shuffle=True)
        if self._data.validation is None:
            return _Work(top, train, None, True)
        held_out = self._features_of(self._data.validation, shuffle=False)
        return _Work(top, train, lambda: trainer.evaluate_batches(top, held_out), True)

    def _features_of(self, source: "Source", *, shuffle: bool) -> FeatureBatches:
        trainer = self._trainer
        batches = trainer.make_batches(source, augment=False)
        features = compute_features(self._networks.extractor, batches)
        labels, weights = np.asarray(source.labels), getattr(source, "weights", None)
        return FeatureBatches(features, labels, weights, trainer.batch_size, trainer.seed, shuffle)
