"""The functions that change one image, against Keras' own: pixels, draws, directions, errors."""

import inspect
import os
import re

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing import image as keras_image

import fusewarp.keras
from fusewarp.integrations.keras.geometry import compose_inverse_maps
from oracles.keras_generator import FILL_MODES, as_keras, is_tie

AXES = [(1, 2, 0), (2, 1, 0), (0, 1, 2), (1, 0, 2)]  # row, column, channel
LAST = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}
NEUTRAL = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}

# What Keras' `tensorflow.keras.preprocessing.image` exports.
KERAS_NAMES = """Iterator DirectoryIterator NumpyArrayIterator ImageDataGenerator
    apply_affine_transform apply_brightness_shift apply_channel_shift random_brightness
    random_channel_shift random_rotation random_shear random_shift random_zoom array_to_img
    img_to_array load_img save_img smart_resize""".split()
MORE_NAMES = ["flip_axis", "list_pictures", "transform_matrix_offset_center", "validate_filename"]
WARPS = ["apply_affine_transform", "random_rotation", "random_shear", "random_shift", "random_zoom"]


def noise(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(dtype)


def shape_of(height, width, channels, axes):
    sizes = dict(zip(axes, (height, width, channels), strict=True))
    return sizes[0], sizes[1], sizes[2]


def named(axes):
    return dict(zip(("row_axis", "col_axis", "channel_axis"), axes, strict=True))


def random_parameters(rng):
    chosen = {
        "theta": rng.uniform(-90, 90),
        "tx": rng.uniform(-6, 6),
        "ty": rng.uniform(-5, 5),
        "shear": rng.uniform(-25, 25),
        "zx": rng.uniform(0.5, 1.6),
        "zy": rng.uniform(0.5, 1.6),
    }
    return {name: value for name, value in chosen.items() if rng.random() < 0.67}


def test_all_names_of_keras_are_here():
    assert len(KERAS_NAMES) == 18
    for name in KERAS_NAMES + MORE_NAMES:
        assert name in fusewarp.keras.__all__
        assert len(getattr(fusewarp.keras, name).__doc__) > 40


@pytest.mark.parametrize("name", [name for name in KERAS_NAMES if name.startswith(("r", "ap"))])
def test_signatures_are_those_of_keras(name):
    ours = inspect.signature(getattr(fusewarp.keras, name)).parameters
    theirs = inspect.signature(getattr(keras_image, name)).parameters
    defaults = {key: parameter.default for key, parameter in ours.items()}
    assert defaults.pop("quirks", "absent") == (None if name in WARPS else "absent")
    assert list(defaults.items()) == [(key, entry.default) for key, entry in theirs.items()]
    if name in WARPS:
        assert ours["quirks"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("fill_mode", [*FILL_MODES, "mirror", "grid-wrap"])
def test_affine_transform_equals_keras(axes, fill_mode):
    rng = np.random.default_rng(len(fill_mode) + axes[0])
    for order in (0, 1, 1, 1, 3) * 4:
        height, width, channels = (int(n) for n in rng.integers((4, 4, 1), (30, 30, 5)))
        width = height if rng.random() < 0.3 else width
        image = noise(shape_of(height, width, channels, axes), order)
        parameters = random_parameters(rng)
        options = named(axes) | {"fill_mode": fill_mode, "cval": 31.5, "order": order}
        with as_keras():
            theirs = keras_image.apply_affine_transform(image, **parameters, **options)
        ours = fusewarp.keras.apply_affine_transform(image, **parameters, **options, quirks="keras")
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        inverse_map = compose_inverse_maps([parameters], height, width, swap_pivot=True)[0]
        tie = is_tie(inverse_map, height, width, fill_mode, order)
        error = abs(ours - theirs).transpose(axes)
        assert error[~tie].max(initial=0) <= 0.005, (parameters, options)
        assert np.mean(error > 1) < 0.02


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64, bool])
def test_affine_transform_keeps_the_dtype_and_keras_rounding(dtype, order):
    image = noise((14, 17, 3), 3).astype(dtype)
    options = LAST | {"theta": 23.0, "zx": 0.8, "order": order}
    with as_keras():
        theirs = keras_image.apply_affine_transform(image, **options)
    ours = fusewarp.keras.apply_affine_transform(image, **options, quirks="keras")
    assert ours.dtype == theirs.dtype == dtype
    difference = abs(ours.astype(float) - theirs.astype(float))
    # A level at .5 may round either way.
    assert difference.max() <= (0.005 if dtype == np.float64 else 1)
    assert np.mean(difference > 0.005) < 0.002


def test_affine_transform_leaves_the_image_and_does_float16():
    image = noise((3, 9, 11), dtype=np.float16)
    before = image.copy()
    warped = fusewarp.keras.apply_affine_transform(image, theta=20)
    single = fusewarp.keras.apply_affine_transform(image.astype(np.float32), theta=20)
    assert warped.dtype == np.float16
    np.testing.assert_array_equal(warped, single.astype(np.float16))
    np.testing.assert_array_equal(image, before)


