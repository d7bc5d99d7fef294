"""`fusewarp train`: from a folder of photos to a run folder with a trained model."""

import importlib.util
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_extras import require_tensorflow
from .cli_policy import TRAIN_POLICY, load_policy
from .engine import FolderSource, TableSource, group_copies, stratified_split
from .engine.files import FileSource

if TYPE_CHECKING:
    from .integrations.keras.trainer import TransferTrainer

EXAMPLES = """[bold]Examples[/bold]

fusewarp train photos/

fusewarp train photos/ --epochs 5 --fine-tune-epochs 0 --batch-size 16

fusewarp train photos/ --base MobileNetV2 --weights mobilenet_v2.weights.h5 --policy policy.json

fusewarp train --config run.yaml --seed 2

fusewarp train --resume fusewarp-run-1"""

PAIRS = {  # the options of a pair, by the trainer's argument
    "epochs": ("epochs", "fine_tune_epochs"),
    "learning_rate": ("learning_rate", "fine_tune_learning_rate"),
}
DEFAULT_PAIRS = {"epochs": [3, 3], "learning_rate": [1e-3, 1e-5]}
FINE_TUNING_FACTORS = {"epochs": 1, "learning_rate": 0.1}  # as the trainer has it
DATA = (
    "folder",
    "table",
    "path_column",
    "label_column",
    "group_column",
    "validation_split",
)
ALIKE = (
    "base",
    "weights",
    "image_size",
    "batch_size",
    "optimizer",
    "task",
    "class_weight",
    "label_smoothing",
    "mixed_precision",
    "trainable_layers",
    "seed",
    "threads",
)


def train(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Photos; each sub-folder is a class.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A CSV that names the photos of FOLDER and their labels.")
    ] = None,
    path_column: Annotated[str, typer.Option(help="Of --table: the photos' files.")] = "path",
    label_column: Annotated[
        list[str] | None, typer.Option(help="Of --table: a label; may be repeated.")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Of --table: what must not be on both sides of the split.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON of an earlier run; options given beside it win."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run folder that was stopped: go on at its next batch.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="Conv base: efficientnet-lite0, or any of keras.applications.")
    ] = "efficientnet-lite0",
    weights: Annotated[
        str, typer.Option(help="Of the base: imagenet, none (random), or a weights file.")
    ] = "imagenet",
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the pictures the model sees, in pixels.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the head, base frozen.")] = 3,
    fine_tune_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of fine-tuning after that; 0 leaves it out.")
    ] = 3,
    trainable_layers: Annotated[
        str,
        typer.Option(help="What fine-tuning may change: so many last layers, a block, or all."),
    ] = "20",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of the head.")] = 1e-3,
    fine_tune_learning_rate: Annotated[float, typer.Option(help="Of fine-tuning.")] = 1e-5,
    optimizer: Annotated[str, typer.Option(help="Any of keras.optimizers, by name.")] = "adam",
    dropout: Annotated[float, typer.Option(help="Before each dense layer of the head.")] = 0.2,
    units: Annotated[
        list[int] | None, typer.Option(min=1, help="A hidden layer of the head; may be repeated.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="single-label, multi-label, binary or regression; default: by the labels."
        ),
    ] = None,
    class_weight: Annotated[
        str | None, typer.Option(help='"balanced" weighs rare classes more.')
    ] = None,
    label_smoothing: Annotated[float, typer.Option(help="0 to below 1.")] = 0.0,
    mixed_precision: Annotated[
        str | None, typer.Option(help="float16 or bfloat16, on hardware that is faster in it.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Augmentation, from `fusewarp preview --save-policy`.")
    ] = None,
    validation_split: Annotated[
        float, typer.Option(help="Share of each class held back for validation.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of split, order, augmentation, head.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="For decoding and augmenting; default: all.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs into the run folder.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make; default: fusewarp-run-<n>.")
    ] = None,
) -> None:
    """Train a classifier on a folder of photos: first its head, then the end of its base.

    Writes a run folder: the model (takes raw RGB 0-255), its labels, the history, a report, the
    confusion matrix, and a contact sheet of what the model was shown. Ctrl-C finishes the step and
    keeps the state; --resume goes on at the very next batch.
    """
    given = _given(context)
    if resume is not None:
        _refuse_others(given)
        run_folder, values = resume, _read_run(resume)
        if "threads" in given:
            values["trainer"]["threads"] = threads
    else:
        run_folder, values = new_run_folder(out), _values(context.params, given, config)
    data = values["data"]
    source = _source_of(data, values["trainer"].get("task"))
    parts = stratified_split(
        source.names,
        source.labels,
        data["validation_split"],
        values["trainer"].get("seed", 0),
        groups=getattr(source, "groups", None) or group_copies(source),
    )
    require_tensorflow()
    from .integrations.keras.trainer import TransferTrainer

    trainer = TransferTrainer.from_config(values["trainer"])
    data.update({n: str(Path(data[n]).resolve()) for n in ("folder", "table") if data.get(n)})
    loggers = _loggers(run_folder, tensorboard)
    _run(trainer, source, [source.select(ids) for ids in parts], run_folder, data, loggers)


