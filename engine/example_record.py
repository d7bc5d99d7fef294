"""tf.train.Example, read without TensorFlow: the picture, label and name of a record."""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .tar_labels import Value

_SHOWN = 8  # features in a message


@dataclass(frozen=True)
class ExampleRule:
    """Which features of a record are its picture, its label and its name.

    Attributes
    ----------
    image : str
        Key of the feature with the bytes of the picture.
    label, name : str or None
        Keys, if there are such.
    """

    image: str
    label: str | None
    name: str | None

    def __post_init__(self) -> None:
        for argument in ("image", "label", "name"):
            key = getattr(self, argument)
            if key is None and argument != "image":
                continue
            if not isinstance(key, str) or not key:
                raise ValueError(f"`{argument}` must be the key of a feature, got {key!r}.")

    @property
    def text(self) -> str:
        """See `ShardFormat`."""
        return json.dumps([self.image, self.label, self.name])

    @property
    def tag(self) -> str:
        """See `ShardFormat`."""
        return "example"

    def describe(self, data: bytes) -> tuple[str | None, Value | None]:
        """Return the name and the label of a record that has a picture.

        Raises
        ------
        ValueError
            If it lacks one of them; the message goes on from the record's name.
        """
        features = _features_of(data)
        _picture(features, self.image)
        name = None if self.name is None else str(_value(features, "name", self.name))
        return name, None if self.label is None else _value(features, "label", self.label)

    def image_of(self, data: bytes) -> bytes:
        """Return the bytes of the picture; raises ValueError as `describe` does."""
        return _picture(_features_of(data), self.image)


def _features_of(data: bytes) -> Any:
    """Return what maps keys to features."""
    try:
        return example_class().FromString(data).features.feature
    except _decode_error() as error:
        raise ValueError(f"is no tf.train.Example ({error})") from error


def _picture(features: Any, key: str) -> bytes:
    image = _only(features, "image", key)
    if not isinstance(image, bytes) or not image:
        raise ValueError(f"has {_shown(image)} as {key!r}, not the bytes of a picture")
    return image


def _value(features: Any, argument: str, key: str) -> Value:
    """Return a number, or a text that is not empty."""
    value: Any = _only(features, argument, key)
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"has {_shown(value)} as {key!r}, not a text in UTF-8") from None
    if value == "" or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"has {_shown(value)} as {key!r}, not a text or a number")
    found: Value = value
    return found


def _only(features: Any, argument: str, key: str) -> Any:
    if key not in features:
        keys = sorted(features)
        has = ", ".join(map(repr, keys[:_SHOWN])) + (", ..." if len(keys) > _SHOWN else "")
        raise ValueError(f"has no feature {key!r}, its `{argument}` (it has {has or 'none'})")
    feature = features[key]
    kind = feature.WhichOneof("kind")
    values: Sequence[Any] = getattr(feature, kind).value if kind else ()
    if len(values) != 1:
        raise ValueError(f"has {len(values)} values as {key!r}, its `{argument}`, not one")
    return values[0]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


@functools.cache
def example_class() -> Any:
    """Return the class of tf.train.Example messages.

    It is made from the published numbers of its fields, in a pool of descriptors of its own:
    TensorFlow may register its class in the common pool before or after.

    Raises
    ------
    ModuleNotFoundError
        If protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise ModuleNotFoundError(
            "Records are read through protobuf: pip install 'fusewarp[tfrecord]', or "
            "'fusewarp[arrayrecord]'."
        ) from error
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_descriptor(descriptor_pb2))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fusewarp.Example"))


def _descriptor(pb2: Any) -> Any:
    """Describe Example = features: map from text to one of three lists."""
    kinds = pb2.FieldDescriptorProto
    file = pb2.FileDescriptorProto(name="fusewarp/example.proto", package="fusewarp")
    file.syntax = "proto3"

    def add(messages: Any, name: str, *fields: tuple[str, Any, bool]) -> Any:
        message = messages.add(name=name)
        for number, (field, kind, is_repeated) in enumerate(fields, 1):
            label = kinds.LABEL_REPEATED if is_repeated else kinds.LABEL_OPTIONAL
            one = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".fusewarp.{kind}"
            else:
                one.type = kind
        return message

    messages = file.message_type
    add(messages, "BytesList", ("value", kinds.TYPE_BYTES, True))
    add(messages, "FloatList", ("value", kinds.TYPE_FLOAT, True))
    add(messages, "Int64List", ("value", kinds.TYPE_INT64, True))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = add(messages, "Feature", *((field, kind, False) for field, kind in lists))
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = add(messages, "Features", ("feature", "Features.FeatureEntry", True))
    pair = (("key", kinds.TYPE_STRING, False), ("value", "Feature", False))
    add(features.nested_type, "FeatureEntry", *pair).options.map_entry = True
    add(messages, "Example", ("features", "Features", False))
    return file


@functools.cache
def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    error: type[Exception] = DecodeError
    return error
