"""JPEGs decoded on a CUDA device by nvImageCodec, into memory from which the warp reads them.

What nvImageCodec cannot decode, or might take for another picture than the host's decoder does, is
left to that one. docs/cuda.md has the list.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import simplejpeg

from .cuda_pipeline import CudaPipeline
from .decode import Decoded, Extent, Room
from .devices import DeviceError
from .encoded import EncodedSource
from .minify import parts_by_length
from .sources import Located, has_own_read

INSTALL = "pip install 'fusewarp[nvimgcodec]'"
OLDEST = (0, 9)  # what the tests run; before 0.7 a code stream did not tell its colours
BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"
TAIL = 64  # bytes; the end of a whole JPEG lies in them, but for what some cameras append
GROUP_BYTES = 2**28  # of pictures decoded at once
BUSY_GROUPS = 3  # that wait for their warp, before the host waits for one of them


class DecoderInfo(NamedTuple):
    """How many pictures have been decoded, and where.

    Attributes
    ----------
    on_device, on_host : int
    """

    on_device: int
    on_host: int


class DeviceDecoder:
    """Decodes pictures of one source on a CUDA device.

    Parameters
    ----------
    pipeline : CudaPipeline
        Of whoever warps the pictures.
    source : EncodedSource
        Of RGB or grey pictures. With ``decode="exact"`` colours are interpolated, as the host's
        decoder does.

    Raises
    ------
    ValueError
        If the source has no encoded pictures, or its pictures have four channels.
    ModuleNotFoundError
        If nvImageCodec is not installed.
    DeviceError
        If it is too old, or can decode no JPEG on the device.
    """

    def __init__(self, pipeline: CudaPipeline, source: EncodedSource) -> None:
        _check_source(source)
        self._codec = codec = _nvimgcodec()
        self.source, self._channels = source, source.channels
        self._pipeline = pipeline
        self._using = threading.Lock()  # a decoder that two threads use at once fails
        self._busy: deque[Any] = deque()  # events: the warp of a group is done
        self._counting = threading.Lock()
        self._on_device, self._on_host = 0, 0
        grey = self._channels == 1
        self._params = codec.DecodeParams(
            apply_exif_orientation=False,
            color_spec=codec.ColorSpec.GRAY if grey else codec.ColorSpec.SRGB,
        )
        with self.using_device():
            self._stream = pipeline.cuda.new_stream()
        try:
            self._decoder = codec.Decoder(
                device_id=pipeline.index,
                max_num_cpu_threads=pipeline.threads,
                backends=_backends_of_a_device(codec),
                options=f":fancy_upsampling={int(source.decode == 'exact')}",
            )
            works = self._can_decode()
        except RuntimeError as error:
            raise self._does_not_work(str(error)) from error
        if not works:
            raise self._does_not_work("a JPEG of 24 x 16 pixels was not decoded")

    def info(self) -> DecoderInfo:
        """Return how many pictures were decoded where."""
        with self._counting:
            return DecoderInfo(self._on_device, self._on_host)

    def count(self, *, on_device: int = 0, on_host: int = 0) -> None:
        """Note that pictures have been decoded."""
        with self._counting:
            self._on_device += on_device
            self._on_host += on_host

    def using_device(self) -> AbstractContextManager[None]:
        """Let this thread work with the device."""
        using: AbstractContextManager[None] = self._pipeline.cuda.using(self._pipeline.index)
        return using

    def parse(self, data: bytes) -> Any | None:
        """Return the code stream of a picture; None if it is left to the host's decoder.

        Parameters
        ----------
        data : bytes
            The encoded file.
        """
        if not data.startswith(BEGIN) or END not in data[-TAIL:]:
            return None
        try:
            stream = self._codec.CodeStream(data)
            return stream if self._is_usual(stream) else None
        except RuntimeError:  # no JPEG after all; the second line may be the one that finds out
            return None

    def _is_usual(self, stream: Any) -> bool:
        colours = self._codec.ColorSpec
        return (
            stream.color_spec in (colours.SYCC, colours.GRAY)
            and np.dtype(stream.dtype) == np.uint8
            and stream.precision == 8
            and self.num_bytes(stream) <= GROUP_BYTES
        )

    def num_bytes(self, stream: Any) -> int:
        """Return how large a picture is when decoded."""
        return int(stream.height) * int(stream.width) * self._channels

    @contextmanager
    def decoded(self, streams: list[Any]) -> Iterator[list[Any]]:
        """Decode pictures, and lend them to what the body queues on the pipeline's stream.

        Parameters
        ----------
        streams : list of code streams
            Of `parse`.

        Yields
        ------
        list
            An image of nvImageCodec for each, or None if it cannot be decoded on the device.
        """
        pipeline = self._pipeline
        with self._using, self.using_device():
            self._wait_for_memory()
            images = self._decode(streams)
            try:
                yield images
            finally:
                read = pipeline.cuda.new_event()
                read.record(pipeline.stream)
                self._busy.append(read)

    def locate(self, images: list[Any]) -> Located:
        """Tell where images lie: in an array that reaches from the first of them to the last.

        They are allocated one by one, and what lies between them is not ours; nothing reads it.
        """
        cuda = self._pipeline.cuda
        views = [image.__cuda_array_interface__ for image in images]
        addresses = np.array([view["data"][0] for view in views], np.int64)
        sizes = np.array([view["shape"][:2] for view in views], np.int64)
        begin = int(addresses.min())
        length = int((addresses + sizes.prod(axis=1) * self._channels).max()) - begin
        interface = {
            "shape": (length,),
            "strides": None,
            "typestr": "|u1",
            "data": (begin, False),
            "version": 3,
        }
        with self.using_device():
            pixels = cuda.wrap_memory(interface, images)
        return Located(pixels, addresses - begin, sizes)

    def _decode(self, streams: list[Any]) -> list[Any]:
        pipeline = self._pipeline
        pointer = pipeline.cuda.stream_pointer(self._stream)
        images = self._decoder.decode(streams, params=self._params, cuda_stream=pointer)
        decoded = pipeline.cuda.new_event()
        decoded.record(self._stream)
        decoded.wait(pipeline.stream)
        return [
            image if image is not None and self._is_as_wanted(image, stream) else None
            for image, stream in zip(images, streams, strict=True)
        ]

    def _is_as_wanted(self, image: Any, stream: Any) -> bool:
        view = image.__cuda_array_interface__
        shape = (int(stream.height), int(stream.width), self._channels)
        compact = (shape[1] * shape[2], shape[2], 1)
        return (
            tuple(view["shape"]) == shape
            and view["typestr"] == "|u1"
            and view.get("strides") in (None, compact)
        )

    def _wait_for_memory(self) -> None:
        """Let go of pictures that have been warped; wait if too many are not yet."""
        while len(self._busy) >= BUSY_GROUPS:
            self._busy.popleft().synchronize()
        self._pipeline.let_go_what_was_read()

    def _can_decode(self) -> bool:
        """Decode a small JPEG: without the package nvJPEG, say, all would fall to the host."""
        stream = self.parse(simplejpeg.encode_jpeg(np.full((16, 24, 3), 128, np.uint8)))
        with self.decoded([] if stream is None else [stream]) as images:
            return images not in ([], [None])

    def _does_not_work(self, why: str) -> DeviceError:
        return DeviceError(
            f"nvImageCodec {self._codec.__version__} decodes no JPEG on "
            f"cuda:{self._pipeline.index}: {why}.",
            f"It needs nvJPEG, and packages of the driver's CUDA version: {INSTALL}; or leave "
            'decode_on="host".',
        )


class EncodedBatch:
    """The encoded pictures of a batch, collected until all are there and are decoded at once.

    Parameters
    ----------
    decoder : DeviceDecoder
    count : int
        Pictures of the batch.
    """

    def __init__(self, decoder: DeviceDecoder, count: int) -> None:
        self._decoder, self._source = decoder, decoder.source
        self._encoded: dict[int, tuple[bytes, str]] = {}
        self._streams: dict[int, Any] = {}
        self._missing, self._lock = count, threading.Lock()

    def using_device(self) -> AbstractContextManager[None]:
        """Let this thread work with the device: what the collector frees on it may lie there."""
        return self._decoder.using_device()

    def read(self, row: int, sample_id: int) -> bool:
        """Read the bytes of a picture; return whether the device is to decode it.

        Raises
        ------
        SampleError
            If they cannot be read.
        """
        data, name = self._source.encoded(sample_id)
        self._encoded[row] = data, name
        stream = self._decoder.parse(data)
        if stream is not None:
            self._streams[row] = stream
        return stream is not None

    def decode_on_host(self, row: int, min_size: Extent, room: Room) -> Decoded:
        """Decode a picture that was read by the host's decoder."""
        data, name = self._encoded.pop(row)
        decoded = self._source.decode_into(data, name, min_size, room)
        self._decoder.count(on_host=1)
        return decoded

    def is_complete(self, count: int) -> bool:
        """Note that so many more were read, or can't be; return whether they were the last."""
        with self._lock:
            self._missing -= count
            return self._missing == 0

    def decode(self, warp: Callable[[Located, slice], None]) -> list[int]:
        """Decode on the device what is to be decoded there, and queue its warp.

        Parameters
        ----------
        warp : callable
            ``warp(located, rows)`` queues the warp of pictures into neighbouring rows.

        Returns
        -------
        list of int
            The rows that could not be decoded there.
        """
        failed: list[int] = []
        for rows in self._groups():
            with self._decoder.decoded([self._streams[row] for row in rows]) as images:
                pairs = list(zip(rows, images, strict=True))
                failed += [row for row, image in pairs if image is None]
                done = [(row, image) for row, image in pairs if image is not None]
                for run in _runs(done):
                    located = self._decoder.locate([image for _, image in run])
                    warp(located, slice(run[0][0], run[-1][0] + 1))
                self._decoder.count(on_device=len(done))
        for row in set(self._streams).difference(failed):
            del self._encoded[row]
        self._streams.clear()
        return failed

    def _groups(self) -> Iterator[list[int]]:
        """Yield rows whose pictures are decoded at once."""
        rows = sorted(self._streams)
        lengths = [self._decoder.num_bytes(self._streams[row]) for row in rows]
        if rows:
            for part in parts_by_length(np.array(lengths, np.int64), GROUP_BYTES):
                yield rows[part]