def new_run_folder(out: Path | None) -> Path:
    """Give a folder that does not exist yet: `out`, or the next free `fusewarp-run-<n>`.

    Raises
    ------
    FileExistsError
        If `out` exists; a run folder is never written over.
    """
    if out is None:
        names = (Path(f"fusewarp-run-{n}") for n in itertools.count(1))
        return next(name for name in names if not name.exists())
    if out.exists():
        raise FileExistsError(
            f"{out} exists already; give --out a new name, delete it, or go on with --resume {out}."
        )
    return out


def _given(context: typer.Context) -> set[str]:
    """Return the parameters that the user wrote on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _refuse_others(given: set[str]) -> None:
    others = sorted(given - {"resume", "threads", "tensorboard"})
    if others:
        options = ", ".join("--" + name.replace("_", "-") for name in others)
        raise ValueError(
            f"--resume goes on with the run as it was begun; leave {options} out, or start a new "
            "run with --config."
        )


def _read_run(run_folder: Path) -> dict[str, Any]:
    """Read the configuration of a run that is to go on."""
    require_tensorflow()
    from .integrations.keras.config import read_config
    from .integrations.keras.trainer import CONFIG, FINISHED

    if (run_folder / FINISHED).exists():
        raise FileExistsError(f"{run_folder} is finished: it holds {FINISHED}.")
    if not (run_folder / CONFIG).is_file():
        raise FileNotFoundError(f"{run_folder} is no run folder: it has no {CONFIG}.")
    return _checked(read_config(run_folder / CONFIG), run_folder / CONFIG)


def _values(params: dict[str, Any], given: set[str], config: Path | None) -> dict[str, Any]:
    """Put the options over a configuration, or over the defaults."""
    if config is None:
        wanted = set(params)
        values: dict[str, Any] = {"trainer": {}, "data": {}}
    else:
        require_tensorflow()
        from .integrations.keras.config import read_config

        wanted, values = given, _checked(read_config(config), config)
    trainer, data = values["trainer"], values["data"]
    trainer.update({name: params[name] for name in ALIKE if name in wanted})
    for name, pair in PAIRS.items():
        trainer[name] = [
            params[option] if option in wanted else kept
            for option, kept in zip(pair, _kept(name, trainer), strict=True)
        ]
    if wanted & {"dropout", "units"}:
        head = {"dropout": params["dropout"], "units": params["units"] or []}
        kept = {name: value for name, value in head.items() if name in wanted}
        trainer["head"] = {**(trainer.get("head") or {}), **kept}
    if params["policy"] is not None or config is None:
        policy = TRAIN_POLICY if params["policy"] is None else load_policy(params["policy"])
        trainer["policy"] = policy.to_dict()
    _tidy(trainer)
    options = {name: params[name] for name in DATA if name in wanted}
    data.update({name: value for name, value in options.items() if value not in (None, [], ())})
    if "table" not in data:
        data.pop("path_column", None)
    return values


def _kept(name: str, trainer: dict[str, Any]) -> list[Any]:
    """Return (head, fine-tuning) of a configuration, where one number may stand for both."""
    value = trainer.get(name, DEFAULT_PAIRS[name])
    if isinstance(value, list):
        return value if len(value) == 2 else [value, value]  # which the trainer refuses
    return [value, value * FINE_TUNING_FACTORS[name]]


def _tidy(trainer: dict[str, Any]) -> None:
    """Turn the words of the command line into the trainer's."""
    if trainer.get("weights") == "none":
        trainer["weights"] = None
    layers = trainer.get("trainable_layers")
    if isinstance(layers, str) and layers.lstrip("-").isdigit():
        trainer["trainable_layers"] = int(layers)


