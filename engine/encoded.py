"""What all sources of encoded pictures do: decode the bytes of a sample when it is asked for."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .decode import CHANNELS, ColorMode, Decoded, Extent, Room, decode_image, decode_into
from .sources import has_own_read

DecodeWay = Literal["fast", "exact"]


class EncodedSource:
    """The base of sources whose samples are JPEGs, PNGs, WebPs ...: a subclass tells their bytes.

    Parameters
    ----------
    color_mode : {"rgb", "grayscale", "rgba"}
    decode : {"fast", "exact"}

    Attributes
    ----------
    channels : int
        1, 3 or 4.
    dtype : uint8
    image_size : None
        Pictures may differ in size.
    labels, weights : array or None
        One entry or row per sample.
    class_names : list of str

    Raises
    ------
    ValueError
        If `color_mode` or `decode` is none of these.
    """

    def __init__(self, *, color_mode: ColorMode, decode: DecodeWay) -> None:
        check_choice("decode", decode, ("fast", "exact"))
        check_choice("color_mode", color_mode, tuple(CHANNELS))
        self.color_mode = color_mode
        self.decode = decode
        self.channels = CHANNELS[color_mode]
        self.dtype = np.dtype(np.uint8)
        self.image_size: tuple[int, int] | None = None
        self.labels: NDArray[Any] | None = None
        self.weights: NDArray[Any] | None = None
        self.class_names: list[str] = []

    def encoded(self, sample_id: int) -> tuple[bytes, str]:
        """Return the bytes of one picture as they are stored, and what to call it in messages.

        Parameters
        ----------
        sample_id : int

        Raises
        ------
        SampleError
            If they cannot be read.
        """
        raise NotImplementedError

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Read and decode one picture.

        Parameters
        ----------
        sample_id : int
        min_size : (height, width)
            The smallest size that is still useful: see `decode_image`.

        Returns
        -------
        (H, W, C) uint8

        Raises
        ------
        SampleError
            If it cannot be read, or is not a whole picture. Names the file, and the record in it.
        """
        data, name = self.encoded(sample_id)
        return decode_image(
            data,
            name,
            color_mode=self.color_mode,
            min_size=min_size,
            is_fast=self.decode == "fast",
        )

    def read_into(self, sample_id: int, min_size: Extent, room: Room) -> Decoded | None:
        """Read and decode one picture into memory that the caller gives: see `decode_into`.

        A subclass with a `read` of its own gets None, and is asked to read.
        """
        if has_own_read(self, EncodedSource):
            return None
        data, name = self.encoded(sample_id)
        return self.decode_into(data, name, min_size, room)

    def decode_into(self, data: bytes, name: str, min_size: Extent, room: Room) -> Decoded:
        """Decode what `encoded` returned, in this source's colours: see `decode.decode_into`."""
        return decode_into(
            data,
            name,
            room,
            color_mode=self.color_mode,
            min_size=min_size,
            is_fast=self.decode == "fast",
        )


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError if an argument is none of its choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {list(choices)}, got {value!r}.")