def _runs(pairs: list[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    """Cut pairs of a row and an image into runs of neighbouring rows."""
    start = 0
    for end in range(1, len(pairs) + 1):
        if end == len(pairs) or pairs[end][0] != pairs[end - 1][0] + 1:
            yield pairs[start:end]
            start = end


def _check_source(source: Any) -> None:
    if not isinstance(source, EncodedSource) or has_own_read(source, EncodedSource):
        raise ValueError(
            'decode_on="device" needs a source that gives encoded pictures (FolderSource, '
            f"TableSource, TarSource ...); {type(source).__name__} gives pixels. Leave "
            'decode_on="host".'
        )
    if source.channels not in (1, 3):
        raise ValueError(
            f'decode_on="device" makes RGB or grey pictures, the source has color_mode='
            f'"{source.color_mode}". Leave decode_on="host".'
        )


def _nvimgcodec() -> Any:
    try:
        from nvidia import nvimgcodec
    except ImportError as error:
        raise ModuleNotFoundError(
            f'decode_on="device" needs nvImageCodec: {INSTALL}; or leave decode_on="host".'
        ) from error
    version = tuple(int(number) for number in re.findall(r"\d+", nvimgcodec.__version__)[:2])
    if version < OLDEST:
        raise DeviceError(
            f'decode_on="device" needs nvImageCodec {OLDEST[0]}.{OLDEST[1]} or newer, '
            f"{nvimgcodec.__version__} is installed.",
            f"Write: {INSTALL} --upgrade",
        )
    return nvimgcodec


def _backends_of_a_device(codec: Any) -> list[Any]:
    """Return all but its own decoders on the CPU: what falls to the CPU is decoded by ours."""
    kinds = codec.BackendKind
    return [
        codec.Backend(kind) for kind in (kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
    ]
