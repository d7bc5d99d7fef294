"""What report.json of a run may hold, without a training."""

import numpy as np

from fusewarp.integrations.keras.figures import draw_confusion_matrix, draw_history, svg_uri
from fusewarp.integrations.keras.mistakes import find_mistakes
from fusewarp.integrations.keras.outcome import Outcome
from fusewarp.integrations.keras.page import jpeg_uri
from fusewarp.integrations.keras.report_page import Pictures
from fusewarp.integrations.keras.tasks import Task

HISTORY = [
    {"epoch": 0, "stage": "head", "loss": 1.2, "accuracy": 0.4, "val_loss": 1.3, "seconds": 2.0},
    {"epoch": 1, "stage": "fine-tuning", "loss": 0.9, "accuracy": 0.7, "val_loss": 1.0},
]


def example_outcome(names, count=60, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(len(names)), count).astype(np.float32)
    return Outcome(Task("single-label", tuple(names)), scores, np.arange(count) % len(names))


def example_report(outcome, **changes):
    names = list(outcome.task.outputs)
    counts = outcome.confusion()
    return {
        "finished": "2026-01-02T03:04:05+00:00",
        "task": outcome.task.name,
        "class_names": names,
        "hyperparameters": {"base": "VGG16", "loss": None, "policy": {"rotation_range": 20.0}},
        "base": "VGG16",
        "image_size": [32, 40],
        "train_pictures": 1234,
        "train_counts": dict.fromkeys(names, 7),
        "validation_pictures": len(outcome),
        "validation_counts": dict.fromkeys(names, 3),
        "validation": {"loss": 0.5, "accuracy": 0.875},
        "table": outcome.table(),
        "confusion_matrix": None if counts is None else counts.tolist(),
        "stages": [
            {
                "name": "head",
                "epochs": 1,
                "learning_rate": 0.001,
                "trainable_parameters": 3_843,
                "frozen_parameters": 14_714_688,
            }
        ],
        "history": HISTORY,
        "images_per_second": 321.4,
        "wait_share": 0.07,
        "versions": {"python": "3.11.7", "keras": "3.15.1"},
        **changes,
    }


def example_pictures(outcome, photo, name):
    """Draw what belongs to `outcome`; every mistake is shown with one photo."""
    matrix = draw_confusion_matrix(outcome.confusion(), outcome.task.outputs)
    shown = [(mistake, name, jpeg_uri(photo)) for mistake in find_mistakes(outcome, 4)]
    curves = svg_uri(draw_history(HISTORY))
    return Pictures(curves, svg_uri(matrix), augmented=jpeg_uri(photo), mistakes=shown)
