import base64
import io

import numpy as np
import pytest
from PIL import Image

from fusewarp.integrations.keras.figures import (
    draw_confusion_matrix,
    draw_history,
    draw_scatter,
    save_figure,
    svg_uri,
)

HISTORY = [
    {"epoch": 0, "stage": "head", "accuracy": 0.5, "loss": 1.5, "val_loss": 1.4, "seconds": 3.0},
    {"epoch": 1, "stage": "head", "accuracy": 0.6, "loss": 1.2, "val_loss": 1.3, "seconds": 2.0},
    {"epoch": 2, "stage": "fine-tuning", "accuracy": 0.7, "loss": 1.0, "val_loss": 1.1},
]


def test_curves_start_at_epoch_one_and_mark_fine_tuning():
    loss, accuracy = draw_history(HISTORY).axes

    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    training, validation, mark = loss.get_lines()
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(validation.get_ydata(), [1.4, 1.3, 1.1])
    assert mark.get_xdata()[0] == 2.5
    assert len(accuracy.get_lines()) == 2


def test_an_odd_number_of_curves_leaves_a_place_empty():
    rows = [{**row, "recall": 0.5} for row in HISTORY]

    shown = [axes.get_title() for axes in draw_history(rows).axes if axes.axison]

    assert shown == ["loss", "accuracy", "recall"]


def test_many_classes_and_a_class_without_samples():
    counts = np.zeros((25, 25), np.int64)
    counts[3, 4] = 2
    figure = draw_confusion_matrix(counts, [f"class {number}" for number in range(25)])
    assert len(figure.axes[0].texts) == 0
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array())[3, 4], 1.0)


@pytest.mark.parametrize("name", ["$x$ and $\\frac", "猫", "\udcff", "line\nbreak", "a" * 200])
def test_any_name_can_be_drawn_as_it_is(name):
    figure = draw_confusion_matrix(np.eye(2, dtype=np.int64), [name, "other"])

    with io.BytesIO() as file:
        save_figure(figure, file)
        Image.open(file).load()

    label = figure.axes[0].get_yticklabels()[0]
    assert not label.get_parse_math()
    assert len(label.get_text()) <= 24


def test_scatter_of_each_quantity():
    values = np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]])
    left, right = draw_scatter(values, values + 0.5, ["age", "weight"]).axes

    assert (left.get_title(), right.get_title()) == ("age", "weight")
    np.testing.assert_array_equal(
        right.collections[0].get_offsets(), [[10, 10.5], [30, 30.5], [20, 20.5]]
    )


def test_users_settings_do_not_reach_the_drawings():
    import matplotlib

    with matplotlib.rc_context({"font.family": ["no such font"], "svg.fonttype": "none"}):
        uri = svg_uri(draw_history(HISTORY))

    kind, data = uri.split(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<path" in base64.b64decode(data)
    assert b"<text" not in base64.b64decode(data)  # letters would depend on the reader's fonts
