"""Pictures in and out against Keras' own functions: pixels, paths, errors."""

import builtins
import inspect
import io
import os
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.utils import image_utils as keras_utils
from PIL import Image

import fusewarp.keras
from fusewarp.integrations.keras import image_utils, resizing

FILTERS = ["nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"]
NAMES = ["array_to_img", "img_to_array", "load_img", "save_img", "smart_resize"]


def noise(shape, low=0, high=255, dtype=np.float32):
    return np.random.default_rng(7).uniform(low, high, shape).astype(dtype)


def same(ours, theirs):
    assert type(ours) is type(theirs)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def same_picture(ours, theirs):
    assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_those_of_keras(name):
    ours = dict(inspect.signature(getattr(fusewarp.keras, name)).parameters)
    theirs = inspect.signature(getattr(keras_utils, name)).parameters
    extra = {"load_img": ["grayscale"]}.get(name, [])
    assert all(ours.pop(key).kind is inspect.Parameter.KEYWORD_ONLY for key in extra)
    assert [(key, entry.default, entry.kind) for key, entry in ours.items()] == [
        (key, entry.default, entry.kind) for key, entry in theirs.items()
    ]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("data_format", ["channels_last", "Channels_First", None])
def test_array_to_img_equals_keras(scale, channels, data_format):
    shape = (channels, 7, 9) if data_format == "Channels_First" else (7, 9, channels)
    for low, high in ((0, 255), (0, 1), (3, 3), (0, 0)) + ((-900, 400),) * scale:
        for dtype in (np.float32, np.float64, np.uint8):
            array = noise(shape, low, high).astype(dtype)
            before = array.copy()
            theirs = keras_utils.array_to_img(array, data_format, scale)
            same_picture(fusewarp.keras.array_to_img(array, data_format, scale), theirs)
            same(array, before)


def test_array_to_img_makes_deep_grays_and_takes_lists_and_dtypes():
    deep = noise((5, 6, 1), 0, 70000)
    ours = fusewarp.keras.array_to_img(deep, scale=False)
    assert ours.mode == "I"
    same_picture(ours, keras_utils.array_to_img(deep, scale=False))
    nested = noise((5, 6, 3)).tolist()
    for dtype, scale in (("float64", True), ("float16", True), ("uint8", False)):
        theirs = keras_utils.array_to_img(nested, scale=scale, dtype=dtype)
        same_picture(fusewarp.keras.array_to_img(nested, None, scale, dtype), theirs)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first", None])
@pytest.mark.parametrize("dtype", [None, "float64", "uint8"])
def test_img_to_array_equals_keras(data_format, dtype):
    pixels = noise((5, 6, 4), dtype=np.uint8)
    pictures = [Image.fromarray(pixels[:, :, :n]) for n in (3, 4)]
    pictures += [pictures[0].convert(mode) for mode in ("L", "1", "P", "CMYK")]
    for picture in [*pictures, Image.fromarray(pixels[:, :, 0].astype(np.int32)), pixels]:
        theirs = keras_utils.img_to_array(picture, data_format, dtype)
        same(fusewarp.keras.img_to_array(picture, data_format, dtype), theirs)


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    yield
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")


@pytest.mark.usefixtures("channels_first")
def test_the_defaults_are_keras_global_settings(tmp_path):
    array = noise((3, 7, 9))
    picture = fusewarp.keras.array_to_img(array)
    assert picture.size == (9, 7)
    same(fusewarp.keras.img_to_array(picture), keras_utils.img_to_array(picture))
    fusewarp.keras.save_img(tmp_path / "a.png", array)
    same_picture(Image.open(tmp_path / "a.png"), picture)
    assert fusewarp.keras.smart_resize(array, (4, 5), data_format=None).shape == (3, 4, 5)


