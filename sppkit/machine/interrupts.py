"""Requests to end, and interrupts (Ctrl-C) where an exception could get lost."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class EndRequestedError(BaseException):
    """A signal has asked the program to end; no ``Exception``, nor ``SystemExit``, that a network's code may raise."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let an interrupt (SIGINT) wait: modules that are being imported may swallow it, or be left half-imported."""
    if threading.current_thread() is not threading.main_thread():  # no signal arrives here
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
