"""`flow_from_dataframe`: whole epochs, attributes and errors against Keras' own iterator."""

import importlib
import inspect
import re

import keras
import numpy as np
import pandas as pd
import pytest
from keras.src.legacy.preprocessing.image import DataFrameIterator as KerasIterator
from PIL import Image
from skimage import data

from fusewarp.integrations.keras.dataframe import _LabelIndex
from fusewarp.keras import DataFrameIterator, ImageDataGenerator
from oracles.keras_generator import KerasGenerator, as_keras

OPTIONS = {"rotation_range": 25, "width_shift_range": 0.2, "zoom_range": 0.2, "rescale": 1 / 255}
OPTIONS |= {"horizontal_flip": True, "validation_split": 0.4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven crops of a real photo in two folders, and a file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(11):
        crop = data.chelsea()[number * 9 : number * 9 + 40 + 7 * number, 40 : 130 - 5 * number]
        path = folder / ("one", "two")[number % 2] / f"{number:02}.{('jpg', 'PNG')[number % 3 > 0]}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(crop).save(path)
    (folder / "one" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def frame(folder):
    names = sorted(str(path.relative_to(folder)) for path in folder.glob("*/[0-9]*"))
    number = range(11)
    return pd.DataFrame(
        {
            "filename": names,
            "class": [("dog", "cat", "bird")[i % 3] for i in number],
            "pair": [("yes", "no")[i % 3 > 0] for i in number],
            "tags": [["wet", "old"], ["new"], "wet", ("old", "new", "wet"), []] * 2 + ["old"],
            "age": [i * 1.5 - 3 for i in number],
            "size": np.arange(11, dtype=np.int32),
            "box": [[i, i + 1, i + 2.5] for i in number],
            "weight": np.linspace(0.5, 2, 11, dtype=np.float32),
        },
        index=[5, 5, 1, 0, -3, 8, 9, 20, 2, 2, 6],  # not the rows' numbers, on purpose
    )


def both_flows(frame, folder, options=OPTIONS, **flow):
    """Return our iterator and Keras' over the same frame."""
    flow = {"target_size": (23, 36), "batch_size": 4, "seed": 7} | flow
    ours = ImageDataGenerator(**options, quirks="keras", augment_validation=True)
    ours = ours.flow_from_dataframe(frame, folder, **flow)
    return ours, KerasGenerator(**options).flow_from_dataframe(frame, folder, **flow)


def our_flow(frame, folder, **flow):
    return ImageDataGenerator(validation_split=0.4).flow_from_dataframe(frame, folder, **flow)


def assert_same(ours, theirs):
    """Compare batches, arrays or tuples of them: lengths, dtypes and values."""
    if isinstance(ours, tuple):
        assert isinstance(theirs, (tuple, list))  # a list for several outputs
        assert len(ours) == len(theirs)
        for our_part, their_part in zip(ours, theirs, strict=True):
            assert_same(our_part, their_part)
    else:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=0.005 / 255, rtol=0)


MODES = [
    {"class_mode": "categorical"},
    {"class_mode": "categorical", "y_col": "tags"},
    {"class_mode": "categorical", "y_col": "tags", "classes": ["new", "old"]},
    {"class_mode": "categorical", "classes": ["dog", "bird", "dog"]},
    {"class_mode": "sparse", "classes": ("dog", "bird", "fish")},
    {"class_mode": "sparse"},
    {"class_mode": "binary", "y_col": "pair"},
    {"class_mode": "binary", "classes": ["dog", "cat"]},
    {"class_mode": "input"},
    {"class_mode": "raw", "y_col": "age"},
    {"class_mode": "raw", "y_col": "class"},
    {"class_mode": "raw", "y_col": ["size", "age"]},
    {"class_mode": "multi_output", "y_col": ["size", "box", "class"][:2]},
    {"class_mode": None},
]


@pytest.mark.parametrize("weight_col", [None, "weight"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode.values())))
def test_three_epochs_equal_keras(frame, folder, mode, weight_col):
    frame["class"] = frame["class"].astype(object)  # Keras gives a string column's own array type
    shuffle = weight_col is not None
    ours, theirs = both_flows(frame, folder, shuffle=shuffle, weight_col=weight_col, **mode)
    assert len(ours) == len(theirs)
    with as_keras():
        for _ in range(3 * len(ours)):
            mine, other = next(ours), next(theirs)
            if mode.get("y_col") == "class" and mode["class_mode"] == "raw":
                np.testing.assert_array_equal(mine[1], other[1])
                mine, other = mine[:1], other[:1]
            assert_same(mine, other)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("subset", ["training", "validation"])
