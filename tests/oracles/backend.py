"""Which warp a test runs: the CPU's, or the CUDA kernels' on a card or in Numba's simulator.

`warp` and `warp_ragged` take and fill host arrays either way, so that a test is written once. A
module that asks for the fixture `backend` of `tests/conftest.py` is run with each one of `names`.
"""

from contextlib import contextmanager

import numpy as np
import pytest
from numba import config

from fusewarp import kernels

CPU, CUDA = "cpu", "cuda"
IS_SIMULATED = bool(config.ENABLE_CUDASIM)
SMALL_BLOCK = {"BLOCK_COLS": 2, "BLOCK_ROWS": 3}  # so that tiny pictures have edges of blocks
HOW_TO_RUN = (
    "needs the simulator (NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1) or a CUDA device (--gpu)"
)

_is_on_card = False
_current = CPU


def use_card() -> None:
    """Run the CUDA kernels on a device; raises `pytest.UsageError` where there is none."""
    global _is_on_card
    if IS_SIMULATED:
        raise pytest.UsageError(
            "--gpu needs a CUDA device, and NUMBA_ENABLE_CUDASIM is set, which hides it: unset it."
        )
    try:
        from numba import cuda

        cuda.current_context()
    except Exception as error:  # no driver, no device, no bindings, too old: all the same here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise pytest.UsageError(f"--gpu needs a CUDA device: {reason}") from None
    _is_on_card = True


def names() -> list[str]:
    """Return the backends of this run; the simulator goes alone, as it is slow."""
    if IS_SIMULATED:
        return [CUDA]
    return [CPU, CUDA] if _is_on_card else [CPU]


def cuda_or_skip():
    """Return `fusewarp.kernels.cuda`, or skip the calling module."""
    if CUDA not in names():
        pytest.skip(HOW_TO_RUN, allow_module_level=True)
    from fusewarp.kernels import cuda

    return cuda


def skip_on_cuda(reason: str) -> None:
    """Skip the rest of a test if it runs on CUDA."""
    if _current == CUDA:
        pytest.skip(reason)


@contextmanager
def using(name: str):
    """Let `warp` and `warp_ragged` be those of one backend."""
    global _current
    with pytest.MonkeyPatch.context() as patch:
        if name == CUDA and IS_SIMULATED:
            _hasten_simulator(patch)
        before, _current = _current, name
        yield name
        _current = before


def _hasten_simulator(patch: pytest.MonkeyPatch) -> None:
    """Run the threads of a block in turn: the simulator polls them, at three times the cost.

    Only for kernels whose threads do not wait for each other.
    """
    from numba.cuda.simulator.kernel import BlockManager, BlockThread

    from fusewarp.kernels import cuda

    def run(self, block, *args):
        for place in np.ndindex(*self._block_dim):
            thread = BlockThread(lambda: self._f(*args), self, block, place, self._debug)
            thread.start()
            thread.join()
            if thread.exception:
                raise thread.exception[0].with_traceback(thread.exception[1])

    patch.setattr(BlockManager, "run", run)
    for side, threads in SMALL_BLOCK.items():
        patch.setattr(cuda, side, threads)


def warp(images, inverse_maps, out, *, sources=None, **options) -> None:
    """Do as `fusewarp.kernels.warp`."""
    if _current == CPU:
        kernels.warp(images, inverse_maps, out, sources=sources, **options)
        return
    places = np.arange(len(images)) if sources is None else sources
    length = int(np.prod(images.shape[1:]))
    sizes = np.tile(np.array(images.shape[1:3], np.int64), (len(places), 1))
    warp_ragged(images.reshape(-1), places * length, sizes, inverse_maps, out, **options)


def warp_ragged(pixels, starts, sizes, inverse_maps, out, **options) -> None:
    """Do as `fusewarp.kernels.warp_ragged`; `target` may be given on CUDA."""
    if _current == CPU:
        kernels.warp_ragged(pixels, starts, sizes, inverse_maps, out, **options)
        return
    from numba import cuda as driver

    from fusewarp.kernels import cuda

    on_device = driver.to_device(out)  # with what it holds: a pixel that nobody writes shows
    cuda.warp_ragged(driver.to_device(pixels), starts, sizes, inverse_maps, on_device, **options)
    on_device.copy_to_host(out)
