"""The files of a packed folder: plain NumPy arrays, and one JSON that says what they are.

images.npy        (n, height, width, channels) uint8, its data from byte 128 on
labels.npy        (n,) int64; only if there are classes
names.npy         uint8: the names, UTF-8, one after the other
name_offsets.npy  (n + 1,) int64: name i is bytes offsets[i] to offsets[i + 1] of names.npy
checksums.npy     (b, 2) int64: for each run of pictures, how many, and the CRC-32 of their bytes
meta.json         written last; see `Meta`
"""

import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT, VERSION = "fusewarp-pack", 1
IMAGES, LABELS, CHECKSUMS, META = "images.npy", "labels.npy", "checksums.npy", "meta.json"
NAMES, NAME_OFFSETS = "names.npy", "name_offsets.npy"
SMALL_ARRAYS = (LABELS, NAMES, NAME_OFFSETS, CHECKSUMS)
PARTIAL = ".partial"  # ends the name of a folder that is not finished
HEADER_BYTES = 128  # of images.npy: pictures begin at a cache line
_CHUNK = 2**16


@dataclass(frozen=True)
class Meta:
    """What meta.json says.

    Attributes
    ----------
    count : int
        Pictures.
    image_size : (height, width)
    channels : int
    color_mode, resize : str
        How they were decoded and resized.
    class_names : list of str, or None
        Label i is ``class_names[i]``; None: there are no labels.
    skipped : list of [name, message]
        Files that could not be read and were left out.
    crc32 : dict
        CRC-32 of each of the small array files.
    """

    count: int
    image_size: tuple[int, int]
    channels: int
    color_mode: str
    resize: str
    class_names: list[str] | None
    skipped: list[list[str]]
    crc32: dict[str, int]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of images.npy."""
        return (self.count, *self.image_size, self.channels)

    def write(self, path: Path) -> None:
        """Write the file, with a checksum of its own."""
        fields = {"format": FORMAT, "version": VERSION, **asdict(self)}
        text = json.dumps({**fields, "checksum": _checksum_of(fields)}, indent=1)
        write_durably(path, [text.encode()])


def read_meta(path: Path, *, verify: bool = False) -> Meta:
    """Read and check meta.json.

    Raises
    ------
    ValueError
        If it is of another format or version, or damaged; with `verify`, if a byte was changed.
    """
    try:
        fields = json.loads(path.read_bytes())
        found = (fields.pop("format"), fields.pop("version"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the meta.json of packed pictures ({error!r}).") from error
    if found[0] != FORMAT:
        raise ValueError(f"{path} is of the format {found[0]!r}; {FORMAT!r} is needed.")
    if found[1] != VERSION:
        raise ValueError(
            f"{path} is of version {found[1]!r}, this fusewarp reads version {VERSION}: pack the "
            "folder again, or use the fusewarp that packed it."
        )
    checksum = fields.pop("checksum", None)
    if verify and checksum != _checksum_of({"format": FORMAT, "version": VERSION, **fields}):
        raise ValueError(f"{path} was changed after packing: its checksum is another.")
    try:
        meta = Meta(**{**fields, "image_size": tuple(fields["image_size"])})
        _check_numbers(meta)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); pack the folder again.") from error
    return meta


def _check_numbers(meta: Meta) -> None:
    if len(meta.shape) != 4 or not all(type(n) is int and n > 0 for n in meta.shape):
        raise ValueError(f"shape {meta.shape}")


def _checksum_of(fields: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode())


def images_header(shape: tuple[int, ...]) -> bytes:
    """Return a .npy header of `HEADER_BYTES` for uint8; NumPy's own length depends on the shape."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    length = HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file, to the disk."""
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)
        flush_to_disk(file)


def write_names(folder: Path, names: Sequence[str], ids: NDArray[np.int64]) -> None:
    """Write some of `names` as bytes and offsets; a million at a time would do, 65,536 are held."""
    lengths = np.fromiter((len(_encoded(names[i])) for i in ids.tolist()), np.int64, len(ids))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    write_array(folder / NAME_OFFSETS, offsets)
    chunks = (ids[at : at + _CHUNK].tolist() for at in range(0, len(ids), _CHUNK))
    encoded = (b"".join(_encoded(names[i]) for i in chunk) for chunk in chunks)
    header = images_header((int(offsets[-1]),))
    write_durably(folder / NAMES, (part for parts in ([header], encoded) for part in parts))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def write_durably(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that is on the disk when this returns."""
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
        flush_to_disk(file)


def flush_to_disk(file: Any) -> None:
    """Return when all that was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk; only POSIX systems have a way to ask."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def crc32_of_file(path: Path) -> int:
    """Return the CRC-32 of a file's bytes."""
    checksum = 0
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
