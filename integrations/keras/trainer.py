"""Transfer learning in two stages: train a head on a frozen conv base, then fine-tune its end."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from ...engine import ArraySource, Augmenter, FolderSource, Loader, Policy
from .bases import ConvBase, PixelStep, build_base, existing_weights, find_base, use_own_model
from .checks import (
    check_callbacks,
    check_epochs,
    check_learning_rates,
    check_pictures,
    check_policy,
    check_same_classes,
    check_source,
    check_whole,
    checked_size,
    class_names_of,
    pair_of,
)
from .feed import Feed, Meter, run
from .freezing import check_trainable_layers, count_parameters, set_trainable

Source = ArraySource | FolderSource
Verbose = Literal["auto", 0, 1, 2]
DEFAULT_POLICY = Policy(
    rotation_range=20,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=5,
    zoom_range=0.2,
    horizontal_flip=True,
)
FINE_TUNING_RATE = 0.1  # of the head's learning rate, where one number was given for both


@dataclass(frozen=True)
class Stage:
    """One stage as it was run: how many numbers of the model could change, and how fast."""

    name: str
    epochs: int
    learning_rate: float
    trainable_parameters: int
    frozen_parameters: int


@dataclass(eq=False)
class TransferTrainer:
    """Trains a classifier of photos on top of a conv base.

    Parameters
    ----------
    base : str or keras.Model
        "efficientnet-lite0" (offline), the name of any `keras.applications` model, or your own
        model without its head, which is then trained in place.
    weights : "imagenet", path or None
        See `build_base`. Leave it alone with your own model: its weights are what they are.
    pixels : str or PixelStep, optional
        What your own model wants to see, see `use_own_model`. Not for a base by name.
    image_size : int or (height, width), optional
        Default: the size the base was made for.
    epochs : int or (head, fine_tuning)
        At least 1 for the head; 0 leaves fine-tuning out.
    batch_size : int
    learning_rate : float or (head, fine_tuning)
        One number is the head's; fine-tuning then uses a tenth of it.
    optimizer : str or keras.Optimizer
        Each stage starts a fresh one of this kind, with the stage's learning rate.
    loss : str or keras.Loss, optional
        Default: sparse categorical cross-entropy. Labels arrive as integers.
    metrics : sequence of str or keras.Metric
    trainable_layers : int
        How many layers at the end of the base fine-tuning may change; 0 leaves it out. Batch
        normalization among them stays frozen.
    dropout : float
        0 <= dropout < 1, in front of the softmax.
    policy : Policy, optional
        Augmentation of the training pictures, without `rescale`, `mean` and `std`: those are the
        base's. Default: rotation 20, shifts 0.1, shear 5, zoom 0.2, horizontal flips.
    seed : int
        Of the order, the augmentation, the head, dropout, and random weights.
    threads : int, optional
        For decoding and augmenting; default all that this process may use.

    Attributes
    ----------
    class_names : list of str
    conv_base : ConvBase
    stages : list of Stage
    history : list of dict
        One row per finished epoch: epoch, stage, loss, metrics, val_..., learning_rate, seconds,
        images_per_second, wait_share (see `Meter`).

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense, or is not one that fits the base.
    """

    base: str | keras.Model = "efficientnet-lite0"
    _: KW_ONLY
    weights: str | Path | None = "imagenet"
    pixels: str | PixelStep | None = None
    image_size: int | tuple[int, int] | None = None
    epochs: int | tuple[int, int] = (3, 3)
    batch_size: int = 32
    learning_rate: float | tuple[float, float] = (1e-3, 1e-5)
    optimizer: str | keras.Optimizer = "adam"
    loss: str | keras.Loss | None = None
    metrics: Sequence[str | keras.Metric] = ("accuracy",)
    trainable_layers: int = 20
    dropout: float = 0.2
    policy: Policy | None = None
    seed: int = 0
    threads: int | None = None

    class_names: list[str] = field(init=False, repr=False, default_factory=list)
    stages: list[Stage] = field(init=False, repr=False, default_factory=list)
    history: list[dict[str, Any]] = field(init=False, repr=False, default_factory=list)
    conv_base: ConvBase = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._epochs = pair_of("epochs", self.epochs, 1)
        self._rates = pair_of("learning_rate", self.learning_rate, FINE_TUNING_RATE)
        self._policy = DEFAULT_POLICY if self.policy is None else self.policy
        self._size = checked_size(self.image_size)
        check_epochs(self._epochs)
        check_learning_rates(self._rates)
        check_whole("batch_size", self.batch_size, 1)
        check_whole("trainable_layers", self.trainable_layers, 0)
        check_whole("seed", self.seed, 0)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and below 1, got {self.dropout!r}.")
        if isinstance(self.metrics, str):
            raise TypeError(f"`metrics` must be a list of metrics, got {self.metrics!r}.")
        check_policy(self._policy)
        self._check_base()
        self._optimizer(1.0)  # an unknown name is refused here, not after the first stage

    def _check_base(self) -> None:
        if isinstance(self.base, str):
            find_base(self.base)
            if self.pixels is not None:
                raise ValueError(
                    f"`pixels` is known for {self.base!r}; it is for your own model only, got "
                    f"{self.pixels!r}."
                )
            if self.weights not in ("imagenet", None):
                existing_weights(str(self.weights))
        elif not isinstance(self.base, keras.Model):
            raise TypeError(f"`base` must be a name or a keras.Model, got {self.base!r}.")
        elif self.weights not in ("imagenet", None):
            raise ValueError(
                "`weights` is for a base by name. Load them into your own model before: "
                f"model.load_weights({str(self.weights)!r})."
            )
        else:
            use_own_model(self.base, pixels=self.pixels, image_size=self._size)

    def fit(
        self,
        train_source: Source,
        validation_source: Source | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Verbose = "auto",
    ) -> list[dict[str, Any]]:
        """Build the model and train it, from the beginning.

        Parameters
        ----------
        train_source : FolderSource or ArraySource
            uint8 RGB pictures with integer labels.
        validation_source : FolderSource or ArraySource, optional
            The same classes. Never augmented, never shuffled, all of it after every epoch.
        callbacks : sequence of keras.callbacks.Callback
            They see epochs numbered through both stages, and the model under training: its input
            is what the base sees, not raw levels. The model to keep is `model`.
        verbose : "auto", 0, 1 or 2
            As in `keras.Model.fit`; 0 prints nothing.

        Returns
        -------
        list of dict
            `history`.

        Raises
        ------
        ValueError, TypeError
            If the sources do not fit, or fine-tuning would train nothing; before any training.
        SampleError
            If a picture cannot be read.
        """
        check_source("train_source", train_source)
        check_callbacks(callbacks)
        names = class_names_of(train_source)
        if validation_source is not None:
            check_source("validation_source", validation_source)
            check_same_classes(names, validation_source)
        self._build(names)
        self._run_stage("head", train_source, validation_source, callbacks, verbose)
        if self._epochs[1] and self.trainable_layers:
            self._run_stage("fine-tuning", train_source, validation_source, callbacks, verbose)
        return self.history

    @property
    def model(self) -> keras.Model:
        """The model to keep: raw RGB levels 0-255 (uint8 or float) in, probabilities out.

        It is made of standard Keras layers, so `keras.models.load_model` needs no fusewarp.
        """
        return self._needs_fit("_model")

    def evaluate(self, source: Source) -> dict[str, float]:
        """Return loss and metrics over a source, without augmentation."""
        check_source("source", source)
        check_same_classes(self.class_names, source)
        feed = Feed(self._loader(source, augment=False))
        network = self._needs_fit("_network")

        def evaluate() -> dict[str, float]:
            logs = network.evaluate(feed.batches, steps=feed.steps, verbose=0, return_dict=True)
            return {name: float(value) for name, value in logs.items()}

        return run(evaluate, feed)

    def predict(self, source: Source) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of a source's pictures, in the source's order."""
        check_pictures("source", source)
        feed = Feed(self._loader(source, augment=False), labelled=False)
        network = self._needs_fit("_network")
        probabilities: NDArray[np.float32] = run(
            lambda: network.predict(feed.batches, steps=feed.steps, verbose=0), feed
        )
        return probabilities

    def augmenter(self, *, augment: bool = True) -> Augmenter:
        """Return what turns pictures into the pixels the base sees, with or without chance."""
        policy = self._policy if augment else self._policy.without_augmentation()
        step = self._needs_fit("conv_base").pixels
        return Augmenter(
            policy.replace(mean=step.mean, std=step.std),
            size=self.conv_base.image_size,
            seed=self.seed,
            threads=self.threads,
        )

    def hyperparameters(self) -> dict[str, Any]:
        """Return what this trainer was given, as plain values for a report."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        values["policy"] = self._policy.to_dict()
        values["epochs"], values["learning_rate"] = self._epochs, self._rates
        return {name: _plain(value) for name, value in values.items()}

    def _build(self, class_names: list[str]) -> None:
        if isinstance(self.base, str):
            base = build_base(
                self.base, weights=self.weights, image_size=self._size, seed=self.seed
            )
        else:
            base = use_own_model(self.base, pixels=self.pixels, image_size=self._size)
        if self._epochs[1]:
            check_trainable_layers(base.model, self.trainable_layers)
        self.conv_base, self.class_names = base, class_names
        self.history, self.stages = [], []
        head = self._make_head()
        pixels = keras.Input((*base.image_size, 3), name="pixels")
        self._network = keras.Model(pixels, _connect(base, head, pixels), name="classifier")
        levels = keras.Input((*base.image_size, 3), name="rgb_levels")
        outputs = _connect(base, head, base.pixels.apply(levels))
        self._model = keras.Model(levels, outputs, name="fusewarp_classifier")

    def _make_head(self) -> list[keras.Layer]:
        return [
            layers.GlobalAveragePooling2D(name="pooling"),
            layers.Dropout(self.dropout, seed=self.seed, name="dropout"),
            layers.Dense(
                len(self.class_names),
                activation="softmax",
                kernel_initializer=keras.initializers.GlorotUniform(seed=self.seed),
                dtype="float32",
                name="probabilities",
            ),
        ]

    def _begin_stage(self, name: str) -> Stage:
        """Freeze and thaw the base, then compile: Keras takes note of `trainable` only there."""
        at = 0 if name == "head" else 1
        set_trainable(self.conv_base.model, 0 if name == "head" else self.trainable_layers)
        trainable = count_parameters(self._network.trainable_weights)
        frozen = count_parameters(self._network.weights) - trainable
        self._network.compile(
            optimizer=self._optimizer(self._rates[at]),
            loss=self.loss or "sparse_categorical_crossentropy",
            metrics=list(self.metrics),
        )
        self.stages.append(Stage(name, self._epochs[at], self._rates[at], trainable, frozen))
        return self.stages[-1]

    def _run_stage(
        self,
        name: str,
        train_source: Source,
        validation_source: Source | None,
        callbacks: Sequence[keras.callbacks.Callback],
        verbose: Verbose,
    ) -> None:
        stage, first_epoch = self._begin_stage(name), len(self.history)
        if verbose:
            print(_describe(stage))
        loader = self._loader(train_source, augment=True)
        loader.load_state_dict({"seed": self.seed, "epoch": first_epoch, "step": 0})
        meter = Meter(len(train_source), len(loader))
        first = [meter, _Recorder(self.history, stage)]
        if validation_source is not None:
            first.insert(1, _Validation(lambda: self.evaluate(validation_source)))
        feed = Feed(loader, meter)
        run(
            lambda: self._network.fit(
                feed.batches,
                steps_per_epoch=feed.steps,
                initial_epoch=first_epoch,
                epochs=first_epoch + stage.epochs,
                callbacks=[*first, *callbacks],
                verbose=verbose,
                shuffle=False,  # the loader has shuffled already
            ),
            feed,
        )

    def _loader(self, source: Source, *, augment: bool) -> Loader:
        return Loader(
            source,
            self.augmenter(augment=augment),
            self.batch_size,
            shuffle=augment,
            epochs=None,
        )

    def _optimizer(self, learning_rate: float) -> keras.Optimizer:
        template = keras.optimizers.get(self.optimizer)
        config = {**template.get_config(), "learning_rate": learning_rate}
        return type(template).from_config(config)

    def _needs_fit(self, name: str) -> Any:
        if name not in self.__dict__:
            raise RuntimeError("This trainer has no model yet; call `fit` first.")
        return self.__dict__[name]


def _connect(base: ConvBase, head: Sequence[keras.Layer], pixels: Any) -> Any:
    """Connect pixels (after the base's pixel step) to probabilities, through the same layers."""
    # training=False: batch normalization uses its statistics, in both stages
    x = base.model(base.pixels.order_channels(pixels), training=False)
    for layer in head:
        x = layer(x)
    return x


class _Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds val_loss, val_... to an epoch's logs, for the callbacks that come after it.

    Keras' own `validation_data` is not used: before every validation it starts a generator anew,
    from the batches it had looked at and then wherever the generator stands, so that it validates
    on some pictures twice and on others never.
    """

    def __init__(self, evaluate: Callable[[], dict[str, float]]) -> None:
        super().__init__()
        self._evaluate = evaluate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = self._evaluate()
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in values.items()})


class _Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps each epoch's logs as soon as it ends: a run that is stopped has its history too."""

    def __init__(self, history: list[dict[str, Any]], stage: Stage) -> None:
        super().__init__()
        self.history, self.stage = history, stage

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": epoch, "stage": self.stage.name, **(logs or {})}
        rate = float(self.model.optimizer.learning_rate)
        self.history.append({**row, "learning_rate": rate})


def _describe(stage: Stage) -> str:
    return (
        f"Stage {stage.name}: {stage.epochs} epochs at learning rate {stage.learning_rate:g}, "
        f"{stage.trainable_parameters:,} parameters trainable, {stage.frozen_parameters:,} frozen"
    )


def _plain(value: Any) -> Any:
    """Return numbers, strings and None as they are, containers as lists, objects by name."""
    if value is None or isinstance(value, bool | int | float | str | dict):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PixelStep):
        return asdict(value)
    return str(value) if isinstance(value, Path) else getattr(value, "name", repr(value))
