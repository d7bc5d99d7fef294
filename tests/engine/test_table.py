import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import Augmenter, FolderSource, Loader, Policy, TableSource, stratified_split
from fusewarp.engine import SampleError

PHOTOS = {"cat": data.chelsea, "person": data.astronaut, "cup": data.coffee, "rocket": data.rocket}
FILES = [f"{name}/{number}.jpg" for name in PHOTOS for number in range(3)]
KINDS = [file.split("/")[0] for file in FILES]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three views of each of four photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in PHOTOS.items():
        (folder / name).mkdir()
        for number in range(3):
            view = photo()[20 * number : 20 * number + 120, 10 : 10 + 160]
            Image.fromarray(view).save(folder / name / f"{number}.jpg", quality=92)
    return folder


def test_a_table_gives_what_the_same_folder_gives(photos):
    expected = FolderSource(photos)
    source = TableSource({"path": FILES, "kind": KINDS}, photos, label="kind")
    order = [expected.names.index(name) for name in source.names]
    assert source.names == FILES
    assert source.task == "single-label"
    assert source.class_names == expected.class_names
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == expected.labels[order].tolist()
    np.testing.assert_array_equal(source.read(4), expected.read(order[4]))
    augmenter = Augmenter(Policy(rotation_range=30), size=48)
    batches = [
        next(iter(Loader(s, augmenter, 12, shuffle=False)))
        for s in (source, expected.select(order))
    ]
    np.testing.assert_array_equal(batches[0].images, batches[1].images)
    np.testing.assert_array_equal(batches[0].labels, batches[1].labels)
    assert batches[0].images.std() > 20


@pytest.mark.parametrize("make", ["dict", "pandas", "polars", "pyarrow", "structured"])
def test_any_table_with_columns_will_do(photos, make):
    columns = {"file": FILES, "kind": KINDS, "age": [float(i) for i in range(12)]}
    if make in ("pandas", "polars"):
        table = pytest.importorskip(make).DataFrame(columns)
    elif make == "pyarrow":
        table = pytest.importorskip(make).table(columns)
    elif make == "structured":
        table = np.array(list(zip(*columns.values(), strict=True)), "U20,U20,f8")
        table.dtype.names = tuple(columns)
    else:
        table = columns
    source = TableSource(table, photos, path="file", label="kind", weight="age", group="kind")
    assert source.names == FILES
    assert source.class_names == sorted(PHOTOS)
    assert [source.class_names[label] for label in source.labels] == KINDS
    assert source.weights.dtype == np.float32
    assert source.weights.tolist() == columns["age"]
    assert source.groups == KINDS
    ages = TableSource(table, photos, path="file", label="age")
    assert (ages.task, ages.class_names) == ("regression", ["age"])


def test_pandas_rows_that_were_filtered_and_categories(photos):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": FILES, "kind": pandas.Categorical(KINDS), "n": range(12)})
    frame = frame[frame["kind"] != "cat"]  # its index starts at 3
    source = TableSource(frame, photos, label="kind")
    assert source.class_names == ["cup", "person", "rocket"]
    assert source.names == FILES[3:]
    frame.loc[5, "kind"] = None
    with pytest.raises(ValueError, match=r"person/2\.jpg has no label in column 'kind'"):
        TableSource(frame, photos, label="kind")
    counts = pandas.array([None, *range(11)], dtype="Int64")
    with pytest.raises(ValueError, match=r"cat/0\.jpg has no label in column 'n' \(.*<NA>"):
        TableSource({"path": FILES, "n": counts}, photos, label="n")


def test_columns_of_pyarrow(photos):
    pa = pytest.importorskip("pyarrow")
    tags = [["fur"] if kind == "cat" else ["sky", "metal"] for kind in KINDS]
    table = pa.table(
        {
            "path": pa.chunked_array([FILES[:5], [], FILES[5:]]),
            "kind": pa.chunked_array([KINDS[:5], [], KINDS[5:]]).dictionary_encode(),
            "age": pa.array(range(12), pa.uint8()),
            "tags": tags,
            "score": pa.array([0.5] * 12, pa.float32()),
        }
    )
    source = TableSource(table, photos, label="kind", weight="age", group="age")
    assert [source.class_names[label] for label in source.labels] == KINDS
    assert source.weights.tolist() == list(range(12))
    assert source.groups == [str(i) for i in range(12)]
    assert TableSource(table, photos, label="score").task == "regression"
    several = TableSource(table, photos, label="tags")
    assert (several.task, several.class_names) == ("multi-label", ["fur", "metal", "sky"])
    assert several.labels[0].tolist() == [1, 0, 0]
    (batch, *_) = table.combine_chunks().to_batches()
    assert TableSource(batch, photos, label="kind").labels.tolist() == source.labels.tolist()
    with pytest.raises(ValueError, match="no column 'breed'; it has 'path', 'kind', 'age'"):
        TableSource(table, photos, label="breed")
    holes = pa.table({"path": FILES[:2], "kind": ["a", None], "n": [None, 1]})
    with pytest.raises(ValueError, match=r"cat/1\.jpg has no label .* \(it holds None\)"):
        TableSource(holes, photos, label="kind")
    with pytest.raises(ValueError, match=r"cat/0\.jpg has None in column 'n'; a weight"):
        TableSource(holes, photos, weight="n")


