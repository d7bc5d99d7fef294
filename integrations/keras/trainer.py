"""Transfer learning in two stages: train a head on a frozen conv base, then fine-tune its end."""

import contextlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from ...engine import Augmenter, Loader, Policy, check_no_leaks, check_no_unseen_classes
from ...engine.sources import Source as EngineSource
from .bases import ConvBase, PixelStep, build_base, existing_weights, find_base, use_own_model
from .checkpoint import State, digest_of, load_state
from .checks import (
    check_callbacks,
    check_epochs,
    check_learning_rates,
    check_loss,
    check_pictures,
    check_policy,
    check_precision,
    check_smoothing,
    check_trainable,
    check_whole,
    checked_size,
    pair_of,
)
from .class_weights import ClassWeight, class_weights
from .config import as_text, plain_values, values_from, write_config
from .features import is_plain
from .feed import Batches, Feed, run
from .freezing import check_trainable_layers, count_layers
from .heads import Head
from .interrupt import Wish, stop_on_signal
from .networks import Networks, connect, mixed_precision
from .own_data import OwnBatches, OwnData, is_own_data
from .run_data import digest_of_data
from .schedule import Data, Schedule, Session, Verbose
from .stages import Saving, Stage
from .tasks import Task, TaskName, check_labels, find_task

Source = EngineSource | OwnData
DEFAULT_POLICY = Policy(
    rotation_range=20,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=5,
    zoom_range=0.2,
    horizontal_flip=True,
)
FINE_TUNING_RATE = 0.1  # of the head's learning rate, where one number was given for both
CHECKPOINT, CONFIG, FINISHED = "checkpoint", "config.yaml", "report.json"


