"""What is not always installed, and how to say so."""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator

OPTIONAL = ("tensorflow", "keras", "matplotlib")


def require_tensorflow() -> None:
    """Import TensorFlow, Keras and Matplotlib, or say how to install them.

    Raises
    ------
    ModuleNotFoundError
    """
    for module in OPTIONAL:
        try:
            with quiet_stderr():
                importlib.import_module(module)
        except ImportError as error:
            raise ModuleNotFoundError(
                f'{module} cannot be imported ({error}); write: pip install "fusewarp[tensorflow]"'
            ) from error


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to standard error, unless an exception comes of it.

    TensorFlow says on import, whatever its log level, that there is no GPU.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
