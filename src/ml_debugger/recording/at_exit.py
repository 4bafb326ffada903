"""What becomes of unsaved rows when the process ends: every writer is flushed, and what is lost is told."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import sys
import threading
from contextlib import ExitStack
from typing import Any, Final, Protocol, TextIO, cast

from ml_debugger.errors import MLDebuggerError, StoreError

__all__ = ["LOST_ROWS", "Unsaved", "flush_all", "forget", "remember"]


class Unsaved(Protocol):
    """A writer that has rows which are not stored yet."""

    @property
    def unsaved_rows(self) -> int:
        """Rows that are not stored yet."""

    @property
    def rows_on_disk(self) -> int:
        """Of these, those that wait on disk."""

    def flush(self) -> None:
        """Return when all are stored."""


# Writers with unsaved rows are kept alive until the interpreter ends, whatever becomes of their tracers.
_unsaved: set[Unsaved] = set()
_unsaved_lock = threading.Lock()
_watched_pid: int | None = None
# Exit status of a process whose rows could not be stored when it ended.
LOST_ROWS: Final = 120
_lost_rows = False


def remember(writer: Unsaved) -> None:
    """Flush this writer when the interpreter ends, and keep it alive until then."""
    global _watched_pid  # noqa: PLW0603 - one exit handler per process
    with _unsaved_lock:
        _unsaved.add(writer)
        if _watched_pid != os.getpid():
            _watched_pid = os.getpid()
            atexit.register(_end)
            # children of multiprocessing may end without running atexit handlers
            multiprocessing.util.Finalize(None, _end, exitpriority=0)
            multiprocessing.util.Finalize(None, _end_child, exitpriority=-1000)  # after all others


def forget(writer: Unsaved) -> None:
    """This writer has nothing left to store."""
    with _unsaved_lock:
        _unsaved.discard(writer)


def flush_all(kept: list[str] | None = None) -> None:
    """Flush every writer of this process.

    Args:
        kept: What to say of rows that could not be stored but wait on disk is added to it. None: that is a failure too.

    Raises:
        StoreError: If rows could not be stored; every writer was tried.
    """
    with _unsaved_lock:
        writers = list(_unsaved)
    failures: list[str] = []
    with ExitStack() as steps:  # every step is taken, last in first out, whatever the others raise
        steps.callback(_tell, failures)
        for writer in writers:
            steps.callback(_flush_one, writer, failures, kept)


def _flush_one(writer: Unsaved, failures: list[str], kept: list[str] | None) -> None:
    try:
        writer.flush()
    except MLDebuggerError as error:
        if kept is not None and writer.unsaved_rows and writer.unsaved_rows == writer.rows_on_disk:
            kept.append(str(error))
            return
        failures.append(f"{writer.unsaved_rows} rows are not stored: {error}")


def _tell(failures: list[str]) -> None:
    if failures:
        raise StoreError("; ".join(failures))


def _end() -> None:
    """Flush when the interpreter ends; what is lost is told once, and by the exit status."""
    global _lost_rows  # noqa: PLW0603 - one exit status per process
    stored = False
    kept: list[str] = []
    try:
        flush_all(kept)
        stored = True
    except StoreError as error:
        if error.__context__ is not None or sys.stderr is None:
            raise  # another error is behind it: Python prints both
        sys.stderr.write(f"ml_debugger.errors.StoreError: the process ends and rows are lost: {error}\n")
    finally:
        if kept and sys.stderr is not None:
            sys.stderr.write(
                "".join(f"ml_debugger: the process ends before its rows are stored: {text}\n" for text in kept)
            )
            with _unsaved_lock:
                _unsaved.clear()
        if not stored:
            _lost_rows = True
            with _unsaved_lock:
                _unsaved.clear()  # this may be called again, by atexit after multiprocessing or the other way round
            if sys.stderr is not None:
                sys.stderr = cast(TextIO, _FailingStream(sys.stderr))


class _FailingStream:
    """A stream that the interpreter cannot flush when it ends, which makes its exit status 120.

    That is Python's own way of telling that buffered data was lost (see ``sys.exit``), and unlike ``os._exit`` it lets
    the exit handlers of others run. Flushing by any Python code works.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        self._stream.flush()
        try:
            sys._getframe(1)
        except ValueError:  # called by no Python code
            raise StoreError("rows were lost") from None


def _end_child() -> None:
    """The same exit status for a child of multiprocessing that ends without finalising the interpreter."""
    if _lost_rows and multiprocessing.parent_process() is not None and sys.exception() is None:
        raise SystemExit(LOST_ROWS)


def _forget_parent() -> None:
    global _unsaved_lock, _lost_rows  # noqa: PLW0603 - the parent may have held it while forking
    _unsaved_lock = threading.Lock()
    _unsaved.clear()
    _lost_rows = False


os.register_at_fork(after_in_child=_forget_parent)
