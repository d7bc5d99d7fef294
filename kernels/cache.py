"""Compiled loops kept on disk, so that only the first process on a machine compiles.

Numba's own cache looks at the file of the compiled function only, and here the edited file is
nearly always another one; it also keeps an index that two processes can spoil for each other. So
each compiled loop is one file here, named by a hash of all that went into it, and nothing of
Numba's configuration is touched. No trouble with the cache stops a warp: it then just compiles.

`FUSEWARP_CACHE=0` turns it off, `FUSEWARP_CACHE_DIR` says where it is; else it is `fusewarp` in
`XDG_CACHE_HOME`, in `LOCALAPPDATA`, or in `~/.cache`. The folder can be deleted at any time.
"""

import hashlib
import os
import pickle
import platform
import uuid
from contextlib import suppress
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

SOURCES = Path(__file__).parent


def cache_folder() -> Path:
    """Return the folder of compiled loops, by the environment; it need not exist."""
    own = os.environ.get("FUSEWARP_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "fusewarp"


def fingerprint(folder: Path) -> str:
    """Hash the source files of a folder, the versions, and the settings that change machine code.

    The processor is in `KernelCache`'s own key, as Numba describes it.
    """
    settings = (config.BOUNDSCHECK, config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE)
    versions = (numba.__version__, llvmlite.__version__, np.__version__)
    digest = hashlib.sha256(repr((settings, versions, platform.python_version())).encode())
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def describe(value: object) -> object:
    """Name what a loop closes over, the same in every process: a number, or another loop."""
    function = getattr(value, "py_func", None)
    if function is None:
        return repr(value)
    cells = function.__closure__ or ()
    return function.__qualname__, [describe(cell.cell_contents) for cell in cells]


class KernelCache(NullCache):  # type: ignore[misc]  # Numba has no annotations
    """The cache of one compiled loop, in the place of the one that Numba's `cache=True` sets."""

    def __init__(self, dispatcher, folder, stamp):
        self._folder = folder
        self._key = (stamp, dispatcher.py_func.__module__, describe(dispatcher))

    def _path(self, signature, codegen):
        key = repr((self._key, signature, codegen.magic_tuple()))
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"

    def load_overload(self, signature, target_context):
        """Return the compiled loop for the types of a call, or None."""
        target_context.refresh()
        try:
            payload = self._path(signature, target_context.codegen()).read_bytes()
            return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:  # missing, unreadable or damaged: compile, and write it anew
            return None

    def save_overload(self, signature, compiled):
        """Write a compiled loop; whoever reads sees all of the file or none."""
        if compiled.library.has_dynamic_globals:  # addresses in this process, of no use in another
            return
        path = self._path(signature, compiled.codegen)
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(dumps(compiled._reduce()))
            os.replace(part, path)
        except Exception:  # not writable, full, or not to be pickled: nothing is lost but time
            with suppress(OSError):
                part.unlink()


def attach_cache(dispatcher):
    """Give a compiled function its cache, unless that is off or there is no place for it."""
    if config.DISABLE_JIT or os.environ.get("FUSEWARP_CACHE") == "0":
        return dispatcher
    try:
        dispatcher._cache = KernelCache(dispatcher, cache_folder(), STAMP)
    except RuntimeError:  # no home folder
        pass
    return dispatcher


STAMP = fingerprint(SOURCES)