def _checked(values: dict[str, Any], path: Path) -> dict[str, Any]:
    unknown = sorted(set(values) - {"trainer", "data"})
    if unknown:
        raise ValueError(f"{path} has {unknown}; it may have trainer and data.")
    sections = {name: values.get(name) or {} for name in ("trainer", "data")}
    others = sorted(set(sections["data"]) - set(DATA))
    if others:
        raise ValueError(f"{path} has {others} under data; it may have {', '.join(DATA)}.")
    sections["data"].setdefault("validation_split", 0.2)
    return sections


def _source_of(data: dict[str, Any], task: Any) -> FileSource:
    if data.get("folder") is None:
        raise ValueError("Give the FOLDER of photos, or a --config that names it under data.")
    if data.get("table") is None:
        columns = [name for name in DATA if name.endswith("_column") and data.get(name)]
        if columns:
            options = ", ".join("--" + name.replace("_", "-") for name in columns)
            raise ValueError(f"{options} is of a --table; give one, or leave it out.")
        return FolderSource(data["folder"])
    if not data.get("label_column"):
        raise ValueError("--table needs a --label-column, or several.")
    columns = data["label_column"]
    return TableSource.from_csv(
        data["table"],
        data["folder"],
        path=data.get("path_column", "path"),
        label=columns[0] if len(columns) == 1 else columns,
        group=data.get("group_column"),
        task=None if task == "binary" else task,  # two classes, for a table
    )


def _run(
    trainer: "TransferTrainer",
    source: FileSource,
    parts: list[FileSource],
    run_folder: Path,
    data: dict[str, Any],
    loggers: list[Any],
) -> None:
    from rich.console import Console

    from .integrations.keras.interrupt import Interrupted
    from .integrations.keras.run_folder import write_run_folder
    from .integrations.progress import TrainingProgress

    console, (train_source, validation_source) = Console(), parts
    console.print(
        f"{len(source)} photos of {len(source.class_names)} {_what(source)}: {len(train_source)} "
        f"to train on, {len(validation_source)} for validation."
    )
    head_epochs, fine_tune_epochs = trainer.hyperparameters()["epochs"]
    num_epochs = head_epochs + (fine_tune_epochs if trainer.trainable_layers else 0)
    try:
        with TrainingProgress(
            console, trainer.batch_size, num_epochs, announce=lambda: str(trainer.stages[-1])
        ) as progress:
            trainer.fit(
                train_source,
                validation_source,
                callbacks=[progress, *loggers],
                verbose=0,
                run_folder=run_folder,
                resume=True,
                about={"data": data},
            )
    except Interrupted as stop:
        console.print(f"{stop} Go on: fusewarp train --resume {run_folder}", soft_wrap=True)
        raise typer.Exit(130) from None
    write_run_folder(run_folder, trainer, train_source, validation_source)
    figures = {name[4:]: value for name, value in trainer.history[-1].items() if name[:4] == "val_"}
    said = ", ".join(f"{name} {value:.3f}" for name, value in sorted(figures.items()))
    console.print(f"Validation {said}. Wrote {run_folder / 'report.html'}.", soft_wrap=True)
    photo = validation_source.paths[0]
    console.print(f"Next: fusewarp predict {run_folder} {photo}", soft_wrap=True)


def _what(source: FileSource) -> str:
    return "quantities" if getattr(source, "task", None) == "regression" else "classes"


def _loggers(run_folder: Path, tensorboard: bool) -> list[Any]:
    if not tensorboard:
        return []
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("--tensorboard needs it: pip install tensorboard")
    import keras

    return [keras.callbacks.TensorBoard(str(run_folder / "tensorboard"))]
