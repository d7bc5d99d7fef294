"""Tar shards as other programs write them, by the standard library alone."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

BLOCK = 512


def tar_bytes(members, format=tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar file of (name, content) pairs; content None makes a folder."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return memory.getvalue()


def write_shard(path: Path, members, format=tarfile.USTAR_FORMAT) -> Path:
    path.write_bytes(tar_bytes(members, format))
    return path


def picture(number: int, suffix: str = "png", size=(6, 9)) -> bytes:
    """Encode a small picture that differs from all others."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, {"jpg": "jpeg"}.get(suffix, suffix))
    return memory.getvalue()


def pixels_of(encoded: bytes) -> np.ndarray:
    """Decode by Pillow."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def records(count: int, first: int = 0, suffix: str = "png"):
    """Return the members of `count` records: key 0007, its picture, its label 7 % 3."""
    members = []
    for number in range(first, first + count):
        members.append((f"{number:04d}.{suffix}", picture(number, suffix)))
        members.append((f"{number:04d}.cls", str(number % 3).encode()))
    return members


def header_at(content: bytes, name: str) -> int:
    """Return where the header of a member begins."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getmember(name).offset_data - BLOCK


def without_checksum(content: bytes, name: str) -> bytes:
    """Return the tar file with one bit changed in the header of a member."""
    at = header_at(content, name) + 100  # its mode
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