@pytest.mark.parametrize("mode", [MODES[2], MODES[4], MODES[12]], ids=["tags", "sparse", "outputs"])
def test_subsets_equal_keras_by_index(frame, folder, mode, subset, shuffle):
    frame.loc[0, "filename"] = "one/nowhere.jpg"
    with pytest.warns(UserWarning, match="Found 1 invalid"):
        ours, theirs = both_flows(
            frame, folder, subset=subset, shuffle=shuffle, weight_col="weight", **mode
        )
    assert ours.filenames == theirs.filenames
    assert 0 < ours.samples < 10
    with as_keras():
        for mine, other in zip(three_epochs(ours), three_epochs(theirs), strict=True):
            assert_same(mine, other)


def three_epochs(iterator):
    np.random.seed(5)
    batches = []
    for _ in range(3):
        batches += [iterator[index] for index in range(len(iterator))]
        iterator.on_epoch_end()  # draws from where the last batch left the generator
    return batches


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode.values())))
@pytest.mark.parametrize("validate_filenames", [True, False])
def test_attributes_are_those_of_keras(frame, folder, mode, validate_filenames, capsys):
    more = {"weight_col": "weight", "validate_filenames": validate_filenames}
    ours, theirs = both_flows(frame, folder, **mode, **more)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    for name in set(vars(theirs)) - {"image_data_generator", "lock", "index_generator"}:
        np.testing.assert_equal(getattr(ours, name), getattr(theirs, name), name)
    for name in ("classes", "class_indices", "_targets"):
        assert hasattr(ours, name) == hasattr(theirs, name)
    for name in ("filepaths", "sample_weight"):
        np.testing.assert_equal(getattr(ours, name), getattr(theirs, name))
    assert ours.allowed_class_modes == theirs.allowed_class_modes
    if hasattr(theirs, "classes"):
        assert type(ours.classes) is list
        assert ours.labels is ours.classes
        assert {type(entry) for entry in ours.classes} <= {int, list}


def test_labels_without_classes_are_an_attribute_error_as_in_keras(frame, folder):
    for iterator in both_flows(frame, folder, class_mode=None):
        with pytest.raises(AttributeError):
            iterator.labels  # noqa: B018


def test_signatures_are_those_of_keras():
    def parameters(function):
        return [
            (p.name, p.default)
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD
        ]

    assert parameters(DataFrameIterator) == parameters(KerasIterator)
    name = "flow_from_dataframe"
    ours, theirs = getattr(ImageDataGenerator, name), getattr(KerasGenerator, name)
    assert parameters(ours) == parameters(theirs)


def test_the_frame_is_left_alone_and_may_change_later(frame, folder):
    before = frame.copy(deep=True)
    iterator = our_flow(
        frame, folder, y_col="age", class_mode="raw", weight_col="weight", shuffle=False
    )
    our_flow(frame, folder, y_col="tags", classes=["new"])
    pd.testing.assert_frame_equal(frame, before)
    frame["age"] = frame["weight"] = 0.0
    _, targets, weights = next(iterator)
    np.testing.assert_array_equal(targets, before["age"])
    np.testing.assert_array_equal(weights, before["weight"])