def test_columns_of_polars(photos):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "path": FILES,
            "kind": pl.Series(KINDS, dtype=pl.Categorical),
            "tags": [["fur"] if kind == "cat" else [] for kind in KINDS],
            "n": pl.Series([*range(11), None], dtype=pl.UInt16),
        }
    )
    part = frame.filter(pl.col("kind") != "cat")
    source = TableSource(part, photos, label="kind")
    assert (source.names, source.class_names) == (FILES[3:], ["cup", "person", "rocket"])
    assert TableSource(frame, photos, label="tags").labels[:, 0].tolist() == [1] * 3 + [0] * 9
    with pytest.raises(ValueError, match=r"rocket/2\.jpg has no label .* \(it holds None\)"):
        TableSource(frame, photos, label="n")


def test_a_column_may_be_called_like_a_method_of_another_table(photos):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"to_pylist": FILES, "column_names": KINDS})
    source = TableSource(frame, photos, path="to_pylist", label="column_names")
    assert source.class_names == sorted(PHOTOS)


def labels_of(photos, *, label=None, task=None, class_names=None, **columns):
    chosen = label or (list(columns) if len(columns) > 1 else next(iter(columns)))
    table = {"path": FILES[: len(next(iter(columns.values())))], **columns}
    return TableSource(table, photos, label=chosen, task=task, class_names=class_names)


def test_whole_numbers_are_classes_in_the_order_of_numbers(photos):
    source = labels_of(photos, grade=np.array([10, 9, 10, 1]))
    assert source.class_names == ["1", "9", "10"]
    assert source.labels.tolist() == [2, 1, 2, 0]


def test_given_class_names_are_looked_up_or_counted(photos):
    source = labels_of(photos, kind=["cup", "cat"], class_names=["rocket", "cup", "cat"])
    assert source.labels.tolist() == [1, 2]
    assert source.class_names == ["rocket", "cup", "cat"]
    source = labels_of(photos, kind=[1, 0, 1], class_names=["no", "yes"])
    assert source.labels.tolist() == [1, 0, 1]
    assert source.class_names == ["no", "yes"]
    assert labels_of(photos, kind=["a", "a"], class_names=["a"]).labels.tolist() == [0, 0]


def test_columns_of_zeros_and_ones_are_labels(photos):
    source = labels_of(photos, fur=[1, 0, 1], metal=[False, True, False], sky=[0.0, 1.0, 1.0])
    assert (source.task, source.class_names) == ("multi-label", ["fur", "metal", "sky"])
    assert source.labels.dtype == np.uint8
    assert source.labels.flags.c_contiguous
    assert source.labels.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]


def test_lists_of_names_are_labels(photos):
    source = labels_of(photos, tags=[["fur", "eyes"], (), {"sky"}, np.array(["sky", "fur"])])
    assert (source.task, source.class_names) == ("multi-label", ["eyes", "fur", "sky"])
    assert source.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]
    source = labels_of(photos, tags=[["sky"], []], class_names=["sea", "sky"])
    assert source.labels.tolist() == [[0, 1], [0, 0]]


