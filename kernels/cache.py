"""Files of compiled loops: where they lie, and how they are read and written safely.

``<root>/<stamp>/<loop>-<hash>.kernel``: the stamp is a hash of everything in this folder and of the
versions, so that an edited kernel finds an empty folder. A file holds its own key and checksum, and
is believed only if both are right and nobody else could have written it.
"""

import hashlib
import importlib.machinery
import os
import stat
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import llvmlite
import numba
import numpy as np

SOURCES = Path(__file__).parent
OFF = "FUSEWARP_CACHE"
FOLDER = "FUSEWARP_CACHE_DIR"
MAGIC = b"fusewarp kernel 1\n"
STAMP_LENGTH = 24
DIGEST_LENGTH = 32
LONGEST_NAME = 80  # in a file name: some systems count the whole path
KEPT_FOLDERS = 4  # of other stamps: another Python or Numba on this machine, a checkout beside it
STALE_AGE = 30 * 24 * 3600.0  # seconds in which nobody loaded from a folder
LEFT_OVER_AGE = 3600.0  # seconds after which nobody is still writing a temporary file


def cache_root() -> Path | None:
    """Return the folder of all compiled loops, by the environment; None if there is to be none."""
    if os.environ.get(OFF) == "0":
        return None
    if own := os.environ.get(FOLDER):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "fusewarp"
    with suppress(RuntimeError):  # a user without a home
        return _user_cache(Path.home())
    return None


def _user_cache(home: Path) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "fusewarp/Cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/fusewarp"
    return home / ".cache/fusewarp"


def source_stamp(folder: Path) -> str | None:
    """Hash the source files of a folder and the versions that make code of them.

    None without source files, as in a zip file: nothing would tell an edited kernel then.
    """
    versions = (numba.__version__, llvmlite.__version__, np.__version__, sys.version)
    python = importlib.machinery.EXTENSION_SUFFIXES  # free threads, debug builds, 32 bits
    digest = hashlib.sha256(repr((MAGIC, versions, python)).encode())
    files = sorted(folder.glob("*.py"))
    try:
        for file in files:
            digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    except OSError:
        return None
    return digest.hexdigest()[:STAMP_LENGTH] if files else None


STAMP = source_stamp(SOURCES)  # of the sources that this process runs


def kernel_folder() -> Path | None:
    """Return the folder of the loops this process may use, which need not exist, or None."""
    root = cache_root()
    return None if root is None or why_off() else root / str(STAMP)


def why_off() -> str:
    """Say why nothing is kept or loaded; an empty string where it is."""
    if os.environ.get(OFF) == "0":
        return f"{OFF}=0 switches it off."
    if cache_root() is None:
        return f"There is no home folder; set {FOLDER}."
    if STAMP is None:
        return f"The source files are not in {SOURCES}, so that an edited kernel could not be told."
    if source_stamp(SOURCES) != STAMP:  # what runs is neither the old text nor the new one
        return f"A file in {SOURCES} was edited after this process had read it."
    return ""


def read(folder: Path, name: str, key: str) -> bytes | None:
    """Return what `write` kept under a name and key; None if it is not there or not to be trusted.

    Raises
    ------
    OSError
        If the file is there and cannot be read.
    """
    path = _path(folder, name, key)
    try:
        with path.open("rb") as file:
            if not _is_ours(os.fstat(file.fileno())):
                return None
            content = file.read()
    except FileNotFoundError:
        return None
    head, start = _head(key), len(MAGIC) + DIGEST_LENGTH
    digest, body = content[len(MAGIC) : start], content[start:]
    if not content.startswith(MAGIC) or digest != hashlib.sha256(body).digest():
        return None
    return body[len(head) :] if body.startswith(head) else None


def write(folder: Path, name: str, key: str, payload: bytes) -> None:
    """Keep bytes under a name and key; whoever reads sees all of them or none.

    Raises
    ------
    OSError
        If they cannot be written; nothing is left behind then.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    body = _head(key) + payload
    part = folder / f"{uuid.uuid4().hex}.part"
    try:
        with open(part, "xb", opener=_open_for_one_writer) as file:
            file.write(MAGIC + hashlib.sha256(body).digest() + body)
        os.replace(part, _path(folder, name, key))
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _open_for_one_writer(path: str, flags: int) -> int:
    return os.open(path, flags, 0o644)  # not 0o666: see `_is_ours`


def _path(folder: Path, name: str, key: str) -> Path:
    digest = hashlib.sha256(key.encode()).hexdigest()[:STAMP_LENGTH]
    return folder / f"{name[:LONGEST_NAME]}-{digest}.kernel"


def _head(key: str) -> bytes:
    text = key.encode()
    return len(text).to_bytes(4, "little") + text


def _is_ours(status: os.stat_result) -> bool:
    """Tell whether only this user or root can have written a file: its content is run."""
    if sys.platform == "win32":
        return True  # the folder's own access list decides
    trusted = status.st_uid in (0, os.getuid())
    return trusted and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def note_use(folder: Path) -> None:
    """Date a folder, so that it counts as used, and remove those that nobody uses any more."""
    with suppress(OSError):
        os.utime(folder)
    with suppress(OSError):
        _remove_stale(folder)


def _remove_stale(folder: Path) -> None:
    now = time.time()
    _remove_files(folder, "*.part", now - LEFT_OVER_AGE)
    others = [other for other in folder.parent.iterdir() if _is_kernel_folder(other)]
    others = [other for other in others if other.name != folder.name]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    for place, other in enumerate(others):
        if place >= KEPT_FOLDERS or other.stat().st_mtime < now - STALE_AGE:
            _remove_files(other, "*.kernel", now)
            _remove_files(other, "*.part", now - LEFT_OVER_AGE)
            with suppress(OSError):  # something of another kind lies in it
                other.rmdir()


def _is_kernel_folder(path: Path) -> bool:
    is_stamp = len(path.name) == STAMP_LENGTH and set(path.name) <= set("0123456789abcdef")
    return is_stamp and path.is_dir() and not path.is_symlink()


def _remove_files(folder: Path, pattern: str, before: float) -> None:
    for file in folder.glob(pattern):
        with suppress(OSError):
            if file.lstat().st_mtime <= before:
                file.unlink()