@pytest.fixture
def files(tmp_path):
    """Pictures of several modes; the deep ones have levels above 255."""
    colours = Image.fromarray(noise((21, 34, 4), dtype=np.uint8))
    for mode in ("RGBA", "RGB", "L", "LA", "1"):
        colours.convert(mode).save(tmp_path / f"{mode}.png")
    colours.convert("RGB").convert("P").save(tmp_path / "P.png")
    colours.convert("RGB").save(tmp_path / "photo.jpg", quality=90)
    Image.fromarray(noise((21, 34), 0, 65535).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(noise((21, 34), 0, 90000).astype(np.int32)).save(tmp_path / "deep.tiff")
    return tmp_path


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_load_img_equals_keras_for_every_kind_of_file(files, color_mode):
    for path in sorted(files.iterdir()):
        ours = fusewarp.keras.load_img(path, color_mode)
        same_picture(ours, keras_utils.load_img(path, color_mode))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
def test_load_img_resizes_as_keras(files, interpolation, keep_aspect_ratio):
    for target_size in ((10, 10), (9, 40), [60, 17], (21, 34), (34, 21), (1, 1), (12, 30, 3)):
        for name, color_mode in (("photo.jpg", "rgb"), ("RGBA.png", "rgba"), ("L.png", "rgb")):
            arguments = (files / name, color_mode, target_size, interpolation, keep_aspect_ratio)
            ours = fusewarp.keras.load_img(*arguments)
            assert ours.size == (target_size[1], target_size[0])
            same_picture(ours, keras_utils.load_img(*arguments))


def test_load_img_looks_at_the_filter_only_to_resize(files):
    for target_size in (None, (21, 34)):
        arguments = (files / "photo.jpg", "rgb", target_size, "spline")
        same_picture(fusewarp.keras.load_img(*arguments), keras_utils.load_img(*arguments))


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_deep_grays_keep_their_levels(files, name, interpolation):
    arguments = (files / name, "grayscale", (13, 50), interpolation)
    ours = fusewarp.keras.load_img(*arguments)
    assert np.asarray(ours).max() > 30000
    same_picture(ours, keras_utils.load_img(*arguments))


class OddPath:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


def test_load_img_takes_every_kind_of_path(files, monkeypatch):
    path = files / "photo.jpg"
    expected = keras_utils.load_img(path)
    monkeypatch.chdir(files)
    content = io.BytesIO(path.read_bytes())
    kinds = [str(path), os.fsencode(path), path, OddPath(path), pathlib.Path("photo.jpg"), content]
    for kind in [*kinds, content]:  # the same BytesIO again
        same_picture(fusewarp.keras.load_img(kind), expected)


def test_load_img_leaves_no_file_open(files, monkeypatch):
    opened = []

    def open_and_note(*arguments):
        opened.append(builtins.open(*arguments))
        return opened[-1]

    monkeypatch.setattr(image_utils, "open", open_and_note, raising=False)
    picture = fusewarp.keras.load_img(files / "photo.jpg")
    assert [file.closed for file in opened] == [True]
    (files / "photo.jpg").unlink()
    assert np.asarray(picture).std() > 10  # decoded already


def test_grayscale_of_older_versions(files):
    expected = keras_utils.load_img(files / "RGB.png", "grayscale")
    with pytest.warns(UserWarning, match='use `color_mode="grayscale"`'):
        ours = fusewarp.keras.load_img(files / "RGB.png", grayscale=True)
    same_picture(ours, expected)
    same_picture(
        fusewarp.keras.load_img(files / "RGB.png", grayscale=False),
        keras_utils.load_img(files / "RGB.png"),
    )


def broken_files(folder):
    whole = io.BytesIO()
    Image.fromarray(noise((64, 64, 3), dtype=np.uint8)).save(whole, "png")
    content = whole.getvalue()
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "half.png").write_bytes(content[: len(content) // 2])
    (folder / "damaged.png").write_bytes(content[:200] + bytes(100) + content[300:])
    jpeg = io.BytesIO()
    Image.fromarray(noise((64, 64, 3), dtype=np.uint8)).save(jpeg, "jpeg")
    (folder / "half.jpg").write_bytes(jpeg.getvalue()[:900])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.png", "it has 0 bytes"),
        ("text.png", "no image format fits it"),
        ("half.png", "may be truncated"),
        ("half.jpg", "may be truncated"),
        ("damaged.png", "Cannot decode the image file"),
        ("gone.png", "No such file"),
        (".", "Is a directory"),
    ],
)
def test_a_broken_file_is_named_with_keras_exception(tmp_path, name, message):
    broken_files(tmp_path)
    path = tmp_path / name
    with pytest.raises(Exception) as theirs:  # noqa: PT011 -- its type is what is asked
        keras_utils.img_to_array(keras_utils.load_img(path))  # it decodes on use
    with pytest.raises(type(theirs.value), match=message) as ours:
        fusewarp.keras.load_img(path)
    assert type(ours.value) is type(theirs.value)
    assert str(path) in str(ours.value)


