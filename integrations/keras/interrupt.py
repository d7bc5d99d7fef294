"""SIGINT and SIGTERM as a wish that is granted at the end of a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after its state had been saved."""


class Wish:
    """Whether somebody wants the training to stop."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Wish]:
    """Note the first SIGINT or SIGTERM instead of stopping; a second one has its usual effect.

    In another thread than the main one signals cannot be handled, and nothing is changed.
    """
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        wish.name = signal.Signals(number).name
        _set_back(before)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        _set_back(before)


def _set_back(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)
