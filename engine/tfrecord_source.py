"""Pictures in TFRecord files: read one by one, in any order, without TensorFlow."""

import os
from collections.abc import Sequence
from typing import Any, Literal

from .decode import ColorMode
from .encoded import DecodeWay
from .example_record import ExampleRule, example_class
from .retry import Retry
from .shard_list import Shards
from .shard_source import ShardSource, unreadable
from .shard_store import ShardStore
from .tfrecord_index import HEAD, TAIL, TFRecordRule, crc32c, frame_at

RETRY = Retry()


class TFRecordSource(ShardSource):
    """The pictures of TFRecord files, whose records are tf.train.Examples.

    A file is read once from end to end, and where its records lie is kept in a small index file,
    with their labels; from then on records are read where they lie, so that a `Loader` shuffles all
    of them and goes on exactly as with files. May be pickled, and used after a fork. Needs no
    TensorFlow: ``pip install 'fusewarp[tfrecord]'``.

    Parameters
    ----------
    shards : path, or sequence of paths
        Files, or URLs that fsspec reads. Each may be a pattern: "train-*-of-01024",
        "data-{00000..00099}.tfrecord".
    label : str, optional
        Key of the feature that is the label: a whole number, a text, or a fraction. None: there are
        no labels.
    class_names : sequence of str, optional
        The classes. Labels of text are looked up in it, whole numbers count it from 0. Default: the
        texts that occur, sorted; none where labels are numbers.
    image : str
        Key of the feature with the bytes of the picture.
    name : str, optional
        Key of the feature that tells the records of a file apart, for `names`. Default: their
        number in the file, from 0.
    index_folder : path, optional
        Where the indices are kept; made if it is not there. Default: beside the shards. Needed for
        URLs.
    storage_options : dict, optional
        For fsspec: keys, an endpoint, time limits.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
        As for `FolderSource`.
    on_error : {"raise", "skip"}
        What to do with records that lack a feature, or are damaged. A file that is cut off, or of
        which a length is damaged, is always refused.
    threads : int, optional
        For the indices. Default: all that the process may use; 16 for URLs.

    Raises
    ------
    FileNotFoundError
        If a file is not there, or nothing fits a pattern.
    ValueError
        If a file is no TFRecord file, compressed or not whole, or named twice; if a record is
        damaged, lacks its picture, label or name, or a name comes twice in a file; if a label is
        none of `class_names`; if there are no pictures.
    OSError
        If a file cannot be read: from a store, after asking again several times.
    ModuleNotFoundError
        If google-crc32c or protobuf is not installed.

    Attributes
    ----------
    shards : list of str
        Paths and URLs.
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
        label: str | None = "image/class/label",
        *,
        class_names: Sequence[str] | None = None,
        image: str = "image/encoded",
        name: str | None = None,
        index_folder: str | os.PathLike[str] | None = None,
        storage_options: dict[str, Any] | None = None,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_error: Literal["raise", "skip"] = "raise",
        threads: int | None = None,
    ) -> None:
        crc32c(), example_class()  # what is not installed is missed now
        self._rule = ExampleRule(image, label, name)
        super().__init__(
            shards,
            TFRecordRule(self._rule),
            ShardStore(storage_options, RETRY),
            class_names=class_names,
            index_folder=index_folder,
            color_mode=color_mode,
            decode=decode,
            on_error=on_error,
            threads=threads,
            separator=":" if name is None else "/",
        )

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one picture, once the checksum of its record fits.

        Raises
        ------
        SampleError
            If the file cannot be read there, the record is damaged, or another than was indexed.
            Names file, record and bytes.
        """
        record = self._record(sample_id)
        start, length = record.place.start, record.place.length
        name = f"{record.name} (bytes {start} to {start + length})"
        try:
            block = self._store.read(record.shard, start - HEAD, HEAD + length + TAIL, record.stamp)
            return self._rule.image_of(frame_at(block, record.place).data), name
        except (OSError, ValueError) as error:
            raise unreadable(name, error) from error