def test_a_broken_bytesio_is_an_error_too():
    with pytest.raises(Image.UnidentifiedImageError, match="in the given BytesIO: it has 0 bytes"):
        fusewarp.keras.load_img(io.BytesIO())


def test_a_decompression_bomb_stays_what_it_is(files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(Image.DecompressionBombError):
        fusewarp.keras.load_img(files / "photo.jpg")


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg", "JPG", "jpeg", "tiff", "ppm", "gif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_save_img_writes_keras_file(tmp_path, suffix, channels):
    array = noise((9, 11, channels))
    keras_utils.save_img(tmp_path / f"theirs.{suffix}", array)
    for path in (tmp_path / f"ours.{suffix}", os.fspath(tmp_path / f"ours.{suffix}")):
        fusewarp.keras.save_img(path, array)
        theirs = (tmp_path / f"theirs.{suffix}").read_bytes()
        assert pathlib.Path(path).read_bytes() == theirs


def test_save_img_passes_everything_on(tmp_path):
    array = noise((3, 9, 11), 0, 100)
    arguments = {"data_format": "channels_first", "file_format": "JPG", "scale": False}
    ours, theirs = io.BytesIO(), io.BytesIO()
    fusewarp.keras.save_img(ours, array, **arguments, quality=40)
    keras_utils.save_img(theirs, array, **arguments, quality=40)
    assert ours.getvalue() == theirs.getvalue()
    with open(tmp_path / "named.png", "wb") as file:
        fusewarp.keras.save_img(file, array.transpose(1, 2, 0))
    with Image.open(tmp_path / "named.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("name", "file_format"), [("a.jpg", None), ("a.png", "jpeg"), (b"a.jpg", None), ("a", "JPEG")]
)
def test_an_alpha_channel_is_left_out_of_a_jpeg_with_a_warning(
    tmp_path, name, file_format, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    array = noise((9, 11, 4))
    with pytest.warns(UserWarning, match="does not support RGBA images, converting to RGB"):
        fusewarp.keras.save_img(name, array, file_format=file_format)
    with pytest.warns(UserWarning, match="converting to RGB"):
        keras_utils.save_img("theirs.jpg", array)
    assert pathlib.Path(os.fsdecode(name)).read_bytes() == pathlib.Path("theirs.jpg").read_bytes()


@pytest.mark.parametrize(("suffix", "file_format"), [("tif", "TIFF"), ("jpe", "JPEG")])
def test_save_img_knows_pillows_other_suffixes(tmp_path, suffix, file_format):
    fusewarp.keras.save_img(tmp_path / f"a.{suffix}", noise((5, 6, 3)))
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        assert picture.format == file_format


SHAPES = {
    "channels_last": [(13, 24, 3), (2, 31, 14, 1), (1, 1, 3), (0, 4, 6, 3)],
    "channels_first": [(3, 13, 24), (2, 1, 31, 14), (3, 1, 1), (0, 3, 4, 6)],
}
SIZES = [(8, 8), (13, 24), (29, 7), [5, 40], (1, 1), np.array([6, 11])]


@pytest.mark.parametrize("data_format", SHAPES)
@pytest.mark.parametrize(
    "interpolation", ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "area"]
)
def test_smart_resize_equals_keras(data_format, interpolation):
    for shape in SHAPES[data_format]:
        for size in SIZES:
            image = noise(shape)
            before = image.copy()
            theirs = keras_utils.smart_resize(image, size, interpolation, data_format)
            ours = fusewarp.keras.smart_resize(image, size, interpolation, data_format)
            assert (type(ours), ours.dtype, ours.shape) == (np.ndarray, theirs.dtype, theirs.shape)
            tolerance = 0.005 if interpolation == "bilinear" else 0
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)
            same(image, before)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float64"])
