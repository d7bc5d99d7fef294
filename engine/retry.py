"""Asking again: what a store refuses for a moment, with growing pauses and an end."""

import errno
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_Result = TypeVar("_Result")

_LASTING: tuple[type[Exception], ...] = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
)
# what s3fs makes of the statuses 400, 412, 416 (the file is shorter now) and 501
_LASTING_NUMBERS = (errno.EINVAL, errno.ENOSYS, errno.ENAMETOOLONG)
_TEMPORARY_STATUS = (408, 425, 429)  # of HTTP; those from 500 on as well


class GaveUpError(OSError):
    """A store failed each time it was asked; the last failure is the cause."""


@dataclass(frozen=True)
class Retry:
    """How often a store is asked, and how long.

    Parameters
    ----------
    attempts : int
        At most so many requests.
    first_delay : float
        Seconds before the second request; doubled before each further one.
    longest_delay : float
        Seconds; no pause is longer.
    longest_total : float
        Seconds from the first request on; no request begins later. One that hangs is ended by the
        store's own time limit, not here.
    """

    attempts: int = 6
    first_delay: float = 0.1
    longest_delay: float = 5.0
    longest_total: float = 60.0

    def call(self, request: Callable[[], _Result]) -> _Result:
        """Return what `request` returns, asking again after failures that may pass.

        Raises
        ------
        GaveUpError
            If it failed each time.
        Exception
            What `request` raised, if asking again makes no sense: nothing there, not allowed.
        """
        began = time.monotonic()
        for attempt in range(1, self.attempts + 1):
            try:
                return request()
            except Exception as error:
                if not may_pass(error):
                    raise
                pause = self._pause(attempt)
                seconds = time.monotonic() - began
                if attempt == self.attempts or seconds + pause > self.longest_total:
                    raise GaveUpError(
                        f"asked {attempt} times in {seconds:.1f} s, at last "
                        f"{type(error).__name__}: {error}"
                    ) from error
            time.sleep(pause)
        raise ValueError(f"`attempts` must be at least 1, got {self.attempts}.")

    def _pause(self, attempt: int) -> float:
        longest = min(self.longest_delay, self.first_delay * 2.0 ** (attempt - 1))
        # half of it is drawn: readers that failed together must not come back together
        return float(longest * random.uniform(0.5, 1))


def may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed later.

    Stores raise errors of many libraries. Those of HTTP have a status; of the others all count,
    except what says that nothing is there, that it is not allowed, or that the call is wrong.
    """
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in _TEMPORARY_STATUS or status >= 500
    if isinstance(error, OSError) and error.errno in _LASTING_NUMBERS:
        return False
    return not isinstance(error, _LASTING)