@dataclass(eq=False)
class TransferTrainer:
    """Trains a model of photos on top of a conv base.

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
    task : {"single-label", "multi-label", "binary", "regression"}, optional
        Default: what the labels look like, see `find_task`.
    epochs : int or (head, fine_tuning)
        At least 1 for the head; 0 leaves fine-tuning out.
    batch_size : int
    learning_rate : float or (head, fine_tuning)
        One number is the head's; fine-tuning then uses a tenth of it.
    optimizer : str or keras.Optimizer
        Each stage starts a fresh one of this kind, with the stage's learning rate.
    loss : str or keras.Loss, optional
        Default: the task's, see `Task.loss`. Targets arrive as `Task.targets` has them.
    metrics : sequence of str or keras.Metric, optional
        Default: accuracy; of regression the mean absolute error.
    trainable_layers : int or str
        What fine-tuning may change at the end of the base: so many layers, "all", or everything
        from a layer or block of that name on; 0 leaves fine-tuning out.
    train_batch_norm : bool
        Batch normalization among those layers learns its scale and offset too. Its statistics
        stay in any case.
    head : Head or keras.Model
        Pooling, dropout and dense layers; or your own, from the base's features to the outputs.
    class_weight : "balanced", dict or None
        See `class_weights`.
    label_smoothing : float
        0 to below 1.
    mixed_precision : {"float16", "bfloat16"}, optional
        Compute in it; weights and outputs stay float32. For bases by name.
    cache_features : bool, optional
        Compute the frozen base's features once instead of in each epoch of the head. Default:
        where the policy leaves nothing to chance and they fit in 1 GiB.
    policy : Policy, optional
        Augmentation of the training pictures, without `rescale`, `mean` and `std`: those are the
        base's. Default: rotation 20, shifts 0.1, shear 5, zoom 0.2, horizontal flips.
    seed : int
        Of the order, the augmentation, the head, dropout, and random weights.
    threads : int, optional
        For decoding and augmenting; default all that this process may use.

    Attributes
    ----------
    resolved_task : Task
    class_names : list of str
        The names of what is predicted.
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
    task: TaskName | None = None
    epochs: int | tuple[int, int] = (3, 3)
    batch_size: int = 32
    learning_rate: float | tuple[float, float] = (1e-3, 1e-5)
    optimizer: str | keras.Optimizer = "adam"
    loss: str | keras.Loss | None = None
    metrics: Sequence[str | keras.Metric] | None = None
    trainable_layers: int | str = 20
    train_batch_norm: bool = False
    head: Head | keras.Model = field(default_factory=Head)
    class_weight: ClassWeight | None = None
    label_smoothing: float = 0.0
    mixed_precision: Literal["float16", "bfloat16"] | None = None
    cache_features: bool | None = None
    policy: Policy | None = None
    seed: int = 0
    threads: int | None = None

    class_names: list[str] = field(init=False, repr=False, default_factory=list)
    stages: list[Stage] = field(init=False, repr=False, default_factory=list)
    history: list[dict[str, Any]] = field(init=False, repr=False, default_factory=list)
    conv_base: ConvBase = field(init=False, repr=False)
    resolved_task: Task = field(init=False, repr=False)
    _networks: Networks = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.stage_epochs = pair_of("epochs", self.epochs, 1)
        self.stage_rates = pair_of("learning_rate", self.learning_rate, FINE_TUNING_RATE)
        self.used_policy = DEFAULT_POLICY if self.policy is None else self.policy
        self._size = checked_size(self.image_size)
        check_epochs(self.stage_epochs)
        check_learning_rates(self.stage_rates)
        check_whole("batch_size", self.batch_size, 1)
        check_trainable(self.trainable_layers)
        check_whole("seed", self.seed, 0)
        check_smoothing(self.label_smoothing)
        check_precision(self.mixed_precision)
        check_loss(self.loss, self.label_smoothing)
        if isinstance(self.metrics, str):
            raise TypeError(f"`metrics` must be a list of metrics, got {self.metrics!r}.")
        if not isinstance(self.head, Head | keras.Model):
            raise TypeError(f"`head` must be a Head or a keras.Model, got {self.head!r}.")
        check_policy(self.used_policy)
        if self.cache_features and not is_plain(self.used_policy):
            raise ValueError(
                "`cache_features` needs a policy that leaves nothing to chance, policy=Policy(): "
                "augmented pictures have other features each time."
            )
        self._check_base()
        self.make_optimizer(1.0)  # an unknown name is refused here, not after the first stage

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
        elif self.mixed_precision is not None:
            raise ValueError(
                "`mixed_precision` is for a base by name: the layers of your own model have their "
                'types already. Build it under keras.config.set_dtype_policy("mixed_float16").'
            )
        else:
            use_own_model(self.base, pixels=self.pixels, image_size=self._size)

    @classmethod
    def from_config(cls, values: dict[str, Any], **objects: Any) -> "TransferTrainer":
        """Return the trainer that `to_config` described.

        Parameters
        ----------
        values : dict
        **objects
            What a configuration cannot hold: `base` or `head` of your own.

        Raises
        ------
        ValueError, TypeError
            If a value is unknown, makes no sense, or stands for an object that was not given.
        """
        return cls(**values_from(values, cls, objects))

    def to_config(self) -> dict[str, Any]:
        """Return the arguments as numbers, strings, lists and dicts, for YAML or JSON."""
        return plain_values(self)

    def _identity(self) -> dict[str, Any]:
        """Return what the outcome of a run depends on: everything but the threads."""
        return {name: value for name, value in self.to_config().items() if name != "threads"}

    def hyperparameters(self) -> dict[str, Any]:
        """Return what this trainer was given, as plain values, with defaults filled in."""
        filled = {"epochs": list(self.stage_epochs), "learning_rate": list(self.stage_rates)}
        own = {
            name: model.name
            for name, model in (("base", self.base), ("head", self.head))
            if isinstance(model, keras.Model)
        }
        return {**self.to_config(), **filled, **own, "policy": self.used_policy.to_dict()}

    def fit(
        self,
        train_source: Any,
        validation_source: Any = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Verbose = "auto",
        *,
        run_folder: str | Path | None = None,
        resume: bool = False,
        checkpoint_seconds: float = 60.0,
        about: dict[str, Any] | None = None,
        check_leaks: bool = True,
    ) -> list[dict[str, Any]]:
        """Build the model and train it, from the beginning or from where a run was stopped.

        Parameters
        ----------
        train_source : source, tf.data.Dataset or keras.utils.PyDataset
            uint8 RGB pictures with labels. Data of your own comes in batches, see `OwnData`; it is
            augmented all the same.
        validation_source : the same, optional
            With the same classes. Never augmented, never shuffled, all of it after every epoch.
        callbacks : sequence of keras.callbacks.Callback
            They see epochs numbered through both stages, and the model under training: its input
            is what the base sees, not raw levels. The model to keep is `model`. What they remember
            begins anew when a run is resumed.
        verbose : "auto", 0, 1 or 2
            As in `keras.Model.fit`; 0 prints nothing.
        run_folder : path, optional
            Where config.yaml and the state of the run are kept. SIGINT and SIGTERM then finish the
            step, keep the state and raise `Interrupted`.
        resume : bool
            Go on from the state in `run_folder`, at the very next batch; from the beginning if
            there is none yet.
        checkpoint_seconds : float
            At least so long between two states within an epoch; 0 keeps every step.
        about : dict, optional
            More sections of config.yaml, beside "trainer".
        check_leaks : bool
            Refuse pictures that are in both sources, see `check_no_leaks`.

        Returns
        -------
        list of dict
            `history`.

        Raises
        ------
        ValueError, TypeError
            If the sources do not fit or have pictures in common, or fine-tuning would train
            nothing; before any training. If the state is of another configuration.
        FileExistsError
            If `run_folder` holds a run and `resume` is not said.
        Diverged
            If the loss is no finite number any more.
        Interrupted
            After a signal.
        SampleError
            If a picture cannot be read.
        OSError
            If the state cannot be written; the one before it stays.
        """
        train = self._as_source("train_source", train_source)
        check_callbacks(callbacks)
        task = self.task or getattr(train, "task", None)  # a table knows what its columns are
        self.resolved_task = find_task(task, train, self.label_smoothing)
        validation = None
        if validation_source is not None:
            validation = self._as_source("validation_source", validation_source)
            check_labels(self.resolved_task, "validation_source", validation)
            self._check_split(train, validation, check_leaks)
        folder = None if run_folder is None else Path(run_folder)
        state = _state_of(folder, resume)
        weights = class_weights(self.class_weight, self.resolved_task, np.asarray(train.labels))
        num_layers = self._build()
        digest = digest_of(self.conv_base.model.weights, [as_text(self._identity())])
        pictures = digest_of_data(train, validation)
        if state is not None:
            _check_same_run(state.digest, digest, pictures, folder)
        if folder is not None and state is None:
            write_config(folder / CONFIG, {"trainer": self.to_config(), **(about or {})})
        saving = Saving(folder and folder / CHECKPOINT, checkpoint_seconds, f"{digest} {pictures}")
        with stop_on_signal() if folder else contextlib.nullcontext(Wish()) as wish:
            session = Session(saving, wish, callbacks, verbose)
            data = Data(train, validation, weights)
            Schedule(self, self._networks, num_layers, data, session).run(state)
        return self.history

    def _check_split(self, train: Source, validation: Source, check_leaks: bool) -> None:
        if isinstance(train, OwnData) or isinstance(validation, OwnData):
            return  # its pictures cannot be asked for one by one
        if self.resolved_task.name != "regression":
            check_no_unseen_classes(train, validation)
        if check_leaks:
            check_no_leaks(train, validation, threads=self.threads)

    @property
    def model(self) -> keras.Model:
        """The model to keep: raw RGB levels 0-255 (uint8 or float) in, predictions out.

        It is made of standard Keras layers, so `keras.models.load_model` needs no fusewarp.
        """
        return self._needs_fit("_networks").saved

    def evaluate(self, source: Any) -> dict[str, float]:
        """Return loss and metrics over a source, without augmentation."""
        network = self._needs_fit("_networks").classifier
        known = self._as_source("source", source)
        check_labels(self.resolved_task, "source", known)
        return self.evaluate_batches(network, self.make_batches(known, augment=False))

    def predict(self, source: Any) -> NDArray[np.float32]:
        """Return the predictions (n, outputs) of a source's pictures, in the source's order.

        Probabilities; of "binary" one, that of the second class; of "regression" the values.
        """
        return self.predict_labelled(source, with_labels=False)[0]

    def predict_labelled(
        self, source: Any, *, with_labels: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
        """Return predictions (n, outputs) and the labels of the same pictures.

        A pipeline of your own may come in another order each time it is read: its labels are
        those of this very reading.
        """
        network = self._needs_fit("_networks").classifier
        known = self._as_source("source", source)
        feed = Feed(self.make_batches(known, augment=False))
        if isinstance(known, OwnData):
            feed.keep_labels = with_labels
        predictions: NDArray[np.float32] = run(
            lambda: network.predict(feed.batches, steps=feed.steps, verbose=0), feed
        )
        if not with_labels:
            return predictions, None
        labels = known.labels if not feed.keep_labels else np.concatenate(feed.labels)
        return predictions, None if labels is None else np.asarray(labels)[: len(predictions)]

    def augmenter(self, *, augment: bool = True) -> Augmenter:
        """Return what turns pictures into the pixels the base sees, with or without chance."""
        policy = self.used_policy if augment else self.used_policy.without_augmentation()
        step = self._needs_fit("conv_base").pixels
        return Augmenter(
            policy.replace(mean=step.mean, std=step.std),
            size=self.conv_base.image_size,
            seed=self.seed,
            threads=self.threads,
        )

    def _build(self) -> int:
        """Make base and networks; return how many of its layers fine-tuning may change."""
        with mixed_precision(self.mixed_precision):
            base = self._make_base()
        num_layers = 0
        if self.stage_epochs[1]:
            num_layers = count_layers(base.model, self.trainable_layers)
            check_trainable_layers(base.model, num_layers, batch_norm=self.train_batch_norm)
        self.conv_base, self.class_names = base, list(self.resolved_task.outputs)
        self.history, self.stages = [], []
        self._networks = connect(
            base, self.head, self.resolved_task, self.seed, self.mixed_precision
        )
        return num_layers

    def _make_base(self) -> ConvBase:
        if not isinstance(self.base, str):
            return use_own_model(self.base, pixels=self.pixels, image_size=self._size)
        return build_base(self.base, weights=self.weights, image_size=self._size, seed=self.seed)

    def evaluate_batches(self, network: keras.Model, batches: Batches) -> dict[str, float]:
        """Return loss and metrics of a compiled network over one epoch of batches."""
        batches.load_state_dict({"seed": self.seed, "epoch": 0, "step": 0})
        feed = Feed(batches, self.resolved_task)

        def evaluate() -> dict[str, float]:
            logs = network.evaluate(feed.batches, steps=feed.steps, verbose=0, return_dict=True)
            return {name: float(value) for name, value in logs.items()}

        return run(evaluate, feed)

    def _as_source(self, name: str, data: Any) -> Source:
        if isinstance(data, OwnData) or is_own_data(data):
            return data if isinstance(data, OwnData) else OwnData(name, data)
        check_pictures(name, data)
        source: EngineSource = data
        return source

    def make_batches(self, source: Source, *, augment: bool) -> Batches:
        """Return endless batches of a source: shuffled and augmented, or neither."""
        augmenter = self.augmenter(augment=augment)
        if isinstance(source, OwnData):
            return OwnBatches(source, augmenter)
        return Loader(source, augmenter, self.batch_size, shuffle=augment, epochs=None)

    def make_optimizer(self, learning_rate: float) -> keras.Optimizer:
        """Return a fresh optimizer of the kind that was asked for."""
        template = keras.optimizers.get(self.optimizer)
        config = {**template.get_config(), "learning_rate": learning_rate}
        return type(template).from_config(config)

    def _needs_fit(self, name: str) -> Any:
        if name not in self.__dict__:
            raise RuntimeError("This trainer has no model yet; call `fit` first.")
        return self.__dict__[name]


def _check_same_run(kept: str, digest: str, data: str, folder: Path | None) -> None:
    """Refuse to go on with anything but what the run was begun with."""
    kept_digest, _, kept_data = kept.partition(" ")
    if kept_digest != digest:
        raise ValueError(
            f"The run in {folder} was begun with another configuration or another base, and "
            "cannot go on with this one. Make the trainer as it was then: config.yaml has it. A "
            "model of your own is trained in place: build or load it anew."
        )
    if kept_data != data:
        raise ValueError(
            f"The run in {folder} was begun with other pictures or labels. Bring back those that "
            "are gone, take out those that are new, and split as then; or begin a new run."
        )


def _state_of(folder: Path | None, resume: bool) -> State | None:
    if folder is None:
        if resume:
            raise ValueError("`resume` needs the `run_folder` of the run that is to go on.")
        return None
    if not resume:
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"{folder} is a file; give `run_folder` a new name.")
        if (folder / CHECKPOINT).exists() or (folder / FINISHED).exists():
            raise FileExistsError(
                f"{folder} holds a run already. Go on with it (resume=True), or give a new name."
            )
        return None
    return load_state(folder / CHECKPOINT)