def test_smart_resize_gives_keras_dtypes(interpolation, dtype):
    image = noise((13, 24, 3)).astype(dtype)
    theirs = keras_utils.smart_resize(image, (10, 9), interpolation)
    ours = fusewarp.keras.smart_resize(image, (10, 9), interpolation)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=0.005, rtol=0)


@pytest.mark.parametrize("source", [1, 8, 997])  # 8 to 244: float64 would differ four times
def test_nearest_indices_are_those_of_tensorflow(source):
    line = np.arange(source, dtype=np.int32)[np.newaxis, :, np.newaxis]
    for target in (1, 2, 3, 7, 224, 244, 299, 331, 412, 996, 997, 998, 1500, 2991):
        theirs = tf.image.resize(line, (1, target), "nearest").numpy()
        np.testing.assert_array_equal(resizing._nearest_indices(source, target), theirs[0, :, 0])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "lanczos3"])
def test_smart_resize_gives_tensors_for_tensors_and_lists(interpolation):
    image = noise((13, 24, 3))
    for given in (tf.constant(image), image.tolist()):
        theirs = keras_utils.smart_resize(given, (10, 9), interpolation)
        ours = fusewarp.keras.smart_resize(given, (10, 9), interpolation)
        assert tf.is_tensor(ours)
        np.testing.assert_array_equal(ours, theirs)
    ours = fusewarp.keras.smart_resize(
        tf.constant(image), (10, 9), interpolation, backend_module=keras.src.backend
    )
    np.testing.assert_array_equal(ours, theirs)


def test_smart_resize_works_inside_tf_data_without_known_sizes():
    def images():
        yield noise((13, 24, 3))
        yield noise((30, 11, 3))

    signature = tf.TensorSpec((None, None, 3), tf.float32)
    data = tf.data.Dataset.from_generator(images, output_signature=signature)
    resized = data.map(lambda image: fusewarp.keras.smart_resize(image, (10, 9)))
    for ours, image in zip(resized.as_numpy_iterator(), images(), strict=True):
        np.testing.assert_allclose(ours, keras_utils.smart_resize(image, (10, 9)), atol=1e-4)