@pytest.mark.parametrize("directory", ["relative", "absolute", None])
def test_paths_are_joined_as_os_path_join_does(frame, folder, directory, monkeypatch):
    monkeypatch.chdir(folder)
    names = frame["filename"].tolist()
    names[1] = str(folder / names[1])
    names[2] = "one/../" + names[2]
    names[3] = "./" + names[3]
    names[4] = names[4].replace("/", "//")
    directory = {"relative": ".", "absolute": folder, None: None}[directory]
    ours, theirs = both_flows(frame.assign(filename=names), directory, class_mode=None)
    assert ours.filepaths == theirs.filepaths
    assert ours.directory == theirs.directory
    assert ours.samples == 11
    with as_keras():
        assert_same(next(ours), next(theirs))


def test_equal_rows_are_kept(frame, folder):
    twice = pd.concat([frame, frame.iloc[:3]])
    ours, theirs = both_flows(twice, folder)
    assert ours.filenames == theirs.filenames
    assert ours.samples == 14


def test_input_targets_are_a_copy(frame, folder):
    images, targets = next(our_flow(frame, folder, class_mode="input"))
    assert not np.shares_memory(images, targets)


def test_no_generator_gives_the_resized_files(frame, folder):
    plain = DataFrameIterator(frame, str(folder), target_size=(9, 8), shuffle=False)
    theirs = KerasIterator(frame, str(folder), target_size=(9, 8), shuffle=False)
    assert_same(next(plain), next(theirs))


def test_keep_aspect_ratio_and_the_fused_resize_are_passed_on(frame, folder):
    flow = {"target_size": (20, 12), "class_mode": None, "shuffle": False, "batch_size": 3}
    cut = our_flow(frame, folder, keep_aspect_ratio=True, **flow)
    theirs = KerasIterator(frame, folder, None, keep_aspect_ratio=True, **flow)
    assert_same(next(cut), next(theirs))
    assert not cut.use_fused_resize
    assert our_flow(frame, folder, use_fused_resize=True, **flow).use_fused_resize


def test_batches_of_many_labels_equal_a_plain_loop():
    classes = [[2, 0], 1, [], [0, 1, 2], [2, 2], 0]
    chosen = np.array([3, 2, 0, 3, 5, 4])
    expected = np.zeros((6, 3), np.float16)
    for row, sample in enumerate(chosen):
        expected[row, classes[sample]] = 1
    actual = _LabelIndex.of(classes).one_hot(chosen, 3, np.float16)
    assert actual.dtype == np.float16
    np.testing.assert_array_equal(actual, expected)
    assert _LabelIndex.of(classes).one_hot(chosen[:0], 3, np.float16).shape == (0, 3)


class Column(list):
    """A column as of polars, which has no index and no `tolist`."""

    def to_list(self):
        return list(self)

    def to_numpy(self):
        return np.array(self)


@pytest.mark.parametrize("column", [Column, list, np.array])
def test_other_frames_give_the_same_batches(frame, folder, column):
    other = {name: column(frame[name].tolist()) for name in ("filename", "class", "age")}
    for mode in ({}, *({"class_mode": "raw", "y_col": name} for name in ("age", ["age", "age"]))):
        flow = {"weight_col": "age", "seed": 3, "target_size": (9, 8)} | mode
        assert_same(next(our_flow(other, folder, **flow)), next(our_flow(frame, folder, **flow)))


def test_columns_of_other_dtypes(frame, folder):
    frame["class"] = frame["class"].astype("category")
    frame["size"] = frame["size"].astype("Int64")
    ours, theirs = both_flows(frame, folder)
    assert ours.classes == theirs.classes
    ours = our_flow(frame, folder, class_mode="raw", y_col="size", weight_col="size", shuffle=False)
    _, targets, weights = next(ours)
    assert targets.dtype == weights.dtype == np.int64
    np.testing.assert_array_equal(targets, np.arange(11))


# Errors that are Keras' own: the same type, and words that name what came.


def with_cell(frame, column, value, row=3):
    values = frame[column].astype(object).tolist()
    values[row] = value
    return frame.assign(**{column: pd.Series(values, frame.index, dtype=object)})


