"""Which shards a user means: braces, as WebDataset's users write them, and glob patterns."""

import os
import re
from collections.abc import Sequence
from typing import Any

from .shard_store import ShardStore, is_remote

Shards = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
INDEX_ENDING = ".index.npz"  # of what lies beside shards, and fits "train-*" as well

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")


def list_shards(shards: Shards, store: ShardStore) -> list[str]:
    """Return the paths and URLs of shards, in the order they were named.

    Parameters
    ----------
    shards : path, or sequence of paths
        Each may hold ``{000000..000099}``, ``{a,b}``, and ``*``, ``?``, ``[...]`` (in an http URL
        only ``*``); what fits a pattern is sorted.
    store : ShardStore

    Raises
    ------
    FileNotFoundError
        If nothing fits a pattern.
    ValueError
        If a shard is named twice, none is named, or one is a command.
    """
    named: Any = [shards] if isinstance(shards, str | os.PathLike) else list(shards)
    paths = [path for one in named for path in _expand(_plain(one), store)]
    if not paths:
        raise ValueError(f"`shards` names no shard, got {shards!r}.")
    _refuse_twice(paths)
    return paths


def _plain(shard: str | os.PathLike[str]) -> str:
    path = os.fspath(shard)
    if path.startswith("pipe:"):
        raise ValueError(
            f"`shards` holds the command {path!r}; random access needs a file or a URL that fsspec "
            "reads, such as s3://bucket/data.tar."
        )
    return path.removeprefix("file://")


def _expand(pattern: str, store: ShardStore) -> list[str]:
    paths = []
    for path in expand_braces(pattern):
        if not _is_pattern(path):
            paths.append(path if is_remote(path) else os.path.abspath(path))
            continue
        found = [one for one in store.find(path) if not one.endswith(INDEX_ENDING)]
        if not found:
            raise FileNotFoundError(f"No shard fits {path!r}; correct `shards`.")
        paths += found if is_remote(path) else map(os.path.abspath, found)
    return paths


def _is_pattern(path: str) -> bool:
    if path.startswith(("http://", "https://")):
        return "*" in path  # "?" begins a query there
    return any(sign in path for sign in "*?[") and (is_remote(path) or not os.path.exists(path))


def expand_braces(pattern: str) -> list[str]:
    """Return what Bash makes of ``{0..9}``, ``{000..999}``, ``{0..9..3}`` and ``{a,b}``.

    Other braces stay as they are.
    """
    for braces in _BRACES.finditer(pattern):
        options = _options(braces[1])
        if options is not None:
            before, after = pattern[: braces.start()], pattern[braces.end() :]
            rests = expand_braces(after)
            return [before + option + rest for option in options for rest in rests]
    return [pattern]


def _options(inside: str) -> list[str] | None:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",") if "," in inside else None
    first, last, step = int(numbers[1]), int(numbers[2]), int(numbers[3] or 1)
    if first > last or step == 0:
        raise ValueError(f"`shards` has the range {{{inside}}}, which counts nothing upwards.")
    ends = (numbers[1], numbers[2])
    padded = any(len(end) > 1 and end[0] == "0" for end in ends)
    width = max(map(len, ends)) if padded else 0
    return [str(number).zfill(width) for number in range(first, last + 1, step)]


def _refuse_twice(paths: list[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise ValueError(f"`shards` names {path} twice; its pictures would be seen twice.")
        seen.add(path)


def short_names(paths: list[str]) -> list[str]:
    """Return the paths from their common folder on: file names, if all lie in one."""
    parts = [path.replace(os.sep, "/").split("/") for path in paths]
    shortest = min(map(len, parts)) - 1
    common = 0
    while common < shortest and len({part[common] for part in parts}) == 1:
        common += 1
    return ["/".join(part[common:]) for part in parts]
