"""A buffer and one thread between recorders and storage; it knows neither, only an ``append`` callable."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from typing import Any, Final, TextIO, cast

import pyarrow as pa

from ml_debugger.errors import MLDebuggerError, ServiceConnectionError, StoreError
from ml_debugger.service.contract import AppendRequest, ModelSchema, RunKey

__all__ = ["Writer", "flush_all"]

# Sealed buffers that may wait for the thread; then ``put`` waits for room. Bounds memory at (waiting + 1) buffers.
_WAITING = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# After these the same request may succeed later; any other error of ours means that it never will.
_PASSING = (StoreError, ServiceConnectionError)


class Writer:
    """Collects whole inputs and hands them on in large appends, in the background.

    Rows leave memory only once their append has returned. A failed append is kept, tried again under the same batch id,
    and its error is raised by the next call. A normal end of the interpreter flushes; a crash loses at most the buffer.
    A forked child starts empty: rows that the parent has put are the parent's to store.

    Args:
        append: Stores a request for good before it returns; idempotent by batch id.
        run: Names of model and version.
        buffer_rows: Rows of the kind that has most of them (inputs, or their units) that start an append.
        buffer_bytes: Bytes that start an append.
        auto_sync: Append also when rows have waited for ``sync_seconds``.
        sync_seconds: See ``auto_sync``.
    """

    def __init__(
        self,
        append: Callable[[AppendRequest], None],
        run: RunKey,
        *,
        buffer_rows: int = 8192,
        buffer_bytes: int = 64 * 2**20,
        auto_sync: bool = False,
        sync_seconds: float = 5.0,
    ) -> None:
        self._append = append
        self._run = run
        self._buffer_rows = buffer_rows
        self._buffer_bytes = buffer_bytes
        self._sync_seconds = sync_seconds if auto_sync else None
        self._start_empty()

    def _start_empty(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()  # guards everything below
        self._committing = threading.Lock()  # one append at a time, in order
        self._buffer = _Buffer()
        self._sealed: deque[AppendRequest] = deque()
        self._n_sealed = self._n_done = 0
        self._error: MLDebuggerError | None = None
        self._pause = _FIRST_PAUSE
        self._thread: threading.Thread | None = None

    @property
    def unsaved_rows(self) -> int:
        """Rows, of all kinds together, that are not stored yet."""
        with self._changed:
            waiting: int = sum(table.num_rows for request in self._sealed for table in request.tables.values())
            return waiting + self._buffer.all_rows

    def put(self, schema: ModelSchema, tables: Mapping[str, pa.Table]) -> None:
        """Take whole inputs: tables by kind. Waits while too much is waiting to be stored.

        Raises:
            StoreError: If an earlier append failed. These rows were taken all the same, and all are tried again, unless
                the message says that this batch was not recorded, there being no room left.
            MLDebuggerError: If the service refused earlier rows for good; the message says why.
        """
        self._after_fork()
        with self._changed:
            while not self._has_room():
                self._wait_for_room()
            self._buffer.add(schema, tables)
            _remember(self)
            self._has_room()
            if self._sealed or self._sync_seconds is not None:
                self._start_thread()
            self._changed.notify_all()
            self._raise_error()

    def flush(self) -> None:
        """Return when everything put before is stored.

        Raises:
            StoreError: If it cannot be stored now; the rows are kept, call again when the cause is gone.
            MLDebuggerError: If the service refused rows for good; the message says why.
        """
        self._after_fork()
        with self._changed:
            self._seal()
            target = self._n_sealed
        self._store(target)
        with self._changed:
            self._raise_error()

    def close(self) -> None:
        """Flush. The writer may be used again."""
        self.flush()

    def _is_full(self) -> bool:
        return self._buffer.rows >= self._buffer_rows or self._buffer.bytes >= self._buffer_bytes

    def _has_room(self) -> bool:
        """Whether the buffer can take more; seals it when it is full and not too much is waiting."""
        if self._is_full() and len(self._sealed) < _WAITING:
            self._seal()
        return not self._is_full()

    def _wait_for_room(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise type(error)(f"this batch was not recorded, rows that wait fill the buffer: {error}") from error
        self._start_thread()
        self._changed.wait()

    def _seal(self) -> None:
        for schema, tables in self._buffer.groups():
            self._sealed.append(AppendRequest(uuid.uuid4().hex, self._run, schema, tables))
            self._n_sealed += 1
        self._buffer = _Buffer()

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run_thread, name="ml-debugger-writer", daemon=True)
            self._thread.start()

    def _run_thread(self) -> None:
        finished = False
        try:
            self._work()
            finished = True
        finally:
            if not finished:  # threading prints the error
                self._note(StoreError("the thread that stores rows met an unexpected error; the rows are kept"))

    def _work(self) -> None:
        """Store what is sealed until there is nothing to wait for; the next ``put`` starts it again."""
        while True:
            with self._changed:
                self._has_room()
                if not self._sealed and not self._wait_until_due():
                    self._thread = None
                    return
                target = self._n_sealed
            try:
                self._store(target)
            except _PASSING as error:
                self._note(error)
                self._back_off()
            except MLDebuggerError as error:
                self._note(error)

    def _wait_until_due(self) -> bool:
        """With ``auto_sync``, wait until the buffer is old enough, and seal it. False: nothing to wait for."""
        while self._sync_seconds is not None and self._buffer.rows and not self._sealed:
            left = self._buffer.since + self._sync_seconds - time.monotonic()
            if left <= 0:
                self._seal()
            else:
                self._changed.wait(left)
        return bool(self._sealed)

    def _note(self, error: MLDebuggerError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _back_off(self) -> None:
        """Pause after a failure; ``flush`` does not wait for it."""
        with self._changed:
            deadline = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            while self._sealed and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())

    def _store(self, target: int) -> None:
        """Store the sealed requests, oldest first, until ``target`` of all ever sealed are done."""
        while True:
            with self._committing:
                with self._changed:
                    if self._n_done >= target:
                        return
                    request = self._sealed[0]
                self._store_one(request)

    def _store_one(self, request: AppendRequest) -> None:
        try:
            self._append(request)
        except _PASSING:
            raise
        except MLDebuggerError:
            self._remove_first()  # refused for good: trying again would block all that follows
            raise
        with self._changed:
            self._pause = _FIRST_PAUSE
            if isinstance(self._error, _PASSING):
                self._error = None  # what had failed is stored now
            self._remove_first()

    def _remove_first(self) -> None:
        with self._changed:
            self._sealed.popleft()
            self._n_done += 1
            if not self._sealed and not self._buffer.rows:
                _forget(self)
            self._changed.notify_all()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._start_empty()


class _Buffer:
    """Rows that wait to become an append."""

    def __init__(self) -> None:
        self.rows = 0  # of the most numerous kind of each batch
        self.all_rows = 0
        self.bytes = 0
        self.since = time.monotonic()
        self._parts: list[tuple[ModelSchema, Mapping[str, pa.Table]]] = []

    def add(self, schema: ModelSchema, tables: Mapping[str, pa.Table]) -> None:
        if not self._parts:
            self.since = time.monotonic()
        self._parts.append((schema, tables))
        self.rows += max((table.num_rows for table in tables.values()), default=0)
        self.all_rows += sum(table.num_rows for table in tables.values())
        self.bytes += sum(table.get_total_buffer_size() for table in tables.values())  # far cheaper than nbytes

    def groups(self) -> Iterator[tuple[ModelSchema, dict[str, pa.Table]]]:
        """One set of tables for each stretch of equal schemas."""
        for schema, parts in groupby(self._parts, key=lambda part: part[0]):
            by_kind: dict[str, list[pa.Table]] = {}
            for _, tables in parts:
                for kind, table in tables.items():
                    by_kind.setdefault(kind, []).append(table)
            yield schema, {kind: pa.concat_tables(tables) for kind, tables in by_kind.items()}


# Writers with unsaved rows are kept alive until the interpreter ends, whatever becomes of their tracers.
_unsaved: set[Writer] = set()
_unsaved_lock = threading.Lock()
_watched_pid: int | None = None
# Exit status of a process whose rows could not be stored when it ended.
LOST_ROWS: Final = 120
_lost_rows = False


def _remember(writer: Writer) -> None:
    global _watched_pid  # noqa: PLW0603 - one exit handler per process
    with _unsaved_lock:
        _unsaved.add(writer)
        if _watched_pid != os.getpid():
            _watched_pid = os.getpid()
            atexit.register(_end)
            # children of multiprocessing may end without running atexit handlers
            multiprocessing.util.Finalize(None, _end, exitpriority=0)
            multiprocessing.util.Finalize(None, _end_child, exitpriority=-1000)  # after all others


def _forget(writer: Writer) -> None:
    with _unsaved_lock:
        _unsaved.discard(writer)


def flush_all() -> None:
    """Flush every writer of this process.

    Raises:
        StoreError: If rows could not be stored; every writer was tried.
    """
    with _unsaved_lock:
        writers = list(_unsaved)
    failures: list[str] = []
    with ExitStack() as steps:  # every step is taken, last in first out, whatever the others raise
        steps.callback(_tell, failures)
        for writer in writers:
            steps.callback(_flush_one, writer, failures)


def _flush_one(writer: Writer, failures: list[str]) -> None:
    try:
        writer.flush()
    except MLDebuggerError as error:
        failures.append(f"{writer.unsaved_rows} rows are not stored: {error}")


def _tell(failures: list[str]) -> None:
    if failures:
        raise StoreError("; ".join(failures))


def _end() -> None:
    """Flush when the interpreter ends; what is lost is told once, and by the exit status."""
    global _lost_rows  # noqa: PLW0603 - one exit status per process
    stored = False
    try:
        flush_all()
        stored = True
    except StoreError as error:
        if error.__context__ is not None or sys.stderr is None:
            raise  # another error is behind it: Python prints both
        sys.stderr.write(f"ml_debugger.errors.StoreError: the process ends and rows are lost: {error}\n")
    finally:
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
