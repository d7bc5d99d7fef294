"""One batch: what it will be, how it is made, and what it is in the end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .augmenter import Augmenter
from .decode import Decoded, Extent, Room
from .device_decode import EncodedBatch
from .errors import SampleError
from .plan import Plan
from .sources import Located, Source
from .threads import Job

DecodeInto = Callable[[int, Extent, Room], Decoded | None]


class Batch(NamedTuple):
    """One batch; every field has one entry per picture.

    Attributes
    ----------
    images : (n, h, w, C) or (n, C, h, w) array, or a `DeviceBatch` of that shape
        64-byte aligned and the consumer's own: it is not written to again while anyone holds it.
    labels, weights : (n, ...) arrays or None
    sample_ids : (n,) int64
    """

    images: Any
    labels: NDArray[Any] | None
    weights: NDArray[Any] | None
    sample_ids: NDArray[np.int64]


class Skipped(NamedTuple):
    """A sample that was left out, and why."""

    sample_id: int
    name: str
    message: str


class PlannedBatch(NamedTuple):
    """What a batch will be."""

    epoch: int
    step: int
    sample_ids: NDArray[np.int64]
    plan: Plan


class BatchInWork:
    """One batch while its slices are being loaded: a buffer, a plan, and what failed.

    Parameters
    ----------
    planned : PlannedBatch
    source : Source
    augmenter : Augmenter
    images : array
        The batch's own memory, to be written to.
    encoded : EncodedBatch, optional
        Where a device decodes.
    may_skip : bool
        Note in `skipped` what cannot be read, instead of raising.
    """

    job: Job

    def __init__(
        self,
        planned: PlannedBatch,
        source: Source,
        augmenter: Augmenter,
        images: Any,
        *,
        encoded: EncodedBatch | None,
        may_skip: bool,
    ) -> None:
        self.epoch, self.step, self.sample_ids, self._plan = planned
        self.skipped: list[Skipped] = []
        self._source, self._augmenter, self._images = source, augmenter, images
        self._encoded, self._may_skip = encoded, may_skip

    def load_slice(self, start: int, stop: int) -> None:
        """Read and warp some of the batch's pictures; runs on a pool thread."""
        if self._encoded is not None:
            self._load_encoded(self._encoded, start, stop)
            return
        locate = getattr(self._source, "locate", None)
        located = locate(self.sample_ids[start:stop]) if locate is not None else None
        if located is not None:
            rows = slice(start, stop)
            self._augmenter.warp_located(located, self._plan, rows, self._images)
            return
        read_into = getattr(self._source, "read_into", _read_instead)
        self._load(range(start, stop), lambda row, *how: read_into(self._id_of(row), *how))

    def _load_encoded(self, encoded: EncodedBatch, start: int, stop: int) -> None:
        """Read some pictures; whoever reads the last has all decoded that are for the device."""

        def warp(located: Located, rows: slice) -> None:
            self._augmenter.warp_decoded(located, self._plan, rows, self._images)

        for_host = []
        with encoded.using_device():
            for row in range(start, stop):
                with self._noting(row):
                    if not encoded.read(row, self._id_of(row)):
                        for_host.append(row)
        self._load(for_host, encoded.decode_on_host)
        if encoded.is_complete(stop - start):
            self._load(encoded.decode(warp), encoded.decode_on_host)

    def _load(self, rows: Sequence[int], decode_into: DecodeInto) -> None:
        """Decode and warp pictures by way of the host's memory."""
        if not rows:
            return
        with self._augmenter.staging(self._plan, self._images, self._source.dtype) as staging:
            useful = self._plan.useful_sizes[rows].tolist()
            for row, min_size in zip(rows, useful, strict=True):
                with self._noting(row):
                    decoded = decode_into(row, min_size, staging.room)
                    if decoded is None:
                        staging.copy(row, self._checked_read(self._id_of(row)))
                    else:
                        staging.add(row, *decoded)

    @contextmanager
    def _noting(self, row: int) -> Iterator[None]:
        """Note that a picture cannot be read, if it may be skipped."""
        try:
            yield
        except (SampleError, OSError) as error:
            if not self._may_skip:
                raise
            sample_id = self._id_of(row)
            name = self._source.names[sample_id]
            self.skipped.append(Skipped(sample_id, name, str(error)))

    def _id_of(self, row: int) -> int:
        return int(self.sample_ids[row])

    def _checked_read(self, sample_id: int) -> NDArray[Any]:
        source = self._source
        image = source.read(sample_id, self._augmenter.useful_size)
        if image.ndim != 3 or image.shape[2] != source.channels or image.dtype != source.dtype:
            raise SampleError(
                f"{source.names[sample_id]} is {image.dtype} of shape {image.shape}; the source "
                f"promises (height, width, {source.channels}) {source.dtype}."
            )
        return image

    def batch(self) -> Batch:
        """Return the finished batch, without the rows that were skipped."""
        ids, kept = self.sample_ids, None
        if self.skipped:
            failed = [skipped.sample_id for skipped in self.skipped]
            kept = ~np.isin(ids, failed)
            ids = ids[kept]
        labels, weights = self._source.labels, self._source.weights
        return Batch(
            self._augmenter.finished(self._images, kept),
            None if labels is None else labels[ids],
            None if weights is None else weights[ids],
            ids,
        )


def _read_instead(sample_id: int, min_size: Extent, room: Room) -> None:
    """Be the `read_into` of a source that has none."""
