"""The decorators of compiled loops, which keep their machine code on disk (`cache.py`).

Numba calls a compiled function by its module, qualified name, a count of this process, and the
types of its arguments. The variants of a closure differ in none of these from one process to
another, so that code of several processes, loaded into one, calls the wrong variant: what was built
by a factory is therefore named after all the factory's arguments. Then the same name is the same
code, whoever compiled it.
"""

import inspect
import logging
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from numba import config, njit
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from . import cache

# Without `_nrt=False` Numba counts references to the arrays for each pixel: half of the time. And
# nobody calls them from C, which would ask for another function to be compiled.
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
compile_batch_loop = njit(**OPTIONS)
# For sums in float64 only: in any order, they take a fifth of the time.
compile_sum_loop = njit(**OPTIONS, fastmath={"reassoc", "nsz"})

LOGGER = logging.getLogger("fusewarp")
SECONDS_WORTH_SAYING = 1.0
VARIANT_TYPES = (bool, int, str)
LOCAL = "<locals>"
# Numba's settings that change machine code, beside those that describe the processor.
SETTINGS = (
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "DISABLE_INTEL_SVML",
    "ENABLE_AVX",
    "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "OPT",
    "SLP_VECTORIZE",
    "USING_SVML",
)


def batch_loop(function):
    """Compile a loop over pixels: without the GIL, and kept on disk."""
    return _keep(function, compile_batch_loop)


def sum_loop(function):
    """Compile a loop that sums: as `batch_loop`, in any order of the terms."""
    return _keep(function, compile_sum_loop)


def batch_loop_factory(factory):
    """Compile, as `batch_loop` does, what a factory returns for each set of its arguments, once.

    The arguments are numbers, flags and words; they decide alone about the function's code.
    """
    parameters = list(inspect.signature(factory).parameters)
    loops = {}

    @wraps(factory)
    def make(*arguments):
        if arguments not in loops:
            function = factory(*arguments)
            name = variant_name(factory, function, dict(zip(parameters, arguments, strict=True)))
            function.__qualname__, function.__name__ = name, name.rpartition(".")[2]
            loops.setdefault(arguments, batch_loop(function))  # another thread may have been here
        return loops[arguments]

    return make


def variant_name(factory, function, arguments: dict[str, object]) -> str:
    """Name a function after its factory and all the arguments."""
    for parameter, value in arguments.items():
        if not isinstance(value, VARIANT_TYPES):
            raise TypeError(
                f"`{parameter}` of {factory.__qualname__} must be a number, a flag or a word, "
                f"because it becomes part of a name; got {value!r}."
            )
    parts = [function.__name__, *(f"{name}_{value}" for name, value in arguments.items())]
    return f"{factory.__qualname__}.{'__'.join(parts)}"


def _keep(function, compile_loop):
    if LOCAL in function.__qualname__:
        raise TypeError(
            f"{function.__qualname__} has no name of its own, as a kept loop needs it; let its "
            "factory be a `batch_loop_factory` and return the plain function."
        )
    loop = compile_loop(function)
    if not config.DISABLE_JIT:
        loop._cache = KernelCache(function)  # in the place of the one that `cache=True` sets
    return loop


@dataclass
class Tally:
    """What this process has done with compiled loops; `problem`: why the last one was not kept."""

    loaded: int = 0
    compiled: int = 0
    lost: int = 0
    problem: str = ""


TALLY = Tally()


class NotKeptError(RuntimeError):
    """Raised within `loading_only` by a call whose loop is not on disk."""


@contextmanager
def loading_only() -> Iterator[None]:
    """Make loops that are neither loaded nor on disk raise `NotKeptError` instead of compiling."""
    KernelCache.may_compile = False
    try:
        yield
    finally:
        KernelCache.may_compile = True


class KernelCache(NullCache):  # type: ignore[misc]
    """The cache of one compiled loop. No trouble with it stops a warp: it then just compiles."""

    may_compile = True
    _has_said_slow = _has_noted_use = False  # of the process

    def __init__(self, function):
        self._module, self._name = function.__module__, function.__qualname__
        self._started = time.perf_counter()

    def load_overload(self, signature, target_context):
        """Return the compiled loop for the types of a call, or None."""
        target_context.refresh()
        folder = cache.kernel_folder()
        loop = None if folder is None else self._load(folder, signature, target_context)
        if loop is not None:
            TALLY.loaded += 1
        elif not KernelCache.may_compile:
            raise NotKeptError(self._name)
        self._started = time.perf_counter()
        return loop

    def _load(self, folder: Path, signature, target_context):
        try:
            key = self._key(signature, target_context.codegen())
            payload = cache.read(folder, self._file_name(), key)
            if payload is None:
                return None
            loop = CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:  # it cannot be read, or Numba reads it otherwise: compile
            LOGGER.debug("%s could not be loaded", self._name, exc_info=True)
            return None
        self._note_use(folder)
        return loop

    def save_overload(self, signature, compiled):
        """Keep a compiled loop, and say so if it took long."""
        seconds = time.perf_counter() - self._started
        folder = cache.kernel_folder()
        problem = "" if folder is None else self._save(folder, signature, compiled)
        TALLY.compiled += 1
        if problem:
            TALLY.lost, TALLY.problem = TALLY.lost + 1, problem
        if seconds > SECONDS_WORTH_SAYING:
            self._say_slow(seconds, folder, problem)

    def _save(self, folder: Path, signature, compiled) -> str:
        """Write the file; return what stood in the way, if anything did."""
        if not names_are_unique(compiled.library):
            return f"{self._name} calls code of no lasting name"
        try:
            key = self._key(signature, compiled.codegen)
            cache.write(folder, self._file_name(), key, dumps(compiled._reduce()))
        except Exception as error:  # not writable, full, or not to be pickled: only time is lost
            return f"{error}; {cache.FOLDER} may name another folder"
        self._note_use(folder)
        return ""

    @staticmethod
    def _say_slow(seconds: float, folder: Path | None, problem: str) -> None:
        if KernelCache._has_said_slow:
            return
        KernelCache._has_said_slow = True
        level = logging.INFO if folder is None else logging.WARNING
        fate = "not kept" if folder is None else f"kept in {folder}"
        fate = f"not {fate}: {problem}" if problem else fate
        LOGGER.log(
            level,
            "Compiled an image kernel for %.1f s (%s). `fusewarp warmup` compiles all ahead.",
            seconds,
            fate,
        )

    def _note_use(self, folder: Path) -> None:
        if not KernelCache._has_noted_use:
            KernelCache._has_noted_use = True
            cache.note_use(folder)

    def _file_name(self) -> str:
        return f"{self._module.rpartition('.')[2]}.{self._name.rpartition('.')[2]}"

    def _key(self, signature, codegen) -> str:
        settings = [(name, getattr(config, name, None)) for name in SETTINGS]
        types = [str(kind) for kind in signature]
        return repr((self._module, self._name, types, codegen.magic_tuple(), settings))


def names_are_unique(library) -> bool:
    """Tell whether all functions in compiled code are ours, and none is a nameless closure.

    Code of Numba's own that was not inlined would carry a count of this process alone.
    """
    names = [
        function.name
        for function in library._final_module.functions
        if not function.is_declaration and function.linkage.name not in ("private", "internal")
    ]
    package = "".join(f"{len(part)}{part}" for part in __package__.split("."))
    return all(package in name and "_3clocals_3e" not in name for name in names)
