"""The conv bases a trainer can start from, and what pixels each of them wants to see."""

import contextlib
import difflib
import math
import random
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from .efficientnet_lite import efficientnet_lite0

Size = tuple[int, int]
Levels = tuple[float, float, float]


@dataclass(frozen=True)
class PixelStep:
    """How RGB levels of 0-255 become what a base was trained on: (level - mean) / std.

    Attributes
    ----------
    mean, std : (red, green, blue), or None
        In levels. Both None: the base takes 0-255 and rescales inside, or not at all.
    bgr : bool
        The base wants blue first. `mean` and `std` stay in RGB order; the channels are swapped
        behind them, in front of the base.
    """

    mean: Levels | None = None
    std: Levels | None = None
    bgr: bool = False

    def apply(self, levels: Any) -> Any:
        """Apply mean and std to a Keras tensor of RGB levels, by a standard layer."""
        if self.mean is None or self.std is None:
            return levels
        variance = [std**2 for std in self.std]
        return keras.layers.Normalization(mean=list(self.mean), variance=variance)(levels)

    def order_channels(self, pixels: Any) -> Any:
        """Swap the channels of a Keras tensor if the base wants blue first."""
        return keras.ops.flip(pixels, axis=-1) if self.bgr else pixels


def _levels(*fractions: float) -> Levels:
    red, green, blue = (255.0 * fraction for fraction in fractions)
    return red, green, blue


PIXEL_STEPS = {  # the words of `keras.applications.imagenet_utils.preprocess_input`
    "raw": PixelStep(),
    "tf": PixelStep((127.5,) * 3, (127.5,) * 3),
    "torch": PixelStep(_levels(0.485, 0.456, 0.406), _levels(0.229, 0.224, 0.225)),
    "caffe": PixelStep((123.68, 116.779, 103.939), (1.0,) * 3, bgr=True),
    "lite": PixelStep((127.0,) * 3, (128.0,) * 3),
}


@dataclass(frozen=True)
class BaseEntry:
    """One base that can be asked for by name."""

    name: str
    pixels: PixelStep
    default_size: int
    build: Callable[[Size, str | None], keras.Model]  # (image size, "imagenet" or None)


@dataclass(frozen=True)
class ConvBase:
    """A base that has been built: its layers, its pixels and its input size (height, width)."""

    name: str
    model: keras.Model
    pixels: PixelStep
    image_size: Size


def _keras_base(name: str, mode: str, default_size: int) -> BaseEntry:
    def build(image_size: Size, weights: str | None) -> keras.Model:
        builder = getattr(keras.applications, name)
        return builder(include_top=False, weights=weights, input_shape=(*image_size, 3))

    return BaseEntry(name, PIXEL_STEPS[mode], default_size, build)


def _lite_base(image_size: Size, weights: str | None) -> keras.Model:
    return efficientnet_lite0(image_size, weights=weights)


def _key(name: str) -> str:
    return re.sub(r"[-_ .]", "", name.lower())