ERRORS = [
    ({"class_mode": "multi"}, ValueError, "Invalid class_mode: multi; expected one of: "),
    ({"class_mode": "other_"}, ValueError, "Invalid class_mode: other_"),
    ({"color_mode": "bgr"}, ValueError, "Invalid color mode: bgr"),
    ({"subset": "test"}, ValueError, "Invalid subset name: test"),
    ({"class_mode": "multi_output", "y_col": "age"}, TypeError, "Received str: 'age'"),
    (
        {"x_col": "size"},
        TypeError,
        "x_col=size must be strings. Row 0, counted from 0, has 0 (int)",
    ),
    (
        {"class_mode": "sparse", "y_col": "size"},
        TypeError,
        'y_col="size" column values must be str',
    ),
    (
        {"class_mode": "binary", "y_col": "tags"},
        TypeError,
        "Row 0, counted from 0, has ['wet', 'ol",
    ),
    ({"y_col": "age"}, TypeError, "must be type string, list or tuple. Row 0"),
    ({"class_mode": "binary"}, ValueError, "3 were found: 'bird', 'cat', 'dog'"),
    ({"class_mode": "binary", "classes": ["a", "a"]}, ValueError, "1 were given: 'a'"),
    ({"weight_col": "class"}, TypeError, "Column weight_col=class must be numeric, got object"),
    ({"x_col": "path"}, KeyError, "no column 'path' (x_col); it has 'filename', 'class'"),
    ({"y_col": "label"}, KeyError, "no column 'label' (y_col)"),
    ({"weight_col": "w"}, KeyError, "no column 'w' (weight_col)"),
    ({"class_mode": "raw", "y_col": ["age", "w"]}, KeyError, "no column 'w' (y_col)"),
    ({"class_mode": "multi_output", "y_col": ["age", "w"]}, KeyError, "no column 'w' (y_col)"),
    ({"y_col": ["class"]}, TypeError, "must be the name of one column, got the list ['class']"),
]


@pytest.mark.parametrize(("flow", "error", "message"), ERRORS)
def test_errors_of_keras_are_errors_here(frame, folder, flow, error, message):
    with pytest.raises(error):
        KerasGenerator().flow_from_dataframe(frame, folder, **flow)
    with pytest.raises(error, match=re.escape(message)):
        our_flow(frame, folder, **flow)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
@pytest.mark.parametrize(
    ("column", "flow"),
    [("filename", {}), ("class", {}), ("class", {"class_mode": "sparse"})],
)
def test_a_missing_path_or_label_is_named(frame, folder, column, flow, missing):
    frame = with_cell(frame, column, missing)
    with pytest.raises(TypeError):
        KerasGenerator().flow_from_dataframe(frame, folder, **flow)
    with pytest.raises(TypeError, match=r"Row 3, counted from 0, has (nan|None|<NA>) .*dropna"):
        our_flow(frame, folder, **flow)


def test_labels_of_several_types_are_named(frame, folder):
    frame = with_cell(frame, "tags", ["wet", None])
    with pytest.raises(TypeError):
        KerasGenerator().flow_from_dataframe(frame, folder, y_col="tags")
    with pytest.raises(TypeError, match=r"y_col=tags are of several types.*None, 'new', 'old'"):
        our_flow(frame, folder, y_col="tags")
    for iterator in both_flows(frame, folder, y_col="tags", classes=["wet"]):
        assert iterator.samples == 6


def test_what_is_no_frame_or_has_a_column_twice_is_refused(frame, folder):
    with pytest.raises(TypeError, match=r"got the path 'labels.csv'. Read it first"):
        our_flow("labels.csv", folder)
    twice = pd.concat([frame, frame[["class"]]], axis=1)
    with pytest.raises(TypeError, match="several columns of the name 'class'"):
        our_flow(twice, folder)


def test_outputs_of_several_shapes_are_refused(frame, folder):
    frame = with_cell(frame, "box", [1, 2])
    with pytest.raises(ValueError, match="column y_col=box must all have one shape"):
        our_flow(frame, folder, class_mode="multi_output", y_col=["age", "box"])


