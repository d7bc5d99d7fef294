"""Bytes at an offset of files: local ones by `pread`, all others through fsspec, asked again."""

import glob
import os
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from .retry import Retry

_Result = TypeVar("_Result")

MOST_OPEN = 128  # descriptors: a process may often have 1,024
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


class ShortReadError(OSError):
    """Fewer bytes came than a file is said to have there."""


class ChangedError(OSError):
    """A file is not the one that was indexed."""


class Stamp(NamedTuple):
    """What tells one version of a file from another.

    Attributes
    ----------
    size : int
        Bytes.
    version : str
        A local file's modification time in nanoseconds; the ETag or time that a store gives. Empty
        where it gives none.
    """

    size: int
    version: str


def is_remote(path: str) -> bool:
    """Tell whether fsspec is needed for a path."""
    return "://" in path


class ShardStore:
    """Reads ranges of files; may be used by many threads, pickled, and used after a fork.

    Parameters
    ----------
    storage_options : dict, optional
        What fsspec passes to the file system of a URL: keys, an endpoint, time limits.
    retry : Retry
        For what is not local.
    """

    def __init__(
        self, storage_options: dict[str, Any] | None = None, retry: Retry | None = None
    ) -> None:
        self._options = dict(storage_options or {})
        self._retry = retry or Retry()
        self._files = OpenFiles()
        self._remote: dict[str, tuple[Any, str]] = {}
        _all_stores.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"_options": self._options, "_retry": self._retry}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_options"], state["_retry"])  # type: ignore[misc]

    def stamp(self, path: str) -> Stamp:
        """Return the size and version of a file.

        Raises
        ------
        OSError
            If it is not there, or the store fails each time it is asked.
        """
        if not is_remote(path):
            return _stamp_of(os.stat(path))
        system, inner = self._located(path)
        info = self._ask(lambda: _info_now(system, inner))
        if info.get("size") is None:
            raise OSError(f"the store does not say how large {path} is")
        versions = (info[name] for name in _VERSIONS if info.get(name))
        return Stamp(int(info["size"]), str(next(versions, "")))

    def read(self, path: str, start: int, length: int, stamp: Stamp) -> bytes:
        """Return `length` bytes from `start` on.

        Parameters
        ----------
        path : str
        start, length : int
        stamp : Stamp
            Of the file that is meant; looked at when a local file is opened.

        Raises
        ------
        ShortReadError
            If a local file ends before.
        ChangedError
            If a local file is another.
        OSError
            If the file cannot be read, or the store fails each time it is asked, or knows no parts.
        """
        if not is_remote(path):
            return self._files.read(path, start, length, stamp)
        data = self._ask(lambda: self._read_remote(path, start, length))
        if len(data) > length:
            raise OSError(
                f"{len(data)} bytes came instead of {length}: the store sends whole files where "
                "it is asked for a part; copy the shards to one that does not, or to a disk"
            )
        return data

    def _read_remote(self, path: str, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        system, inner = self._located(path)
        data: bytes = system.cat_file(inner, start=start, end=start + length)
        if len(data) < length:
            raise ShortReadError(f"{len(data)} of {length} bytes came")
        return data

    def find(self, pattern: str) -> list[str]:
        """Return the files that a pattern with ``*``, ``?`` or ``[...]`` fits, sorted.

        Raises
        ------
        OSError
            If the store refuses to list them, or fails each time it is asked.
        """
        if not is_remote(pattern):
            return sorted(glob.glob(pattern))
        system, inner = self._located(pattern)
        try:
            found = self._ask(lambda: _glob_now(system, inner))
        except OSError as error:
            raise OSError(f"{pattern} cannot be listed ({error.strerror or error}).") from error
        chain, link, _ = pattern.rpartition("::")  # "filecache::s3://bucket/*.tar"
        return sorted(f"{chain}{link}{system.unstrip_protocol(path)}" for path in found)

    def _ask(self, request: Callable[[], _Result]) -> _Result:
        """Ask a store; whatever its library raises comes out as an OSError."""
        try:
            return self._retry.call(request)
        except (OSError, ImportError):
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _located(self, path: str) -> tuple[Any, str]:
        """Return the file system and the path within it."""
        located = self._remote.get(path)
        if located is None:
            located = self._remote[path] = _fsspec().core.url_to_fs(path, **self._options)
        return located

    def _leave_behind(self) -> None:
        """In a forked child: make file systems anew; the threads of the old ones are not here."""
        _left_behind.append(self._remote)
        self._remote = {}


class Closable(Protocol):
    """What `OpenShards` keeps open."""

    def close(self) -> None:
        """Close it."""


_Open = TypeVar("_Open", bound=Closable)


class OpenShards(Generic[_Open]):
    """Shards that stay open between reads, the longest unused of them closed.

    Parameters
    ----------
    open_shard : callable
        Opens the shard at a path, if it has a stamp.
    most : int
        So many are kept; more are open only while more are being read.
    """

    def __init__(self, open_shard: Callable[[str, Stamp], _Open], most: int = MOST_OPEN) -> None:
        self._open_shard, self._most = open_shard, most
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._users: Counter[str] = Counter()
        _all_open.add(self)

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @contextmanager
    def use(self, path: str, stamp: Stamp) -> Iterator[_Open]:
        """Give a shard that stays open meanwhile."""
        with self._lock:
            shard = self._open.get(path)
            if shard is not None:
                self._open.move_to_end(path)
                self._users[path] += 1
        if shard is None:
            shard = self._add(path, self._open_shard(path, stamp))
        try:
            yield shard
        finally:
            with self._lock:
                self._users[path] -= 1
                self._close_surplus()

    def _add(self, path: str, opened: _Open) -> _Open:
        """Keep what was opened without the lock, unless another thread was faster."""
        with self._lock:
            shard = self._open.setdefault(path, opened)
            self._users[path] += 1
        if shard is not opened:
            opened.close()
        return shard

    def _close_surplus(self) -> None:
        surplus = len(self._open) - self._most
        if surplus > 0:
            unused = [path for path in self._open if self._users[path] == 0]
            for path in unused[:surplus]:
                self._open.pop(path).close()
                del self._users[path]

    def _forget_threads(self) -> None:
        """In a forked child: nobody else reads, and the lock may be held by who is not here."""
        self._lock = threading.Lock()
        self._let_go_in_child(list(self._open.values()))
        self._open, self._users = OrderedDict(), Counter()

    def _let_go_in_child(self, shards: list[_Open]) -> None:
        for shard in shards:
            shard.close()

    def __del__(self) -> None:
        for shard in self._open.values():
            shard.close()


class OpenFiles(OpenShards["_Descriptor"]):
    """Descriptors that stay open between reads: see `OpenShards`."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        super().__init__(_Descriptor, most)

    def read(self, path: str, start: int, length: int, stamp: Stamp) -> bytes:
        """Return exactly `length` bytes; see `ShardStore.read`."""
        with self.use(path, stamp) as descriptor:
            parts, missing = [], length
            while missing > 0:  # the system may return less than is there, at most 2 GiB
                part = descriptor.read(missing, start + length - missing)
                if not part:
                    raise ShortReadError(
                        f"{length - missing} of {length} bytes came: the file was cut off"
                    )
                parts.append(part)
                missing -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)


class _Descriptor:
    """One open file, which is the one that is meant."""

    def __init__(self, path: str, stamp: Stamp) -> None:
        self._number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            check_stamp(_stamp_of(os.fstat(self._number)), stamp)
        except ChangedError:
            os.close(self._number)
            raise
        self._lock = threading.Lock()

    def read(self, length: int, start: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._number, length, start)
        with self._lock:  # Windows has one position for all threads
            os.lseek(self._number, start, os.SEEK_SET)
            return os.read(self._number, length)

    def close(self) -> None:
        os.close(self._number)


_all_open: "weakref.WeakSet[OpenShards[Any]]" = weakref.WeakSet()
_all_stores: "weakref.WeakSet[ShardStore]" = weakref.WeakSet()
# The parent's file systems, in a forked child: one that goes closes its connections, and waits for
# a thread that is only in the parent (s3fs: a second each), or takes them from the parent's poll
_left_behind: list[dict[str, tuple[Any, str]]] = []


def _after_fork() -> None:
    for shards in _all_open:
        shards._forget_threads()
    for store in _all_stores:
        store._leave_behind()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_stamp(found: Stamp, stamp: Stamp) -> None:
    """Raise ChangedError if a local file is not the one that is meant."""
    if found != stamp:
        raise ChangedError(
            f"it was changed after it was indexed: {found.size} bytes, modified at "
            f"{found.version} ns, then {stamp.size} bytes, at {stamp.version} ns"
        )


def _info_now(system: Any, path: str) -> dict[str, Any]:
    """Ask a store for a file; fsspec keeps listings for the life of a process, and asks those."""
    system.invalidate_cache(path)
    info: dict[str, Any] = system.info(path)
    return info


def _glob_now(system: Any, pattern: str) -> list[str]:
    system.invalidate_cache()
    found: list[str] = system.glob(pattern)
    return found


def _stamp_of(stat: os.stat_result) -> Stamp:
    return Stamp(stat.st_size, str(stat.st_mtime_ns))


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise ModuleNotFoundError(
            "Shards that are not on a local disk are read through fsspec: "
            "pip install 'fusewarp[store]', and what it needs for the store (s3fs, gcsfs, aiohttp)."
        ) from error
    return fsspec