KERAS_BASES = (  # name, mode of its preprocess_input ("raw": it rescales inside), default size
    ("VGG16", "caffe", 224),
    ("VGG19", "caffe", 224),
    ("ResNet50", "caffe", 224),
    ("ResNet101", "caffe", 224),
    ("ResNet152", "caffe", 224),
    ("ResNet50V2", "tf", 224),
    ("ResNet101V2", "tf", 224),
    ("ResNet152V2", "tf", 224),
    ("InceptionV3", "tf", 299),
    ("InceptionResNetV2", "tf", 299),
    ("Xception", "tf", 299),
    ("MobileNet", "tf", 224),
    ("MobileNetV2", "tf", 224),
    ("MobileNetV3Small", "raw", 224),
    ("MobileNetV3Large", "raw", 224),
    ("DenseNet121", "torch", 224),
    ("DenseNet169", "torch", 224),
    ("DenseNet201", "torch", 224),
    ("NASNetMobile", "tf", 224),
    ("NASNetLarge", "tf", 331),
    ("EfficientNetB0", "raw", 224),
    ("EfficientNetB1", "raw", 240),
    ("EfficientNetB2", "raw", 260),
    ("EfficientNetB3", "raw", 300),
    ("EfficientNetB4", "raw", 380),
    ("EfficientNetB5", "raw", 456),
    ("EfficientNetB6", "raw", 528),
    ("EfficientNetB7", "raw", 600),
    ("EfficientNetV2B0", "raw", 224),
    ("EfficientNetV2B1", "raw", 240),
    ("EfficientNetV2B2", "raw", 260),
    ("EfficientNetV2B3", "raw", 300),
    ("EfficientNetV2S", "raw", 384),
    ("EfficientNetV2M", "raw", 480),
    ("EfficientNetV2L", "raw", 480),
    ("ConvNeXtTiny", "raw", 224),
    ("ConvNeXtSmall", "raw", 224),
    ("ConvNeXtBase", "raw", 224),
    ("ConvNeXtLarge", "raw", 224),
    ("ConvNeXtXLarge", "raw", 224),
)
REGISTRY = {
    _key(entry.name): entry
    for entry in (
        BaseEntry("efficientnet-lite0", PIXEL_STEPS["lite"], 224, _lite_base),
        *(_keras_base(*row) for row in KERAS_BASES),
    )
}


def find_base(name: str) -> BaseEntry:
    """Find a base by its name; case, dashes and underscores do not matter.

    Raises
    ------
    ValueError
        If there is no such base, with the nearest names.
    """
    if _key(name) in REGISTRY:
        return REGISTRY[_key(name)]
    near = difflib.get_close_matches(_key(name), REGISTRY, n=3, cutoff=0.5) or list(REGISTRY)
    choices = ", ".join(REGISTRY[key].name for key in near)
    raise ValueError(f"There is no base {name!r}. Did you mean one of: {choices}?")


def build_base(
    name: str, *, weights: str | Path | None, image_size: Size | None = None, seed: int = 0
) -> ConvBase:
    """Build a base by name, without its head.

    Parameters
    ----------
    name : str
        A name of `REGISTRY`.
    weights : "imagenet", path or None
        "imagenet": for EfficientNet-Lite0 out of its installed package, for the others out of
        Keras' cache or fetched by Keras. A path: a .weights.h5, .h5 or .keras file of the same
        conv base. None: random.
    image_size : (height, width), optional
        Default: the size the base was made for.
    seed : int
        Of random weights.

    Raises
    ------
    ValueError
        If the name is unknown, or the weights do not fit the base.
    FileNotFoundError
        If the weights are not there and cannot be fetched.
    ModuleNotFoundError
        If the package with the weights of EfficientNet-Lite0 is not installed.
    """
    entry = find_base(name)
    size = image_size or (entry.default_size, entry.default_size)
    with _seeded(seed):
        if weights is None:
            model = entry.build(size, None)
        elif weights == "imagenet":
            model = _build_imagenet(entry, size)
        else:
            path = existing_weights(weights)
            model = entry.build(size, None)
            _load_weights(model, path, entry.name)
    return ConvBase(entry.name, model, entry.pixels, size)


def use_own_model(
    model: keras.Model, *, pixels: str | PixelStep | None, image_size: Size | None = None
) -> ConvBase:
    """Take the user's own model as conv base, after checking that its pixels are known.

    Parameters
    ----------
    model : keras.Model
        One input (n, height, width, 3), one output (n, rows, columns, channels): no head.
    pixels : {"raw", "tf", "torch", "caffe", "lite"}, PixelStep or None
        What it wants to see. None is enough for a model with a Rescaling or Normalization layer
        inside: it takes 0-255.
    image_size : (height, width), optional
        Needed only if the model's input leaves it open.

    Raises
    ------
    ValueError
        If the model's shapes do not fit, `pixels` is not known, or would rescale twice.
    """
    _check_shapes(model)
    step = _pixels_of(model, pixels)
    fixed = tuple(model.input_shape[1:3])
    size = image_size or fixed
    if None in size:
        raise ValueError(f"The input of {model.name!r} is open, {fixed}; give `image_size`.")
    if any(side not in (None, wanted) for side, wanted in zip(fixed, size, strict=True)):
        raise ValueError(f"The input of {model.name!r} is {fixed}, `image_size` is {size}.")
    return ConvBase(model.name, model, step, (size[0], size[1]))