def test_invalid_files_are_left_out_and_the_first_is_named(frame, folder):
    names = frame["filename"].tolist()
    names[2], names[7] = "one/notes.txt", "two/gone.jpg"
    frame["filename"] = names
    message = r'Found 2 invalid image filename\(s\) in x_col="filename". These filename\(s\) will'
    with pytest.warns(UserWarning, match=message) as warned:
        ours, theirs = both_flows(frame, folder)
    assert "Row 2, counted from 0, is" in str(warned[0].message)
    assert "notes.txt': its name does not end with one of png, jpg" in str(warned[0].message)
    assert ours.filenames == theirs.filenames
    assert ours.classes == theirs.classes


def test_unchecked_files_fail_when_their_batch_is_made(frame, folder):
    frame["filename"] = ["gone.jpg", *frame["filename"][1:]]
    iterator = our_flow(frame, folder, validate_filenames=False, shuffle=False)
    assert iterator.samples == 11
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        next(iterator)


def test_a_frame_of_which_nothing_is_left_is_refused(frame, folder):
    message = (
        r"Found 0 validated .*all 11 in x_col=filename are invalid.*nowhere'.*Row 0.*no folder"
    )
    with pytest.raises(ValueError, match=message):
        our_flow(frame, folder / "nowhere")
    message = "Found 0 rows of the given `classes` 'fish': .*'bird', 'cat', 'dog'"
    with pytest.raises(ValueError, match=message):
        our_flow(frame, folder, classes=["fish"])


def test_an_empty_frame_or_subset_is_no_error(frame, folder):
    ours, theirs = both_flows(frame, folder, {}, subset="validation")
    assert ours.samples == theirs.samples == len(ours) == 0
    for mode in MODES:
        if mode["class_mode"] == "binary" and "classes" not in mode:
            continue  # 0 classes found: refused, as in Keras
        flow = {"weight_col": "weight"} | mode
        ours, theirs = both_flows(frame.iloc[:0], folder, validate_filenames=False, **flow)
        assert ours.samples == theirs.samples == 0
        assert our_flow(frame.iloc[:0], folder, **flow).samples == 0  # Keras: KeyError


@pytest.mark.parametrize("mode", [{"class_mode": None}, {"class_mode": "raw", "y_col": "age"}])
def test_classes_that_are_not_used_are_warned_about(frame, folder, mode):
    with pytest.warns(
        UserWarning, match="`classes` will be ignored given the class_mode="
    ) as warned:
        both_flows(frame, folder, classes=["dog"], **mode)
    assert len(warned) == 2


def test_labels_that_differ_by_case_are_warned_about(frame, folder):
    frame = with_cell(with_cell(frame, "class", "Cat"), "class", "CAT", row=5)
    message = "labels of y_col=class differ by case only .*: 'CAT' and 'Cat' and 'cat'."
    for classes, names in ((None, ["CAT", "Cat", "bird", "cat", "dog"]), (["cat"], ["cat"])):
        with pytest.warns(UserWarning, match=message) as warned:
            iterator = our_flow(frame, folder, classes=classes)
        assert len(warned) == 1
        assert warned[0].filename == __file__  # the script's line, not ours
        assert list(iterator.class_indices) == names
    our_flow(frame, folder, classes=["CAT", "Cat", "bird", "cat", "dog"])  # so meant: no warning


@pytest.mark.parametrize(
    ("mode", "column", "cell"),
    [
        ({"weight_col": "weight"}, "weight", np.nan),
        ({"class_mode": "raw", "y_col": "age"}, "age", np.inf),
        ({"class_mode": "raw", "y_col": "age"}, "age", pd.NA),
        ({"class_mode": "raw", "y_col": ["size", "age"]}, "age", -np.inf),
        ({"class_mode": "multi_output", "y_col": ["size", "age"]}, "age", np.nan),
        ({"class_mode": "multi_output", "y_col": ["size", "box"]}, "box", [1, 2, np.nan]),
    ],
)
def test_numbers_that_are_not_finite_are_warned_about(frame, folder, mode, column, cell):
    frame = with_cell(with_cell(frame, column, cell), column, cell, row=8)
    if column != "box" and cell is not pd.NA:
        frame[column] = frame[column].astype(float)
    frame["filename"] = ["one/gone.jpg", *frame["filename"][1:]]
    with pytest.warns(UserWarning, match="invalid|has 2 value") as warned:
        our_flow(frame, folder, **mode)
    (message,) = (str(w.message) for w in warned if "invalid" not in str(w.message))
    argument = "weight_col" if column == "weight" else "y_col"
    assert f"Column {argument}={column} has 2 value(s) that are missing or not finite" in message
    assert "the first in row 3, counted from 0" in message


