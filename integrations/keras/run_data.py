"""What a run's pictures and labels are, as a hash: a run goes on with those it was begun with."""

import hashlib
from typing import Any

import numpy as np

from ...engine.files import FileSource
from .own_data import OwnData

LOOKED_AT = 64  # pictures of an array


def digest_of_data(*sources: Any) -> str:
    """Return a hash of the names, labels and weights of sources; None among them is allowed.

    Files are taken by their names, arrays by some of their pictures, spread evenly. A pipeline of
    the user's own is taken by its number of batches: its order may differ each time it is read.
    """
    total = hashlib.blake2b(digest_size=16)
    for source in sources:
        total.update(b"next")
        if isinstance(source, OwnData):
            total.update(str(source.num_batches).encode())
        elif source is not None:
            _add(total, source)
    return total.hexdigest()


def _add(total: Any, source: Any) -> None:
    total.update(str(len(source)).encode())
    for name in source.names:
        total.update(name.encode("utf-8", "surrogateescape") + b"\0")
    for values in (source.labels, getattr(source, "weights", None)):
        if values is not None:
            total.update(np.ascontiguousarray(values).tobytes())
    if not isinstance(source, FileSource):
        for place in np.unique(np.linspace(0, len(source) - 1, LOOKED_AT).astype(int)):
            total.update(np.ascontiguousarray(source.read(int(place))).tobytes())
