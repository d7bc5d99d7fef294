"""The labels of tar records: what a member says, and those of many shards joined."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = int | float | str
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class LabelRule:
    """Where the label of a record is.

    Attributes
    ----------
    extension : str or None
        Of the member that holds it; None: there are no labels.
    field : str or None
        Of a JSON object.
    """

    extension: str | None
    field: str | None = None

    def parse(self, body: bytes) -> Value:
        """Return what a member says.

        Raises
        ------
        ValueError
            If it holds no such label; the message goes on from the member's name.
        """
        text = body.decode("utf-8", "replace").strip()
        if self.extension == "json":
            return _checked(_field_of(text, self.field), f"has {self.field} =")
        if self.extension == "cls":
            return _checked(_whole_number(text), "holds")
        if not text:
            raise ValueError("holds no text")
        return text


def label_rule(label: str | None) -> LabelRule:
    """Return the rule that a user's `label` stands for; raises ValueError for another."""
    if label is None or label in ("cls", "txt"):
        return LabelRule(label)
    if isinstance(label, str) and label.startswith("json:") and len(label) > 5:
        return LabelRule("json", label[5:])
    raise ValueError(f'`label` must be "cls", "txt", "json:<field>" or None, got {label!r}.')


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"holds {_cut(text)}, not a whole number") from None


def _field_of(text: str, field: str | None) -> Any:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(fields, dict) or field not in fields:
        raise ValueError(f"has no field {field!r}")
    return fields[field]


def _checked(value: Any, holds: str) -> Value:
    if isinstance(value, bool):
        return int(value)
    is_label = isinstance(value, str) and value != ""
    if isinstance(value, int | float):
        is_label = abs(value) < 2**63  # infinity and NaN are not
    if not is_label:
        raise ValueError(f"{holds} {_cut(value)}, not text or a number of 64 bits")
    label: Value = value
    return label


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


@dataclass(frozen=True)
class ShardLabels:
    """The labels of one shard.

    Attributes
    ----------
    values : (n,) int64 or float64
        Whole numbers, numbers, or positions in `texts`.
    texts : list of str or None
        The different texts, sorted, where labels are text.
    """

    values: NDArray[Any]
    texts: list[str] | None = None

    @property
    def kind(self) -> str:
        """What the labels are, for messages."""
        if self.texts is not None:
            return "text"
        return "whole numbers" if self.values.dtype == np.int64 else "numbers"


def labels_of(values: Sequence[Value]) -> ShardLabels:
    """Return the labels of a shard as an array.

    Raises
    ------
    ValueError
        If some are text and others numbers.
    """
    num_texts = sum(isinstance(value, str) for value in values)
    if num_texts not in (0, len(values)):
        raise ValueError(
            f"has labels of which {num_texts} of {len(values)} are text, the others numbers"
        )
    if num_texts:
        texts, codes = np.unique(np.array(values, object), return_inverse=True)
        return ShardLabels(codes.astype(np.int64).reshape(-1), texts.tolist())
    has_fraction = any(isinstance(value, float) for value in values)
    return ShardLabels(np.array(values, np.float64 if has_fraction else np.int64))


def combine(
    shards: Sequence[ShardLabels], names: Sequence[str], class_names: Sequence[str] | None
) -> tuple[NDArray[Any], list[str]]:
    """Return the labels of all shards, and the class names.

    Parameters
    ----------
    shards : sequence of ShardLabels
    names : sequence of str
        Of every record, in order, for messages.
    class_names : sequence of str, optional
        Default: of text, the values that occur, sorted; of numbers, none.

    Returns
    -------
    labels : (n,) int64, or float32 where a label is a fraction
    class_names : list of str

    Raises
    ------
    ValueError
        If text and numbers are mixed, or a label is not one of `class_names`.
    """
    filled = [shard for shard in shards if len(shard.values)]
    kinds = {shard.kind for shard in filled}
    if "text" in kinds and len(kinds) > 1:
        raise ValueError(f"The labels of some shards are text, of others {sorted(kinds)[-1]}.")
    if "text" in kinds:
        return _classes_of_texts(filled, names, class_names)
    values = np.concatenate([shard.values for shard in filled])
    if "numbers" in kinds:
        if class_names is not None:
            raise ValueError("`class_names` are for classes; these labels are fractions.")
        return values.astype(np.float32), []
    if class_names is not None:
        _check_known((values >= 0) & (values < len(class_names)), values, names, class_names)
    return values, list(class_names or [])


def _classes_of_texts(
    shards: Sequence[ShardLabels], names: Sequence[str], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], list[str]]:
    found = sorted({text for shard in shards for text in shard.texts or []})
    classes = found if class_names is None else list(class_names)
    numbers = {name: number for number, name in enumerate(classes)}
    codes = [
        np.array([numbers.get(text, -1) for text in shard.texts or []], np.int64)[shard.values]
        for shard in shards
    ]
    labels = np.concatenate(codes)
    if (labels < 0).any():
        texts = np.concatenate([np.array(s.texts, object)[s.values] for s in shards])
        _check_known(labels >= 0, texts, names, classes)
    return labels, classes


def _check_known(
    known: NDArray[np.bool_], values: NDArray[Any], names: Sequence[str], classes: Sequence[str]
) -> None:
    unknown = np.flatnonzero(~known)
    if len(unknown):
        value = values[unknown].tolist()[0]
        others = f" ({len(unknown)} records have such labels)" if len(unknown) > 1 else ""
        raise ValueError(
            f"{names[int(unknown[0])]} has the label {_cut(value)}, "
            f"which is none of the {len(classes)} `class_names`{others}. Add it, or correct the "
            "record; whole numbers count the names from 0."
        )
