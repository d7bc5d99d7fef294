"""The demo: what a pretrained base gains, what augmentation gains, how fast the loaders are.

Everything is measured in the run itself, on photos out of installed packages.
"""

import json
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from ..engine import ArraySource, Augmenter, FolderSource, Loader, Policy
from ..engine.threads import resolve_threads
from .demo_data import write_textures, write_tiles
from .keras.bases import build_base
from .keras.run_folder import write_run_folder
from .keras.trainer import TransferTrainer
from .progress import TrainingProgress
from .throughput import Throughput, measure_throughput

RESULTS = "demo.json"
BASE, IMAGE_SIZE, BATCH_SIZE = "efficientnet-lite0", 128, 16
LEARNING_RATES = (1e-3, 1e-4)
POLICY = Policy(
    rotation_range=180,
    width_shift_range=0.05,
    height_shift_range=0.05,
    zoom_range=(0.6, 1.2),
    zoom_keep_aspect=True,
    horizontal_flip=True,
    brightness_range=(0.5, 1.4),
    fill_mode="reflect",
)


@dataclass(frozen=True)
class Scale:
    """How much a demo does."""

    train_per_class: int
    held_out_per_class: int
    head_epochs: int
    fine_tuning_epochs: int
    tiles: int
    rounds: int


FULL = Scale(16, 20, head_epochs=6, fine_tuning_epochs=3, tiles=128, rounds=5)
QUICK = Scale(8, 6, head_epochs=3, fine_tuning_epochs=1, tiles=48, rounds=1)


@dataclass(frozen=True)
class Accuracy:
    """Held-out accuracy of one way to train: `share` is 0 to 1, of `photos`."""

    name: str
    share: float
    photos: int


@dataclass
class Demo:
    """What a demo measured, and where it wrote it.

    Attributes
    ----------
    out : Path
        Holds `photos/train`, `photos/held-out`, `tiles`, `run` (the run folder) and `demo.json`.
    accuracies : list of Accuracy
    throughputs : list of Throughput
    seconds : float
        All of it, imports left out.
    """

    out: Path
    seed: int
    scale: Scale
    threads: int
    accuracies: list[Accuracy] = field(default_factory=list)
    throughputs: list[Throughput] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, and what they were measured on, ready for JSON."""
        return {
            "seed": self.seed,
            "scale": asdict(self.scale),
            "accuracy": [asdict(row) for row in self.accuracies],
            "images_per_second": [
                {"median": row.median, **asdict(row)} for row in self.throughputs
            ],
            "seconds": self.seconds,
            "threads": self.threads,
            "machine": _machine(),
        }


def run_demo(out: Path, scale: Scale, console: Console, seed: int = 0) -> Demo:
    """Write the photos, train three ways, time the loaders, and write it all down.

    Parameters
    ----------
    out : Path
        A new folder, or that of an earlier demo, which is replaced.
    scale : Scale
        `FULL` takes a few minutes on two cores.
    console : rich.console.Console
        Shows what goes on.
    seed : int
        Of the photos, the order, the augmentation and the heads.

    Returns
    -------
    Demo

    Raises
    ------
    FileExistsError
        If `out` exists and no demo wrote it.
    ModuleNotFoundError
        If a package with photos or weights is not installed.
    """
    began = time.perf_counter()
    _clear(out)
    demo = Demo(out, seed, scale, resolve_threads(None))
    console.print("[bold]1/3[/bold] Cutting photos out of installed packages")
    train, held_out = write_textures(
        out / "photos", scale.train_per_class, scale.held_out_per_class, seed
    )
    write_tiles(out / "tiles", scale.tiles)
    console.print("[bold]2/3[/bold] Training")
    _train_all(demo, FolderSource(train), FolderSource(held_out), console)
    console.print("[bold]3/3[/bold] Timing the loaders")
    demo.throughputs = measure_throughput(
        out / "tiles", demo.threads, scale.rounds, lambda text: console.print(f"  {text}")
    )
    demo.seconds = time.perf_counter() - began
    (out / RESULTS).write_text(json.dumps(demo.to_dict(), indent=2) + "\n", encoding="utf-8")
    return demo


def _clear(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    if not out.exists():
        out.mkdir(parents=True)
    elif not out.is_dir() or (any(out.iterdir()) and not (out / RESULTS).is_file()):
        raise FileExistsError(f"{out} exists and no demo wrote it; give --out another name.")
    for name in ("photos", "tiles", "run"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / RESULTS).write_text("{}\n", encoding="utf-8")  # an interrupted demo is known as one


def _train_all(demo: Demo, train: FolderSource, held_out: FolderSource, console: Console) -> None:
    """Train with and without augmentation and on a random base; keep the run of the first."""
    scale = demo.scale
    head, both = (scale.head_epochs, 0), (scale.head_epochs, scale.fine_tuning_epochs)
    random_weights = write_random_weights(demo.out / "random-base.weights.h5", train, demo.seed)
    kept = _trainer(demo, POLICY, "imagenet", both)
    _fit(kept, "(a) pretrained base, augmented, then fine-tuned", console, train, held_out)
    plain = _trainer(demo, POLICY.without_augmentation(), "imagenet", head)
    _fit(plain, "(b) pretrained base, not augmented", console, train)
    random = _trainer(demo, POLICY, random_weights, head)
    _fit(random, "(c) random base, augmented", console, train)
    random_weights.unlink()

    shares = {
        "(a) frozen pretrained base, augmented": kept.history[scale.head_epochs - 1][
            "val_accuracy"
        ],
        "(b) the same, not augmented": plain.evaluate(held_out)["accuracy"],
        "(c) frozen random base, augmented": random.evaluate(held_out)["accuracy"],
        "(a) and then fine-tuned": kept.evaluate(held_out)["accuracy"],
    }
    demo.accuracies = [Accuracy(name, share, len(held_out)) for name, share in shares.items()]
    write_run_folder(demo.out / "run", kept, train, held_out)


def _trainer(
    demo: Demo, policy: Policy, weights: str | Path, epochs: tuple[int, int]
) -> TransferTrainer:
    return TransferTrainer(
        BASE,
        weights=weights,
        image_size=IMAGE_SIZE,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATES,
        policy=policy,
        seed=demo.seed,
        threads=demo.threads,
    )


def _fit(
    trainer: TransferTrainer,
    title: str,
    console: Console,
    train: FolderSource,
    held_out: FolderSource | None = None,
) -> None:
    console.print(f"  {title}")
    num_epochs = sum(trainer.hyperparameters()["epochs"])
    with TrainingProgress(console, trainer.batch_size, num_epochs) as progress:
        trainer.fit(train, held_out, callbacks=[progress], verbose=0)


def write_random_weights(path: Path, train: FolderSource | ArraySource, seed: int) -> Path:
    """Write random weights of the base whose batch normalization has seen the training photos.

    Straight from their initializers, and with batch normalization that has seen nothing, 50 layers
    shrink every feature to about 1e-12: that head could learn nothing, which would flatter the
    pretrained base. Measured statistics make the random base as good as it can be.
    """
    base = build_base(BASE, weights=None, image_size=(IMAGE_SIZE, IMAGE_SIZE), seed=seed)
    for layer in base.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # keep the statistics of the one batch
    policy = Policy(mean=base.pixels.mean, std=base.pixels.std)
    pixels = next(iter(Loader(train, Augmenter(policy, size=IMAGE_SIZE, seed=seed), 64))).images
    base.model(pixels, training=True)
    base.model.save_weights(path)
    return path


def _machine() -> dict[str, Any]:
    packages = ("fusewarp", "numpy", "numba", "keras", "tensorflow")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