IMAGE = np.zeros((4, 5, 3), np.float32)
FLAT = np.zeros((4, 5), np.float32)
ERRORS = [
    ("array_to_img", (FLAT,), {}, "have rank 3 (single image). Got array with shape: (4, 5)"),
    ("array_to_img", (FLAT, "channels_middle"), {}, "Received: data_format=channels_middle"),
    ("array_to_img", (IMAGE, ""), {}, "Received: data_format="),
    ("array_to_img", (IMAGE[:, :, :2],), {}, "Unsupported channel number: 2 of 1, 3 or 4"),
    ("array_to_img", (IMAGE[:0],), {}, "zero-size array"),
    ("img_to_array", (IMAGE, "channels_middle"), {}, "Received: data_format=channels_middle"),
    ("img_to_array", (IMAGE[np.newaxis],), {}, "Unsupported image shape: (1, 4, 5, 3)"),
    ("img_to_array", (FLAT[0],), {}, "Unsupported image shape: (5,)"),
    ("load_img", (5,), {}, "path should be path-like or io.BytesIO, not <class 'int'>"),
    ("load_img", (5, "grey"), {}, "path should be path-like"),
    ("load_img", ("photo.jpg", "grey"), {}, "\"rgba\". Received: 'grey'"),
    ("load_img", ("gone.jpg", "grey"), {}, "No such file"),
    ("load_img", ("photo.jpg", True), {}, 'Write `color_mode="grayscale"` for True'),
    ("load_img", ("photo.jpg", False), {}, "got False; it was `grayscale`"),
    (
        "load_img",
        ("photo.jpg", "rgb", (4, 4), "spline"),
        {},
        "Invalid interpolation method spline specified. Supported methods are nearest, bilinear",
    ),
    ("load_img", ("photo.jpg", "rgb", (4, 0)), {}, "each at least 1. Received: (4, 0)"),
    ("load_img", ("photo.jpg", "rgb", (4,)), {}, "index out of range"),
    ("load_img", ("photo.jpg", "rgb", 4), {}, "not subscriptable"),
    ("load_img", ("photo.jpg", "rgb", (4.0, 4.0)), {}, "integer"),
    ("save_img", ("a.png", FLAT), {}, "Got array with shape: (4, 5)"),
    ("save_img", ("a.png", IMAGE, "first"), {}, "Received: data_format=first"),
    ("save_img", ("a.xyz", IMAGE), {}, "Pillow cannot write the format 'xyz'"),
    ("save_img", ("a.png", IMAGE), {"file_format": "xyz"}, "cannot write the format 'xyz'"),
    ("save_img", ("a", IMAGE), {}, "unknown file extension"),
    ("save_img", (io.BytesIO(), IMAGE), {}, "Pass `file_format`"),
    ("smart_resize", (IMAGE, (4, 4)), {"size2": 3}, "unexpected keyword arguments: ['size2']"),
    ("smart_resize", (FLAT, (4,)), {"size2": 3}, "unexpected keyword arguments"),
    ("smart_resize", (FLAT, (4, 4, 4)), {}, "a tuple of 2 integers of at least 1"),
    ("smart_resize", (IMAGE, (4, -4)), {}, "but got: (4, -4)"),
    ("smart_resize", (IMAGE, (4.0, 4.0)), {}, "but got: (4.0, 4.0)"),
    ("smart_resize", (FLAT, (4, 4), "spline"), {}, "incorrect rank, of shape (4, 5)"),
    ("smart_resize", (IMAGE, (4, 4), "spline"), {}, "Received: interpolation=spline"),
    ("smart_resize", (IMAGE, (4, 4), "nearest", "first"), {}, "Received: data_format=first"),
]


def error_of(module, name, arguments, options):
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- its type is what is asked
        getattr(module, name)(*arguments, **options)
    return caught.value


@pytest.mark.parametrize(("name", "arguments", "options", "message"), ERRORS)
def test_errors_are_those_of_keras_and_say_more(
    files, monkeypatch, name, arguments, options, message
):
    monkeypatch.chdir(files)
    theirs = error_of(keras_utils, name, arguments, options)
    ours = error_of(fusewarp.keras, name, arguments, options)
    assert type(ours) is type(theirs)
    assert re.search(re.escape(message), str(ours))


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message"),
    [
        ("array_to_img", (noise((4, 5, 3)), None, True, "uint8"), TypeError, "got uint8. Leave"),
        ("smart_resize", (IMAGE, (0, 4)), ValueError, "at least 1 (height, width), but got: (0"),
        ("smart_resize", (IMAGE[:0], (4, 4)), ValueError, "with pixels, but got shape (0, 5, 3)"),
    ],
)
def test_errors_that_say_more_than_a_failed_division(name, arguments, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        getattr(fusewarp.keras, name)(*arguments)


def test_without_keras_arrays_are_resized_and_the_rest_says_what_is_missing(monkeypatch):
    expected = fusewarp.keras.smart_resize(IMAGE, (3, 3))
    monkeypatch.setattr(resizing, "HAS_KERAS", False)
    same(fusewarp.keras.smart_resize(IMAGE, (3, 3)), expected)
    with pytest.raises(ImportError, match="because interpolation='bicubic': `pip install keras"):
        fusewarp.keras.smart_resize(IMAGE, (3, 3), "bicubic")
    with pytest.raises(ImportError, match="because `x` is a list"):
        fusewarp.keras.smart_resize(IMAGE.tolist(), (3, 3))
