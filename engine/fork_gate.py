"""Calls of libraries whose own locks a forked child would find held for ever."""

import os
import threading
from collections import Counter

_LONGEST_WAIT = 10.0  # seconds: a disk that answers no more must not stop all forks of a program


class ForkGate:
    """A context that a fork waits for, so that no child is made while another thread is in it.

    For libraries with locks of the whole process: a child that is forked while one is held has no
    thread that gives it back, and hangs at its first call. Who is inside may go in again, and fork
    (in a signal's handler, or a finalizer). Lives as long as the process.
    """

    def __init__(self) -> None:
        self._begin_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._close,
                after_in_parent=self._open,
                after_in_child=self._begin_anew,
            )

    def __enter__(self) -> None:
        """Go in; waits for a fork that is under way."""
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(
                lambda: thread in self._inside or self._forking in (None, thread)
            )
            self._inside[thread] += 1

    def __exit__(self, *error: object) -> None:
        """Go out."""
        thread = threading.get_ident()
        with self._changed:
            self._inside[thread] -= 1
            if not self._inside[thread]:
                del self._inside[thread]
                self._changed.notify_all()

    def _begin_anew(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._forking: int | None = None

    def _close(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forking is None)
            self._forking = thread
            self._changed.wait_for(lambda: not self._inside.keys() - {thread}, _LONGEST_WAIT)

    def _open(self) -> None:
        with self._changed:
            self._forking = None
            self._changed.notify_all()
