"""`fusewarp train`: from a folder of photos to a run folder with a trained model."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_extras import require_tensorflow
from .cli_policy import TRAIN_POLICY, load_policy
from .engine import FolderSource
from .engine.split import stratified_split

if TYPE_CHECKING:
    from .integrations.keras.trainer import TransferTrainer

EXAMPLES = """[bold]Examples[/bold]

fusewarp train photos/

fusewarp train photos/ --epochs 5 --fine-tune-epochs 0 --batch-size 16

fusewarp train photos/ --base MobileNetV2 --weights mobilenet_v2.weights.h5 --policy policy.json"""


def train(
    folder: Annotated[Path, typer.Argument(help="Photos; each sub-folder is a class.")],
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
        int, typer.Option(min=0, help="Last layers of the base that fine-tuning may change.")
    ] = 20,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of the head.")] = 1e-3,
    fine_tune_learning_rate: Annotated[float, typer.Option(help="Of fine-tuning.")] = 1e-5,
    optimizer: Annotated[str, typer.Option(help="Any of keras.optimizers, by name.")] = "adam",
    dropout: Annotated[float, typer.Option(help="Before the softmax.")] = 0.2,
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
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make; default: fusewarp-run-<n>.")
    ] = None,
) -> None:
    """Train a classifier on a folder of photos: first its head, then the end of its base.

    Writes a run folder: the model (takes raw RGB 0-255), its labels, the history, a report, the
    confusion matrix, and a contact sheet of what the model was shown.
    """
    run_folder = new_run_folder(out)
    source = FolderSource(folder)
    train_ids, validation_ids = stratified_split(
        source.names, source.labels, validation_split, seed
    )
    chosen = TRAIN_POLICY if policy is None else load_policy(policy)
    require_tensorflow()
    from .integrations.keras.trainer import TransferTrainer

    trainer = TransferTrainer(
        base,
        weights=None if weights == "none" else weights,
        image_size=image_size,
        epochs=(epochs, fine_tune_epochs),
        batch_size=batch_size,
        learning_rate=(learning_rate, fine_tune_learning_rate),
        optimizer=optimizer,
        trainable_layers=trainable_layers,
        dropout=dropout,
        policy=chosen,
        seed=seed,
        threads=threads,
    )
    _run(trainer, source, source.select(train_ids), source.select(validation_ids), run_folder)


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
        raise FileExistsError(f"{out} exists already; give --out a new name, or delete it.")
    return out


def _run(
    trainer: "TransferTrainer",
    source: FolderSource,
    train_source: FolderSource,
    validation_source: FolderSource,
    run_folder: Path,
) -> None:
    from rich.console import Console

    from .integrations.keras.run_folder import write_run_folder
    from .integrations.progress import TrainingProgress

    console = Console()
    console.print(
        f"{len(source)} photos of {len(source.class_names)} classes: {len(train_source)} to train "
        f"on, {len(validation_source)} for validation."
    )
    head_epochs, fine_tune_epochs = trainer.hyperparameters()["epochs"]
    num_epochs = head_epochs + (fine_tune_epochs if trainer.trainable_layers else 0)
    with TrainingProgress(console, trainer.batch_size, num_epochs) as progress:
        trainer.fit(train_source, validation_source, callbacks=[progress], verbose=0)
    write_run_folder(run_folder, trainer, train_source, validation_source)
    figures: dict[str, Any] = trainer.history[-1]
    console.print(f"Validation accuracy {figures['val_accuracy']:.3f}. Wrote {run_folder}.")
    photo = validation_source.paths[0]
    console.print(f"Next: fusewarp predict {run_folder} {photo}", soft_wrap=True)