def rescaling_layer(model: keras.Model) -> keras.Layer | None:
    """Return the first Rescaling or Normalization layer inside a model, nested models included."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, kinds):
            return layer
    return None


def _pixels_of(model: keras.Model, pixels: str | PixelStep | None) -> PixelStep:
    inside = rescaling_layer(model)
    if pixels is None and inside is None:
        raise ValueError(
            f"{model.name!r} does not say what pixels it wants. Give `pixels`: one of "
            f"{list(PIXEL_STEPS)} or a PixelStep."
        )
    step = PIXEL_STEPS["raw"] if pixels is None else pixels
    if isinstance(step, str):
        if step not in PIXEL_STEPS:
            raise ValueError(f"`pixels` must be one of {list(PIXEL_STEPS)}, got {step!r}.")
        step = PIXEL_STEPS[step]
    if inside is not None and step.mean is not None:
        raise ValueError(
            f"{model.name!r} rescales inside, by its layer {inside.name!r}; pixels={pixels!r} "
            'would rescale twice. Use pixels="raw".'
        )
    return step


def _check_shapes(model: keras.Model) -> None:
    remedy = "A conv base takes (n, height, width, 3) and gives features (n, rows, columns, c): "
    remedy += "build it with include_top=False and no pooling."
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"{model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs. "
            + remedy
        )
    if len(model.input_shape) != 4 or model.input_shape[-1] != 3:
        raise ValueError(f"{model.name!r} takes {model.input_shape}. {remedy}")
    if len(model.output_shape) != 4:
        raise ValueError(f"{model.name!r} gives {model.output_shape}. {remedy}")


def _build_imagenet(entry: BaseEntry, size: Size) -> keras.Model:
    try:
        return entry.build(size, "imagenet")
    except Exception as error:  # Keras raises a bare Exception when it cannot fetch a file
        url = re.search(r"URL fetch failure on (\S+): ", str(error))
        if url is None:
            raise
        file = url[1].rsplit("/", 1)[-1]
        raise FileNotFoundError(
            f"The ImageNet weights of {entry.name} are not on this machine and {url[1]} cannot be "
            f"fetched. Fetch {file} elsewhere and give its path as `weights`, or put it into "
            "Keras' cache (~/.keras/models, or models below $KERAS_HOME). Or use "
            '"efficientnet-lite0", which needs no network, or weights=None.'
        ) from error


def existing_weights(weights: str | Path) -> Path:
    """Return the path of a file of weights, after checking that there is one.

    Raises
    ------
    ValueError
        If it is not the name of a file that Keras can load weights from.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(weights)
    if path.suffix not in (".h5", ".keras"):
        raise ValueError(
            '`weights` must be "imagenet", None, or the path of a .weights.h5, .h5 or .keras '
            f"file, got {str(weights)!r}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"`weights`: there is no file {path}.")
    return path


def _load_weights(model: keras.Model, path: Path, name: str) -> None:
    try:
        if path.suffix == ".keras":
            model.set_weights(keras.models.load_model(path, compile=False).get_weights())
        else:
            _load_every_weight(model, path)
    except (OSError, KeyError, ValueError, UserWarning) as error:
        raise ValueError(
            f"{path} does not hold the weights of {name} without its head: {error}"
        ) from error
    _check_finite(model, path)


def _load_every_weight(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        # Keras only warns where it leaves layers at their random weights.
        warnings.simplefilter("error", UserWarning)
        model.load_weights(path)


def _check_finite(model: keras.Model, path: Path) -> None:
    for weight in model.weights:
        if not math.isfinite(float(keras.ops.sum(keras.ops.abs(weight)))):
            raise ValueError(f"{path} holds NaN or infinity, in {weight.path}.")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make the random weights of Keras' builders a function of `seed`, and nothing else.

    Keras draws the seed of an initializer that was given none from Python's `random`.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