def test_numbers_are_a_regression(photos):
    source = labels_of(photos, height=[1.5, 2.0, -3.25])
    assert (source.task, source.class_names) == ("regression", ["height"])
    assert source.labels.dtype == np.float32
    assert source.labels.tolist() == [1.5, 2.0, -3.25]
    source = labels_of(photos, x=[1, 2], y=[3.5, 4])
    assert (source.task, source.class_names) == ("regression", ["x", "y"])
    assert source.labels.tolist() == [[1.0, 3.5], [2.0, 4.0]]
    assert labels_of(photos, age=[31, 40], task="regression").labels.tolist() == [31.0, 40.0]


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("cat/1.jpg has no label in column 'kind' .it holds ''", {"kind": ["a", ""]}),
        ("cat/1.jpg has no label in column 'kind' .it holds None", {"kind": ["a", None]}),
        ("cat/0.jpg has no label in column 'x' .it holds nan", {"x": [np.nan, 2.5]}),
        ("cat/1.jpg has no label in column 'x' .it holds b'a'", {"x": ["a", b"a"]}),
        ("cat/1.jpg has 3 in column 'kind'; classes are all text", {"kind": ["a", 3]}),
        ("cat/0.jpg has 1.5 in column 'kind'; classes", {"kind": [1.5, 2], "task": "single-label"}),
        ("holds one class only, 'a'", {"kind": ["a", "a"]}),
        ("'c' in column 'kind', which is none of .*'a'", {"kind": ["c"], "class_names": ["a"]}),
        ("2 in column 'kind', which is none of", {"kind": [2], "class_names": ["a", "b"]}),
        ("`class_names` must list different", {"kind": ["a"], "class_names": ["a", "a"]}),
        ("`class_names` must list different", {"kind": ["a"], "class_names": "ab"}),
        ("`class_names` are for one column", {"x": [1.5], "class_names": ["a"]}),
        ("`class_names` are for one column", {"x": [1], "y": [0], "class_names": ["a", "b"]}),
        ("`task` must be one of", {"kind": ["a"], "task": "softmax"}),
        ("one column, got .'x', 'y'.", {"x": [1], "y": [0], "task": "single-label"}),
        ("2 in column 'y'; several label", {"x": [1], "y": [2], "task": "multi-label"}),
        ("'a;b' in column 'tags'; several", {"tags": ["a;b"], "task": "multi-label"}),
        ("'b' in column 'tags'; several", {"tags": [["a"], "b"]}),
        ("cat/1.jpg has no label in column 'tags'", {"tags": [["a"], ["b", None]]}),
        ("No row of column 'tags' names a class", {"tags": [[], []]}),
        ("'tall' in column 'y'; a regression needs", {"x": [1.5], "y": ["tall"]}),
        ("inf in column 'x'; a regression needs", {"x": [np.inf]}),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(photos, message, options):
    with pytest.raises(ValueError, match=message):
        labels_of(photos, **options)


def test_tables_that_cannot_be_meant_are_refused(photos):
    table = {"path": FILES[:2], "w": [1, -1], "g": ["a", None]}
    for error, message, arguments in [
        (TypeError, "For a CSV file use TableSource.from_csv", {"table": "labels.csv"}),
        (ValueError, "no column 'kind'; it has 'path', 'w', 'g'", {"label": "kind"}),
        (ValueError, "of one length, and not empty; got", {"table": {"path": FILES, "w": [1]}}),
        (ValueError, "of one length, and not empty; got", {"table": {"path": []}}),
        (ValueError, "Row 1 of the table has no file", {"table": {"path": [FILES[0], None]}}),
        (ValueError, "cat/1.jpg has -1 in column 'w'; a weight", {"weight": "w"}),
        (ValueError, "cat/1.jpg has None in column 'g'; a group", {"group": "g"}),
        (ValueError, '`on_missing` must be "raise" or "skip"', {"on_missing": "ignore"}),
        (ValueError, "`color_mode`", {"color_mode": "bgr"}),
        (FileNotFoundError, "nowhere does not exist", {"folder": photos / "nowhere"}),
    ]:
        options = {"table": table, "folder": photos, "weight": None, **arguments}
        if "table" in arguments and "w" in arguments["table"]:
            options["weight"] = "w"
        with pytest.raises(error, match=message):
            TableSource(options.pop("table"), options.pop("folder"), **options)


def test_missing_files_are_counted_and_named(photos):
    names = [*FILES, "cat/9.jpg", "dog/0.jpg", "cat"]
    table = {"path": names, "kind": [*KINDS, "cat", "dog", "cat"], "weight": range(15)}
    with pytest.raises(FileNotFoundError, match=r"3 of the table's 15 .* 'cat', 'cat/9\.jpg'"):
        TableSource(table, photos, label="kind")
    source = TableSource(table, photos, label="kind", weight="weight", on_missing="skip")
    assert source.missing == names[12:]
    assert source.names == FILES
    assert source.class_names == sorted(PHOTOS)  # no class without a picture
    assert source.weights.tolist() == list(range(12))
    with pytest.raises(FileNotFoundError, match="2 of the table's 2 files"):
        TableSource({"path": ["a.jpg", "b.jpg"]}, photos, on_missing="skip")


def test_absolute_paths_may_lie_elsewhere(photos, tmp_path):
    shutil.copy(photos / "cup" / "1.jpg", tmp_path / "elsewhere.jpg")
    files = [photos / "cat" / "0.jpg", tmp_path / "elsewhere.jpg", "cup/2.jpg"]
    source = TableSource({"path": files}, photos)
    assert source.names == ["cat/0.jpg", (tmp_path / "elsewhere.jpg").as_posix(), "cup/2.jpg"]
    assert list(source.paths) == [*files[:2], photos / "cup" / "2.jpg"]
    np.testing.assert_array_equal(source.read(1), FolderSource(photos).read(4))
    assert (source.labels, source.task, source.class_names) == (None, None, [])


