"""Pictures in WebDataset's tar shards: read one by one, in any order, from disks and stores."""

import os
from collections.abc import Sequence
from typing import Any, Literal

from .decode import ColorMode
from .encoded import DecodeWay
from .errors import SampleError
from .retry import Retry
from .shard_list import Shards
from .shard_source import ShardSource, unreadable
from .shard_store import ShardStore
from .tar_index import IndexRule, header_fits
from .tar_labels import label_rule
from .tar_members import BLOCK

RETRY = Retry()


class TarSource(ShardSource):
    """The pictures of tar shards, as WebDataset writes them.

    A shard is read once from end to end (a local one: only its headers), and where its pictures
    lie is kept in a small index file; from then on pictures are read where they lie, so that a
    `Loader` shuffles all of them and goes on exactly as with files. May be pickled, and used after
    a fork.

    Parameters
    ----------
    shards : path, or sequence of paths
        Files, or URLs that fsspec reads ("s3://bucket/data.tar"). Each may be a pattern:
        "data-{000000..000099}.tar", "train/*.tar".
    label : {"cls", "txt", "json:<field>"}, optional
        The member of each record that holds its label: a whole number, a text, or a field of a
        JSON object, which may be text or a number. None: there are no labels.
    class_names : sequence of str, optional
        The classes. Labels of text are looked up in it, whole numbers count it from 0. Default: the
        texts that occur, sorted; none where labels are numbers.
    image : str, optional
        Extension of the picture's member ("input.jpg"), where a record has several. Default: the
        one that is a picture's ("jpg", "png", "webp", ...).
    index_folder : path, optional
        Where the indices are kept; made if it is not there. Default: beside the shards. Needed for
        URLs.
    storage_options : dict, optional
        For fsspec: keys, an endpoint, time limits.
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}
        As for `FolderSource`.
    on_error : {"raise", "skip"}
        What to do with records without a picture, or without a label that can be read. A shard that
        is cut off or damaged is always refused.
    threads : int, optional
        For the indices. Default: all that the process may use; 16 for URLs.

    Raises
    ------
    FileNotFoundError
        If a shard is not there, or nothing fits a pattern.
    ValueError
        If a shard is no whole tar file, holds a key twice, or is named twice; if a record lacks its
        picture or label, or a label is none of `class_names`; if there are no pictures.
    OSError
        If a shard cannot be read: from a store, after asking again several times.

    Attributes
    ----------
    shards : list of str
        Paths and URLs.
    names : sequence of str
        "shard.tar/key". Where shards lie in several folders, from their common folder on.
    labels : (n,) int64, float32 for fractions, or None
    class_names : list of str
    skipped : list of (name, message)
        Records that were left out.
    """

    def __init__(
        self,
        shards: Shards,
        label: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        image: str | None = None,
        index_folder: str | os.PathLike[str] | None = None,
        storage_options: dict[str, Any] | None = None,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_error: Literal["raise", "skip"] = "raise",
        threads: int | None = None,
    ) -> None:
        super().__init__(
            shards,
            IndexRule(label_rule(label), None if image is None else image.lstrip(".").lower()),
            ShardStore(storage_options, RETRY),
            class_names=class_names,
            index_folder=index_folder,
            color_mode=color_mode,
            decode=decode,
            on_error=on_error,
            threads=threads,
        )

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one picture, read with its header, and what to call it.

        Raises
        ------
        SampleError
            If the shard cannot be read there, or is another than was indexed. Names shard, key and
            offset.
        """
        record = self._record(sample_id)
        start, length, crc = record.place
        name = f"{record.name} (bytes {start} to {start + length})"
        try:
            block = self._store.read(record.shard, start - BLOCK, BLOCK + length, record.stamp)
        except OSError as error:
            raise unreadable(name, error) from error
        if not header_fits(block[:BLOCK], crc):
            raise SampleError(
                f"{name} is not there: the header before it is not the one that was indexed. The "
                "shard was replaced; make the source anew, which indexes it again."
            )
        return block[BLOCK:], name
