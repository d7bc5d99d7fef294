"""Pictures in ArrayRecord files: read one by one, in any order."""

import os
from collections.abc import Sequence
from typing import Literal

from .array_record_files import OpenArrayRecords, array_record_module
from .array_record_index import ArrayRecordRule, place_of
from .array_record_rule import FunctionRule, RecordFunction
from .decode import ColorMode
from .encoded import DecodeWay
from .example_record import ExampleRule, example_class
from .shard_list import Shards
from .shard_source import ShardSource, unreadable
from .shard_store import ShardStore, is_remote

_LABEL, _IMAGE = "image/class/label", "image/encoded"


class ArrayRecordSource(ShardSource):
    """The pictures of ArrayRecord files, as Grain and TensorFlow Datasets use them.

    The files are read by their own library, on local disks and on Linux only:
    ``pip install 'fusewarp[arrayrecord]'``. All records are read once for their labels, which are
    kept in a small index file; from then on a record is read when it is asked for. May be pickled,
    and used after a fork. Files should be written with ``group_size:1``: of a larger group all
    records are decompressed for each that is read.

    Parameters
    ----------
    shards : path, or sequence of paths
        Each may be a pattern: "train.array_record-*", "data-{00000..00099}.array_record".
    label : str, optional
        Key of the feature of a tf.train.Example that is the label: a whole number, a text, or a
        fraction. None: there are no labels.
    class_names : sequence of str, optional
        The classes. Labels of text are looked up in it, whole numbers count it from 0. Default: the
        texts that occur, sorted; none where labels are numbers.
    image : str
        Key of the feature with the bytes of the picture.
    name : str, optional
        Key of the feature that tells the records of a file apart, for `names`. Default: their
        number in the file, from 0.
    record : callable, optional
        For records that are no tf.train.Examples: takes the bytes of one, and returns the bytes of
        its picture and its label (a number, a text, or None for all). Must be a function of a
        module, so that other processes find it. Instead of `image`, `label` and `name`.
    index_folder : path, optional
        Where the indices are kept; made if it is not there. Default: beside the shards.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
        As for `FolderSource`.
    on_error : {"raise", "skip"}
        What to do with records that are damaged, or lack a feature. A file that is cut off is
        always refused.
    threads : int, optional
        For the indices. Default: all that the process may use.

    Raises
    ------
    FileNotFoundError
        If a file is not there, or nothing fits a pattern.
    ValueError
        If a file is no ArrayRecord file or not whole, named twice, or in a store; if a record is
        damaged, lacks its picture, label or name, or a name comes twice in a file; if a label is
        none of `class_names`; if there are no pictures.
    TypeError
        If `record` cannot be called or pickled.
    OSError
        If a file cannot be read.
    ModuleNotFoundError
        If array_record or protobuf is not installed.

    Attributes
    ----------
    shards : list of str
    names : sequence of str
        "train-00000:17", or "train-00000/name". Where files lie in several folders, from their
        common folder on.
    labels : (n,) int64, float32 for fractions, or None
    class_names : list of str
    skipped : list of (name, message)
        Records that were left out; known by their number always.
    """

    def __init__(
        self,
        shards: Shards,
        label: str | None = _LABEL,
        *,
        class_names: Sequence[str] | None = None,
        image: str = _IMAGE,
        name: str | None = None,
        record: RecordFunction | None = None,
        index_folder: str | os.PathLike[str] | None = None,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_error: Literal["raise", "skip"] = "raise",
        threads: int | None = None,
    ) -> None:
        array_record_module()  # what is not installed is missed now
        self._rule = _rule(record, image, label, name)
        self._files = OpenArrayRecords()
        super().__init__(
            _local(shards),
            ArrayRecordRule(self._rule),
            ShardStore(),
            class_names=class_names,
            index_folder=index_folder,
            color_mode=color_mode,
            decode=decode,
            on_error=on_error,
            threads=threads,
            separator=":" if name is None else "/",
        )

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one picture; the library compares a hash of its record.

        Raises
        ------
        SampleError
            If the record cannot be read, is damaged, or another than was indexed. Names file and
            record.
        """
        record = self._record(sample_id)
        number = record.place.start
        name = f"{record.name} (record {number})" if self._separator == "/" else record.name
        try:
            with self._files.use(record.shard, record.stamp) as file:
                data = file.read(number, number + 1)[0]
            if place_of(number, data) != record.place:
                raise ValueError(
                    f"is not the one that was indexed: {len(data)} bytes, then "
                    f"{record.place.length}; the shard was replaced or cut off"
                )
            return self._rule.image_of(data), name
        except (OSError, ValueError) as error:
            raise unreadable(name, error) from error


def _rule(
    record: RecordFunction | None, image: str, label: str | None, name: str | None
) -> ExampleRule | FunctionRule:
    if record is None:
        example_class()
        return ExampleRule(image, label, name)
    if (image, label, name) != (_IMAGE, _LABEL, None):
        raise ValueError(
            "`record` itself says what is the picture and the label: leave `image`, `label` and "
            "`name` out."
        )
    return FunctionRule(record)


def _local(shards: Shards) -> list[str | os.PathLike[str]]:
    named = [shards] if isinstance(shards, str | os.PathLike) else list(shards)
    for path in named:
        if is_remote(os.fspath(path).removeprefix("file://")):
            raise ValueError(
                f"`shards` names {path}, but the ArrayRecord library reads local files only: copy "
                "or mount them, or keep TFRecord or tar shards in the store."
            )
    return named