def test_nan_marks_what_lies_outside():
    warped = fusewarp.keras.apply_affine_transform(
        noise((1, 4, 6)), tx=2, cval=np.nan, fill_mode="constant"
    )
    np.testing.assert_array_equal(np.isnan(warped[0, 0]), [0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("axes", AXES)
def test_neutral_parameters_return_the_image_itself(axes):
    image = noise(shape_of(5, 6, 3, axes))
    assert fusewarp.keras.apply_affine_transform(image, **NEUTRAL, **named(axes)) is image
    assert fusewarp.keras.random_zoom(image, (1, 1), *axes) is image
    assert fusewarp.keras.random_rotation(image, 0, *axes) is image


CALLS = [
    ("random_rotation", (35,)),
    ("random_shift", (0.3, 0.2)),
    ("random_shift", (0.0, 0.5)),
    ("random_shear", (25,)),
    ("random_zoom", ((0.6, 1.4),)),
    ("random_zoom", ([1, 1],)),
]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize(("name", "ranges"), CALLS)
def test_random_warps_draw_and_do_what_keras_does(name, ranges, axes):
    image = noise(shape_of(15, 22, 3, axes))
    arguments = (image, *ranges, *axes, "reflect", 0.0, 1)
    np.random.seed(6)
    with as_keras():
        theirs = getattr(keras_image, name)(*arguments)
    their_next = np.random.random()
    np.random.seed(6)
    ours = getattr(fusewarp.keras, name)(*arguments, quirks="keras")
    assert np.random.random() == their_next
    np.testing.assert_allclose(ours, theirs, atol=0.005, rtol=0)
    np.random.seed(6)
    getattr(fusewarp.keras, name)(*arguments, quirks="none")
    assert np.random.random() == their_next


def spot(row, col, axes, height=7, width=11):
    image = np.zeros((height, width, 1), np.float32)
    image[row, col] = 200
    return image.transpose(np.argsort(axes))


def place_of_spot(image, axes):
    plane = image.transpose(axes)[:, :, 0]
    return np.unravel_index(np.argmax(plane), plane.shape)


@pytest.mark.parametrize("axes", AXES)
def test_directions(axes):
    def moved(**parameters):
        image = spot(3, 8, axes)
        warped = fusewarp.keras.apply_affine_transform(image, **parameters, **named(axes))
        return place_of_spot(warped, axes)

    assert moved(tx=1) == (3, 7)  # left
    assert moved(ty=1) == (2, 8)  # up
    assert moved(theta=90) == (0, 5)  # counter-clockwise: right goes to the top
    assert moved(zx=3) == (3, 6)  # three columns off the centre become one


@pytest.mark.parametrize("axes", AXES)
def test_the_pivot_is_the_centre_also_of_images_that_are_not_square(axes):
    image = noise(shape_of(7, 12, 3, axes))
    half_turn = {"theta": 180, "fill_mode": "nearest"} | named(axes)
    ours = fusewarp.keras.apply_affine_transform(image, **half_turn)
    np.testing.assert_allclose(ours, np.flip(image, axes[:2]), atol=0.005)
    quirky = fusewarp.keras.apply_affine_transform(image, **half_turn, quirks="keras")
    assert abs(quirky - ours).max() > 50


@pytest.mark.parametrize("axes", AXES)
def test_width_shifts_move_sideways_and_height_shifts_up_and_down(axes):
    rows, cols, quirky_rows = set(), set(), set()
    for seed in range(12):
        np.random.seed(seed)
        image = spot(3, 5, axes)
        sideways = fusewarp.keras.random_shift(image, 0.4, 0, *axes, "constant")
        upright = fusewarp.keras.random_shift(image, 0, 0.4, *axes, "constant")
        quirky = fusewarp.keras.random_shift(image, 0, 0.4, *axes, "constant", quirks="keras")
        assert place_of_spot(sideways, axes)[0] == 3
        assert place_of_spot(upright, axes)[1] == 5
        cols.add(place_of_spot(sideways, axes)[1])
        rows.add(place_of_spot(upright, axes)[0])
        quirky_rows.add(place_of_spot(quirky, axes)[0])
    assert max(cols) - min(cols) >= 5  # 0.4 of 11 columns either way
    assert 3 <= max(rows) - min(rows) <= 6  # 0.4 of 7 rows
    assert quirky_rows == {3}


@pytest.mark.parametrize("name", WARPS)
def test_the_environment_switches_the_quirks(name, monkeypatch):
    ranges = {"random_shift": (0.0, 0.4), "random_zoom": ((0.5, 0.6),)}.get(name, (40,))

    def result(**quirks):
        np.random.seed(3)
        return getattr(fusewarp.keras, name)(noise((3, 9, 16)), *ranges, **quirks)

    monkeypatch.setenv("FUSEWARP_QUIRKS", "keras")
    np.testing.assert_array_equal(result(), result(quirks="keras"))
    assert abs(result() - result(quirks="none")).max() > 20
    monkeypatch.setenv("FUSEWARP_QUIRKS", "")
    np.testing.assert_array_equal(result(), result(quirks="none"))
    monkeypatch.setenv("FUSEWARP_QUIRKS", "kreas")
    with pytest.raises(ValueError, match="`FUSEWARP_QUIRKS` must be one of 'none', 'keras'"):
        result()
    with pytest.raises(ValueError, match="`quirks` must be one of 'none', 'keras'"):
        result(quirks="torch")


def same(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("channel_axis", [0, 1, 2])
def test_channel_shift_equals_keras_exactly(dtype, channel_axis):
    image = noise((3, 9, 4)).astype(dtype)
    before = image.copy()
    for intensity in (20, -33.25):
        theirs = keras_image.apply_channel_shift(image, intensity, channel_axis)
        same(fusewarp.keras.apply_channel_shift(image, intensity, channel_axis), theirs)
    np.random.seed(4)
    theirs = keras_image.random_channel_shift(image, 50.0, channel_axis)
    their_next = np.random.random()
    np.random.seed(4)
    same(fusewarp.keras.random_channel_shift(image, 50.0, channel_axis), theirs)
    assert np.random.random() == their_next
    same(image, before)


RANGES = [(0, 255), (0, 300), (-20, 255), (0, 1), (-5, -5), (7, 7), (0, 0)]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_brightness_equals_keras_exactly(scale, dtype):
    for number, low_high in enumerate(RANGES * 3):
        channels = (1, 3, 4)[number // len(RANGES)]
        image = np.random.default_rng(number).uniform(*low_high, (9, 13, channels)).astype(dtype)
        for factor in (0.0, 0.7, 1.0, 1.6, -0.5):
            theirs = keras_image.apply_brightness_shift(image, factor, scale)
            same(fusewarp.keras.apply_brightness_shift(image, factor, scale), theirs)


@pytest.mark.parametrize("scale", [True, False])
def test_random_brightness_draws_and_does_what_keras_does(scale):
    np.random.seed(4)
    theirs = keras_image.random_brightness(noise((7, 9, 3)), [0.2, 1.8], scale)
    their_next = np.random.random()
    np.random.seed(4)
    same(fusewarp.keras.random_brightness(noise((7, 9, 3)), [0.2, 1.8], scale), theirs)
    assert np.random.random() == their_next


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.fixture
def half_floats():
    keras.config.set_floatx("float16")
    yield
    keras.config.set_floatx("float32")


@pytest.mark.usefixtures("channels_first")
@pytest.mark.parametrize("scale", [True, False])
def test_brightness_takes_keras_global_data_format(scale):
    image = noise((4, 7, 9)) * 1.3
    theirs = keras_image.apply_brightness_shift(image, 1.3, scale)
    same(fusewarp.keras.apply_brightness_shift(image, 1.3, scale), theirs)


@pytest.mark.usefixtures("half_floats")
@pytest.mark.parametrize("scale", [True, False])
def test_brightness_takes_keras_global_float_type(scale):
    theirs = keras_image.apply_brightness_shift(noise((7, 9, 3)), 1.3, scale)
    same(fusewarp.keras.apply_brightness_shift(noise((7, 9, 3)), 1.3, scale), theirs)


def test_matrix_about_the_centre_equals_keras():
    for seed in range(20):
        matrix = noise((3, 3), seed)
        theirs = keras_image.transform_matrix_offset_center(matrix, 7, 12.5)
        same(fusewarp.keras.transform_matrix_offset_center(matrix, 7, 12.5), theirs)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_flip_axis_is_a_mirrored_view(axis):
    image = noise((3, 4, 5))
    flipped = fusewarp.keras.flip_axis(image, axis)
    same(flipped, keras_image.flip_axis(image, axis))
    assert np.shares_memory(flipped, image)


def test_validate_filename(tmp_path):
    (tmp_path / "A.PNG").touch()
    (tmp_path / "folder.png").mkdir()
    for name in ("A.PNG", "folder.png", "gone.png"):
        path = str(tmp_path / name)
        for formats in (("png", "jpg"), "png", ("jpg",)):
            expected = keras_image.validate_filename(path, formats)
            assert fusewarp.keras.validate_filename(path, formats) is expected
    assert fusewarp.keras.validate_filename(tmp_path / "A.PNG", {"png"})  # Keras: TypeError


def test_list_pictures_is_recursive_sorted_and_knows_the_extensions(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.tiff", "z.ppm", "notes.txt", "jpg", "c.gif", "d.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()

    def listed(*ext):
        paths = fusewarp.keras.list_pictures(tmp_path, *ext)
        return [os.path.relpath(path, tmp_path) for path in paths]

    assert listed() == ["a.tiff", "b/1.png", "b/2.JPG", "d.tif", "z.ppm"]
    assert listed("gif") == ["c.gif"]
    assert listed(["gif", "png"]) == ["b/1.png", "c.gif"]
    assert fusewarp.keras.list_pictures(str(tmp_path))[0] == str(tmp_path / "a.tiff")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fusewarp.keras.list_pictures(tmp_path / "nowhere")


IMAGE = np.zeros((4, 5, 3), np.float32)
FLAT = np.zeros((4, 5), np.float32)
ERRORS = [
    ("apply_affine_transform", (IMAGE,), {"row_axis": 0}, "must be distinct. Received: 0, 2, 0"),
    ("apply_affine_transform", (IMAGE,), {"row_axis": 3}, "Invalid axis' indices: {3}"),
    ("apply_affine_transform", (IMAGE,), {"col_axis": -1}, "Invalid axis' indices: {-1}"),
    ("apply_affine_transform", (FLAT,), {}, "rank 3, got shape (4, 5)"),
    (
        "apply_affine_transform",
        (IMAGE,),
        {"row_axis": 0, "channel_axis": 1},
        "`channel_axis` must be 0 or 2, got 1",
    ),
    # Several at once: the first counts.
    ("apply_affine_transform", (FLAT,), {"row_axis": 3, "col_axis": 3}, "must be distinct"),
    ("apply_affine_transform", (FLAT,), {"row_axis": 4}, "Invalid axis' indices: {4}"),
    ("apply_affine_transform", (FLAT,), {"row_axis": 0, "channel_axis": 1}, "got shape (4, 5)"),
    ("random_rotation", (IMAGE, 20, 1, 1, 0), {}, "must be distinct"),
    ("random_shear", (IMAGE, 20, 1, 1, 0), {}, "must be distinct"),
    ("random_shift", (FLAT, 0.1, 0.1, 0, 2, 1), {}, "tuple index out of range"),
    ("random_shift", (IMAGE, 0.1, 0.1, 0, 2, 1), {}, "`channel_axis` must be 0 or 2"),
    ("random_zoom", (FLAT, (1, 2, 3)), {}, "`zoom_range` should be a tuple or list of two"),
    ("random_zoom", (FLAT, 0.5), {}, "has no len()"),
    ("random_brightness", (FLAT, (1, 2, 3)), {}, "`brightness_range` should be a tuple or list"),
    ("random_brightness", (FLAT, 0.5), {}, "has no len()"),
    ("apply_brightness_shift", (FLAT, 0.5), {}, "have rank 3 (single image). Got array with"),
    ("apply_brightness_shift", (FLAT, 0.5, False), {}, "have rank 3 (single image). Got array"),
    ("apply_brightness_shift", (IMAGE[:, :, :2], 0.5), {}, "Unsupported channel number: 2"),
    ("apply_brightness_shift", (IMAGE[:0], 0.5), {}, "zero-size array"),
    ("apply_channel_shift", (IMAGE, 5.0, 3), {}, "axis 3 is out of bounds"),
    ("apply_channel_shift", (IMAGE[:0], 5.0), {}, "zero-size array"),
    ("random_channel_shift", (IMAGE, 5.0, 3), {}, "axis 3 is out of bounds"),
    ("flip_axis", (IMAGE, 3), {}, "axis 3 is out of bounds"),
    ("flip_axis", (IMAGE, None), {}, "NoneType"),
]


def error_of(module, name, arguments, options):
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- its type is what is asked
        getattr(module, name)(*arguments, **options)
    return caught.value


@pytest.mark.parametrize(("name", "arguments", "options", "message"), ERRORS)
def test_errors_are_those_of_keras_and_say_more(name, arguments, options, message):
    theirs = error_of(keras_image, name, arguments, options)
    ours = error_of(fusewarp.keras, name, arguments, options)
    assert type(ours) is type(theirs)
    assert re.search(re.escape(message), str(ours))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill_mode": "neerest"}, "`fill_mode` must be one of 'constant', 'nearest', 'reflect'"),
        ({"order": 6}, "`order` must be one of 0, 1, 2, 3, 4, 5. Received: 6"),
    ],
)
def test_a_wrong_fill_mode_or_order_is_refused_also_where_nothing_is_warped(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fusewarp.keras.apply_affine_transform(IMAGE, **options)
    options = {key.replace("order", "interpolation_order"): v for key, v in options.items()}
    for name, ranges in CALLS:
        with pytest.raises(ValueError, match=re.escape(message)):
            getattr(fusewarp.keras, name)(IMAGE, *ranges, **options)
