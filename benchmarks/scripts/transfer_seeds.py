"""What a pretrained base, fine-tuning and augmentation are worth, over several seeds.

A seed draws the crops, the order, the augmentation, the head and the random base. Every way to
train gets the same crops and the same number of epochs, and is judged on two held-out sets that
come from the other half of each photo: crops like those in training, and crops that are turned,
scaled and lit differently. Nothing was tuned on them: the settings are the demo's.

    python -m fusewarp.benchmarks.scripts.transfer_seeds --out transfer.json
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import keras
import numpy as np
import typer

from ...engine import ArraySource
from ...integrations import demo
from ...integrations.demo_data import (
    TEXTURES,
    demanding_crop,
    open_photo,
    package_file,
    split_boxes,
    upright_crop,
)
from ...integrations.keras.trainer import TransferTrainer

app = typer.Typer(add_completion=False)
HEAD_EPOCHS, FINE_TUNING_EPOCHS = 15, 10
HELD_OUT = ("like_training", "turned_and_relit")
JUDGED_ON = ("training", *HELD_OUT)


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    pretrained: bool
    fine_tuned: bool
    augmented: bool


WAYS = (
    Way("random base, head only", False, False, False),
    Way("random base, head only, augmented", False, False, True),
    Way("pretrained base, head only", True, False, False),
    Way("pretrained base, head only, augmented", True, False, True),
    Way("pretrained base, fine-tuned", True, True, False),
    Way("pretrained base, fine-tuned, augmented", True, True, True),
)
QUESTIONS = (  # what is gained: the accuracy of the first way minus that of the second
    ("pretrained against random, plain", 2, 0),
    ("pretrained against random, augmented", 3, 1),
    ("fine-tuning against head only, plain", 4, 2),
    ("fine-tuning against head only, augmented", 5, 3),
    ("augmentation against none, head only", 3, 2),
    ("augmentation against none, fine-tuned", 5, 4),
)


@dataclass(frozen=True)
class Result:
    """Accuracies (0 to 1) of one way to train and one seed."""

    way: str
    seed: int
    training: float  # on the training crops, not augmented
    like_training: float
    turned_and_relit: float
    seconds: float


def make_crops(
    train_per_class: int, held_out_per_class: int, seed: int
) -> tuple[ArraySource, dict[str, ArraySource]]:
    """Cut the training crops and both held-out sets out of the demo's photos."""
    kinds: dict[str, list[Any]] = {name: [] for name in ("train", *HELD_OUT)}
    for number, (package, file) in enumerate(TEXTURES.values()):
        photo = open_photo(package_file(package, file), "L")
        train_box, held_out_box = split_boxes(photo.size)
        rng = np.random.default_rng([seed, number])
        for _ in range(train_per_class):
            kinds["train"].append(upright_crop(photo, train_box, rng))
        for _ in range(held_out_per_class):
            kinds["like_training"].append(upright_crop(photo, held_out_box, rng))
            kinds["turned_and_relit"].append(demanding_crop(photo, held_out_box, rng))
    train = _source(kinds["train"], train_per_class)
    return train, {name: _source(kinds[name], held_out_per_class) for name in HELD_OUT}


def _source(crops: Sequence[Any], per_class: int) -> ArraySource:
    images = np.stack([np.asarray(crop.convert("RGB")) for crop in crops])
    return ArraySource(images, np.repeat(np.arange(len(TEXTURES)), per_class))


def run_way(
    way: Way,
    seed: int,
    train: ArraySource,
    held_out: dict[str, ArraySource],
    epochs: tuple[int, int],
    random_weights: Path,
) -> Result:
    """Train in one way, and judge it."""
    began = time.perf_counter()
    keras.backend.clear_session()
    trainer = TransferTrainer(
        demo.BASE,
        weights="imagenet" if way.pretrained else random_weights,
        image_size=demo.IMAGE_SIZE,
        epochs=epochs if way.fine_tuned else (sum(epochs), 0),
        batch_size=demo.BATCH_SIZE,
        learning_rate=demo.LEARNING_RATES,
        policy=demo.POLICY if way.augmented else demo.POLICY.without_augmentation(),
        seed=seed,
    )
    trainer.fit(train, verbose=0)
    sources = {"training": train, **held_out}
    accuracy = {name: trainer.evaluate(sources[name])["accuracy"] for name in JUDGED_ON}
    return Result(way.name, seed, **accuracy, seconds=time.perf_counter() - began)


def run_seeds(
    num_seeds: int, train_per_class: int, held_out_per_class: int, epochs: tuple[int, int]
) -> list[Result]:
    """Train in every way with every seed."""
    results = []
    for seed in range(num_seeds):
        train, held_out = make_crops(train_per_class, held_out_per_class, seed)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "random.weights.h5"
            demo.write_random_weights(weights, train, seed)
            for way in WAYS:
                results.append(run_way(way, seed, train, held_out, epochs, weights))
                typer.echo(results[-1], err=True)
    return results


def as_markdown(results: Sequence[Result]) -> str:
    """Return two tables: accuracy of each way, and what the same seeds gain; in percent."""
    lines = [
        "| mean ± sd, % | training crops | held out, like training | held out, turned and relit |",
        "|---|---|---|---|",
    ]
    for way in WAYS:
        cells = [_spread(_accuracies(results, way, kind)) for kind in JUDGED_ON]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| gain, points | held out, like training | held out, turned and relit |",
        "|---|---|---|",
    ]
    for question, first, second in QUESTIONS:
        cells = []
        for kind in HELD_OUT:
            ours, theirs = (_accuracies(results, WAYS[k], kind) for k in (first, second))
            gains = [a - b for a, b in zip(ours, theirs, strict=True)]
            cells.append(_spread(gains, sign="+"))
        lines.append(f"| {question} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracies(results: Sequence[Result], way: Way, kind: str) -> list[float]:
    return [getattr(row, kind) for row in results if row.way == way.name]


def _spread(shares: Sequence[float], sign: str = "") -> str:
    """Write mean and sample standard deviation."""
    middle = round(100 * mean(shares), 1) + 0.0  # no -0.0
    return f"{middle:{sign}.1f} ± {100 * stdev(shares):.1f}"


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="JSON file for every single result.")],
    seeds: Annotated[int, typer.Option(min=2)] = 5,
    train_per_class: Annotated[int, typer.Option(min=1)] = 8,
    held_out_per_class: Annotated[int, typer.Option(min=1)] = 25,
    head_epochs: Annotated[int, typer.Option(min=1)] = HEAD_EPOCHS,
    fine_tuning_epochs: Annotated[int, typer.Option(min=1)] = FINE_TUNING_EPOCHS,
) -> None:
    """Train in every way with every seed, and print the tables."""
    epochs = (head_epochs, fine_tuning_epochs)
    results = run_seeds(seeds, train_per_class, held_out_per_class, epochs)
    figures = {
        "classes": len(TEXTURES),
        "train_per_class": train_per_class,
        "held_out_per_class": held_out_per_class,
        "epochs": list(epochs),
        "results": [asdict(row) for row in results],
    }
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    typer.echo(as_markdown(results))


if __name__ == "__main__":
    app()
