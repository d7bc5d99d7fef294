"""Calls of libraries whose own locks a forked child would find held for ever."""

import os
import threading
from collections import Counter

_LONGEST_WAIT = 10.0  # seconds: a disk that answers no more must not stop a whole program


class ForkGate:
    """A context that a fork waits for, so that no child is made while another thread is in it.

    For libraries with locks of the whole process: a child that is forked while one is held has no
    thread that gives it back, and hangs at its first call. Who is inside may go in again, and may
    fork; who forks may go in, and fork again (in a signal's handler, or a finalizer). Neither side
    waits for more than 10 seconds. Lives as long as the process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()  # how often, by thread
        self._forking: Counter[int] = Counter()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._close,
                after_in_parent=self._open,
                after_in_child=self._keep_own,
            )

    def __enter__(self) -> None:
        """Go in; waits for other threads' forks that are under way."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(
                lambda: me in self._inside or not self._forking.keys() - {me}, _LONGEST_WAIT
            )
            self._inside[me] += 1

    def __exit__(self, *error: object) -> None:
        """Go out."""
        self._count_down(self._inside)

    def _close(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._forking[me] += 1
            self._changed.wait_for(lambda: not self._inside.keys() - {me}, _LONGEST_WAIT)

    def _open(self) -> None:
        self._count_down(self._forking)

    def _count_down(self, threads: Counter[int]) -> None:
        me = threading.get_ident()
        with self._changed:
            threads[me] -= 1
            if threads[me] <= 0:
                del threads[me]
            self._changed.notify_all()

    def _keep_own(self) -> None:
        """In a forked child: there are no other threads, whatever they held."""
        me = threading.get_ident()
        self._changed = threading.Condition()
        self._inside = Counter({me: self._inside[me]} if self._inside[me] else {})
        self._forking = Counter({me: self._forking[me]})
        self._open()