def test_a_gap_in_whole_numbers_is_warned_about(frame, folder):
    frame["size"] = pd.array([1, None, *range(9)], "Int64")
    with pytest.warns(UserWarning, match="weight_col=size has 1 value.*row 1, .*: nan"):
        iterator = our_flow(frame, folder, weight_col="size", shuffle=False)
    np.testing.assert_array_equal(iterator.sample_weight, [1, np.nan, *range(9)])


@pytest.mark.parametrize(
    "flow",
    [{"has_ext": True}, {"sort": False}, {"drop_duplicates": True}, {"class_mode": "other"}],
    ids=lambda flow: next(iter(flow)),
)
def test_old_arguments_are_deprecated_as_in_keras(frame, folder, flow):
    flow = {"y_col": "age", "class_mode": "raw"} | flow
    with pytest.warns(DeprecationWarning, match="deprecated") as warned:
        ours, theirs = both_flows(frame, folder, **flow)
    assert len(warned) == 2
    assert warned[0].filename == __file__
    assert ours.class_mode == theirs.class_mode == "raw"


def test_an_unknown_argument_is_refused(frame, folder):
    KerasGenerator().flow_from_dataframe(frame, folder, batchsize=3)  # silently
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        our_flow(frame, folder, batchsize=3)


# Training


def small_model(num_outputs, activation="softmax"):
    return keras.Sequential(
        [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(num_outputs, activation)]
    )


def test_model_fit_takes_class_weights_and_a_validation_subset(frame, folder):
    generator = ImageDataGenerator(**OPTIONS, augment_validation=False)
    flow = {"directory": folder, "target_size": (9, 8), "batch_size": 4}
    train = generator.flow_from_dataframe(frame, subset="training", **flow)
    validation = generator.flow_from_dataframe(frame, subset="validation", shuffle=False, **flow)
    model = small_model(3)
    model.compile("sgd", "categorical_crossentropy")
    history = model.fit(
        train, epochs=2, validation_data=validation, class_weight={0: 1, 1: 2, 2: 1}, verbose=0
    )
    assert np.isfinite(history.history["val_loss"]).all()
    assert model.predict(validation, verbose=0).shape == (validation.samples, 3)


def test_model_evaluate_weighs_samples_and_takes_targets(frame, folder):
    flow = {"y_col": "age", "class_mode": "raw", "target_size": (9, 8), "shuffle": False}
    iterator = our_flow(frame, folder, weight_col="weight", batch_size=11, **flow)
    model = small_model(1, None)
    model.compile("sgd", "mse")
    loss = model.evaluate(iterator, verbose=0)
    images, targets, weights = next(iterator)
    errors = (model.predict(images, verbose=0)[:, 0] - targets) ** 2
    np.testing.assert_allclose(loss, np.mean(errors * weights), rtol=1e-4)


def test_model_fit_takes_several_outputs(frame, folder):
    iterator = our_flow(
        frame, folder, y_col=["age", "box"], class_mode="multi_output", target_size=(9, 8)
    )
    assert [output.shape for output in iterator[0][1]] == [(11,), (11, 3)]
    inputs = keras.Input((9, 8, 3))
    flat = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(1)(flat), keras.layers.Dense(3)(flat)])
    model.compile("sgd", ["mse", "mse"])
    assert len(model.fit(iterator, epochs=1, verbose=0).history["loss"]) == 1


@pytest.mark.parametrize("name", ["columns", "dataframe", "listing"])
def test_pandas_is_not_needed(name):
    module = importlib.import_module(f"fusewarp.integrations.keras.{name}")
    assert not re.search(r"^\s*(import|from) (pandas|polars)", inspect.getsource(module), re.M)