def test_select_keeps_everything_of_a_sample_together(photos):
    table = {"path": FILES, "kind": KINDS, "w": range(12), "patient": [i // 2 for i in range(12)]}
    source = TableSource(table, photos, label="kind", weight="w", group="patient")
    part = source.select([7, 2])
    assert part.names == [FILES[7], FILES[2]]
    assert part.groups == ["3", "1"]
    assert part.weights.tolist() == [7, 2]
    assert [part.class_names[label] for label in part.labels] == [KINDS[7], KINDS[2]]
    train, validation = stratified_split(source.names, source.labels, 0.3, groups=source.groups)
    sides = [set(source.select(ids).groups) for ids in (train, validation)]
    assert not sides[0] & sides[1]
    mask = np.array(KINDS) == "cup"
    assert source.select(mask).groups == ["3", "3", "4"]


def test_a_file_that_vanished_since_is_named(photos, tmp_path):
    shutil.copy(photos / "cup" / "1.jpg", tmp_path)
    source = TableSource({"path": ["1.jpg"]}, tmp_path)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(SampleError, match=r"1\.jpg cannot be read"):
        source.read(0)


def write_csv(path, rows, **options):
    with open(path, "w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows(rows)
    return path


def read_csv(tmp_path, photos, label, texts, **options):
    rows = [["path", "label"], *zip(FILES, texts)]  # noqa: B905
    table = write_csv(tmp_path / "t.csv", rows)
    source = TableSource.from_csv(table, photos, label=label, **options)
    return source.task, source.class_names, source.labels.tolist()


def test_csv_columns_become_what_they_hold(tmp_path, photos):
    def read(*texts, **options):
        return read_csv(tmp_path, photos, "label", texts, **options)

    assert read("b", "a, b", "b") == ("single-label", ["a, b", "b"], [1, 0, 1])
    assert read("10", "9") == ("single-label", ["9", "10"], [1, 0])
    assert read("007", "7") == ("single-label", ["007", "7"], [0, 1])
    assert read("0.5", "2") == ("regression", ["label"], [0.5, 2.0])
    assert read("1", "2", task="regression") == ("regression", ["label"], [1.0, 2.0])
    assert read("1", "0", class_names=["n", "y"]) == ("single-label", ["n", "y"], [1, 0])
    assert read("7", "3", class_names=["7", "3"]) == ("single-label", ["7", "3"], [0, 1])
    assert read("b; a", "", "a", label_separator=";") == (
        "multi-label", ["a", "b"], [[1, 1], [0, 0], [1, 0]]
    )  # fmt: skip


def test_csv_paths_begin_at_its_own_folder(tmp_path, photos):
    rows = [
        ["datei", "fell", "metall", "gewicht"],
        ["cat/0.jpg", 1, 0, 2],
        ["cup/1.jpg", 0, 1, ".5"],
    ]
    folder = shutil.copytree(photos, tmp_path / "copy")
    table = write_csv(folder / "t.csv", rows, delimiter=";", encoding="utf-8-sig")
    source = TableSource.from_csv(
        table, delimiter=";", path="datei", label=["fell", "metall"], weight="gewicht"
    )
    assert source.labels.tolist() == [[1, 0], [0, 1]]
    assert source.weights.tolist() == [2, 0.5]
    assert source.read(1).shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The first line of .*t.csv must name different columns"),
        ("path,path\n", "must name different columns"),
        ("path,kind\na.jpg,1\n\nb.jpg,1,2\n", "Line 4 of .*t.csv has 3 fields, the first has 2"),
        ('path,kind\na.jpg,"1" 2\n', "Line 2 of .*t.csv is not CSV"),
        ("path,kind\n", "of one length, and not empty"),
        ("file,kind\na,b\n", "no column 'path'; it has 'file', 'kind'"),
    ],
)
def test_csv_files_that_are_none_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        TableSource.from_csv(tmp_path / "t.csv", label="kind")


def test_each_folder_is_listed_once_and_no_file_asked_for(photos, monkeypatch):
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    monkeypatch.setattr(os.path, "isfile", lambda path: pytest.fail(f"asked for {path}"))
    TableSource({"path": FILES}, photos)
    assert sorted(listed) == sorted(str(photos / name) for name in PHOTOS)


@pytest.mark.parametrize("names", [["1", "2", "3"], [1, 2, 3]])
def test_names_that_are_whole_numbers_are_not_places(photos, names):
    """The names of one table of numbers, given to another, mean the same classes there."""
    source = labels_of(photos, age=[1, 3, 1], class_names=names)
    assert source.labels.tolist() == [0, 2, 0]
    assert source.class_names == ["1", "2", "3"]
    with pytest.raises(ValueError, match="none of the classes"):
        labels_of(photos, age=[0, 1, 2], class_names=names)
