"""Pictures that a dataset of Ray's brings along, as arrays or encoded."""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...engine import Augmenter, Loader
from ...engine.decode import ColorMode
from ...engine.encoded import DecodeWay, EncodedSource, check_choice
from ...engine.errors import SampleError
from .actor import (
    Rows,
    check_may_leave_process,
    column,
    of_this_actor,
    runs_of_epochs,
    sample_ids_of,
    take,
    telling_what_is_skipped,
)

_MOST_SAMPLES = 2**63 - 1


class AugmentRows:
    """Augments the pictures of a dataset's own rows; for ``map_batches``.

    ``ray.data.read_binary_files("photos", include_paths=True).map_batches(AugmentRows,
    fn_constructor_args=(augmenter, "bytes", "path"), batch_size=64, batch_format="numpy",
    num_cpus=2, compute=ray.data.ActorPoolStrategy(size=4))``: each actor has as many threads as
    `num_cpus`.

    Parameters
    ----------
    augmenter : Augmenter
        With a `size`, if pictures are encoded or differ in size.
    image : str
        The column of the pictures: encoded files, or arrays as ``read_images(mode="RGB")`` gives.
    sample_id : str
        The column of what tells samples apart: integers from 0 on, or text such as paths. A picture
        has the pixels that a `Loader` gives the sample of this number in the same epoch. Text
        counts as a number that is made of it alone: the same path is augmented alike everywhere.
    epoch : int
        Of the augmentation, for batches without a column "epoch".
    color_mode : {"rgb", "grayscale", "rgba"}
        Of encoded pictures.
    decode : {"fast", "exact"}
        See `FolderSource`.
    on_error : {"raise", "skip"}
        "skip" leaves out rows whose picture cannot be decoded.

    Raises
    ------
    ValueError
        If the augmenter works on a CUDA device, or an argument is none of its choices.
    """

    def __init__(
        self,
        augmenter: Augmenter,
        image: str = "image",
        sample_id: str = "sample_id",
        *,
        epoch: int = 0,
        color_mode: ColorMode = "rgb",
        decode: DecodeWay = "fast",
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        check_may_leave_process(augmenter)
        check_choice("on_error", on_error, ("raise", "skip"))
        self._image, self._sample_id, self._epoch = image, sample_id, epoch
        self._augmenter = of_this_actor(augmenter)
        self._encoded = _RowsAtHand(color_mode, decode)
        self._on_error = on_error
        self._loader: Loader | None = None

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        """Augment the pictures of a batch.

        Parameters
        ----------
        rows : dict of arrays

        Yields
        ------
        dict of arrays
            The columns of `rows` but that of the pictures, and "image": the augmented ones.

        Raises
        ------
        ValueError, TypeError
            If a column is missing or does not hold what it should, or one sample id stands for
            several encoded pictures.
        SampleError
            If a picture cannot be decoded, with ``on_error="raise"``; it names the row.
        """
        for epoch, part in runs_of_epochs(rows, self._epoch):
            if len(column(part, self._image)):
                yield from self._augmented(part, epoch)

    def _augmented(self, rows: Rows, epoch: int) -> Iterator[Rows]:
        values = rows[self._image]
        others = {name: column for name, column in rows.items() if name != self._image}
        ids = _numbers(rows, self._sample_id)
        if not _are_encoded(values):
            images = values if values.dtype != object else list(values)
            yield {**others, "image": self._augmenter.apply(images, ids, epoch)}
            return
        self._encoded.hold(ids, values, rows[self._sample_id].tolist())
        loader = self._loader_of_encoded()
        with telling_what_is_skipped(loader):
            batch = loader.make(ids, epoch)
        if len(batch.sample_ids) < len(ids):
            others = take(others, np.isin(ids, batch.sample_ids))
        if len(batch.sample_ids):
            yield {**others, "image": batch.images}

    def _loader_of_encoded(self) -> Loader:
        if self._loader is None:
            self._loader = Loader(
                self._encoded, self._augmenter, shuffle=False, on_error=self._on_error
            )
        return self._loader


class _RowsAtHand(EncodedSource):
    """The encoded pictures of one batch, under the sample ids that they have in the whole."""

    def __init__(self, color_mode: ColorMode, decode: DecodeWay) -> None:
        super().__init__(color_mode=color_mode, decode=decode)
        self.names: Any = {}  # of the rows at hand alone
        self._pictures: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return _MOST_SAMPLES

    def hold(self, ids: NDArray[np.int64], values: Any, names: list[Any]) -> None:
        """Exchange the rows."""
        self._pictures, self.names = {}, {}
        for sample_id, data, name in zip(ids.tolist(), values, names, strict=True):
            if self._pictures.setdefault(sample_id, data) != data:
                raise ValueError(
                    f"Two pictures have the sample id {name!r}; it decides how a picture is "
                    "augmented, so name a column that differs from picture to picture."
                )
            self.names[sample_id] = f"the row with the sample id {name!r}"

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one row, and its sample id."""
        data, name = self._pictures[sample_id], self.names[sample_id]
        if data is None:
            raise SampleError(f"{name} has no picture (null). Leave the row out.")
        return data, name


def _are_encoded(values: Any) -> bool:
    """Tell whether a column holds files; where it is null throughout nothing can be said."""
    known = (value for value in values if value is not None)
    return isinstance(next(known, b""), bytes)


def _numbers(rows: Rows, name: str) -> NDArray[np.int64]:
    """Return the sample ids of a column of integers or of text."""
    values = np.asarray(column(rows, name))
    if len(values) and any(isinstance(value, str) for value in values):
        return np.array([_number_of_text(text, name) for text in values], np.int64)
    return sample_ids_of(rows, name)


def _number_of_text(text: Any, column: str) -> int:
    if not isinstance(text, str):
        raise ValueError(f"The column {column!r} holds {text!r} among texts; a sample needs an id.")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 2
