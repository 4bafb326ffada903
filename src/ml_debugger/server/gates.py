"""Back-pressure: what is at work at the same time is bounded, the rest is asked to come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ml_debugger.errors import ServerBusyError
from ml_debugger.server.config import Limits

__all__ = ["Gate", "Gates"]

_STREAMS: Final = 32
_PAGES: Final = 8
_CALLS: Final = 64


class Gate:
    """Lets in what fits; what does not is refused at once, not queued.

    Args:
        what: What is bounded, in words.
        most: How much fits.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._lock = threading.Lock()
        self.held = 0

    def take(self, amount: int, own: int = 0) -> None:
        """Hold an amount, beside what the caller holds already.

        Raises:
            ServerBusyError: If it does not fit beside what is held; alone, anything does.
        """
        with self._lock:
            if self.held > own and self.held + amount > self._most:
                raise ServerBusyError(
                    f"the server has too many {self._what} at work; the same request may succeed soon"
                )
            self.held += amount

    def give(self, amount: int) -> None:
        """Give an amount back."""
        with self._lock:
            self.held -= amount

    @contextmanager
    def through(self, amount: int = 1) -> Iterator[None]:
        """Hold an amount for a while.

        Raises:
            ServerBusyError: If it does not fit.
        """
        self.take(amount)
        try:
            yield
        finally:
            self.give(amount)


class Gates:
    """The gates of one server.

    Attributes:
        pending: Bytes of requests that were read and not yet answered.
        calls: Calls that read or write the store.
        streams: Answers of rows that are being sent.
        pages: Reports that are being drawn.
    """

    def __init__(self, limits: Limits) -> None:
        self.pending = Gate("requests", limits.pending_bytes)
        self.calls = Gate("calls", _CALLS)
        self.streams = Gate("answers", _STREAMS)
        self.pages = Gate("reports", _PAGES)
