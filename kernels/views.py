"""Arrays as compiled loops take them, so that Numba compiles once for all that look alike."""

import numpy as np


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view nobody can write to: Numba then compiles once for both kinds of array."""
    view: np.ndarray = array.view()
    view.flags.writeable = False
    return view


def view_target(out: np.ndarray) -> np.ndarray:
    """Return `out`, a float16 one as its bits: Numba has no float16 on the CPU."""
    target: np.ndarray = out.view(np.uint16) if out.dtype == np.float16 else out
    return target
