"""A buffer and one thread between recorders and storage; it knows neither, only an ``append`` callable."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping

import pyarrow as pa

from ml_debugger.errors import (
    LicenseError,
    MLDebuggerError,
    ServerError,
    ServiceConnectionError,
    SpoolWarning,
    StoreError,
    warn,
)
from ml_debugger.recording.at_exit import forget, remember
from ml_debugger.recording.waiting import Buffer, Sealed, Spool
from ml_debugger.service.contract import AppendRequest, ModelSchema, RunKey

__all__ = ["Writer"]

# Sealed buffers that may wait for the thread; then ``put`` waits for room. Bounds memory at (waiting + 1) buffers.
_WAITING = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# After these the same request may succeed later; any other error of ours means that it never will.
_PASSING = (StoreError, ServiceConnectionError, ServerError, LicenseError)


class Writer:
    """Collects whole inputs and hands them on in large appends, in the background.

    Rows leave memory only once their append has returned. A failed append is kept, tried again under the same batch id,
    and its error is raised by the next call. A normal end of the interpreter flushes; a crash loses at most the buffer.
    A forked child starts empty: rows that the parent has put are the parent's to store.

    With a spool, a failed append goes to disk instead, and with it all that follow until the server is back: memory
    stays bounded, and the program goes on. ``flush`` still returns only once everything is stored.

    Args:
        append: Stores a request for good before it returns; idempotent by batch id.
        run: Names of model and version.
        buffer_rows: Rows of the kind that has most of them (inputs, or their units) that start an append.
        buffer_bytes: Bytes that start an append.
        auto_sync: Append also when rows have waited for ``sync_seconds``.
        sync_seconds: See ``auto_sync``.
        spool: Where rows wait while a server is away. None: in memory.
    """

    def __init__(  # noqa: PLR0913
        self,
        append: Callable[[AppendRequest], None],
        run: RunKey,
        *,
        buffer_rows: int = 8192,
        buffer_bytes: int = 64 * 2**20,
        auto_sync: bool = False,
        sync_seconds: float = 5.0,
        spool: Spool | None = None,
    ) -> None:
        self._append = append
        self._run = run
        self._buffer_rows = buffer_rows
        self._buffer_bytes = buffer_bytes
        self._sync_seconds = sync_seconds if auto_sync else None
        self._spool = spool
        self._start_empty()

    def _start_empty(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()  # guards everything below
        self._committing = threading.Lock()  # one append at a time, in order
        self._buffer = Buffer()
        self._sealed: deque[Sealed] = deque()
        self._n_sealed = self._n_done = 0
        self._error: MLDebuggerError | None = None
        self._away: MLDebuggerError | None = None  # why rows wait on disk, as long as the user was not told
        self._is_away = False
        self._is_stuck = False  # rows that failed are in memory: there is no spool, or no room in it
        self._pause = _FIRST_PAUSE
        self._thread: threading.Thread | None = None

    @property
    def unsaved_rows(self) -> int:
        """Rows, of all kinds together, that are not stored yet."""
        with self._changed:
            return sum(item.n_rows for item in self._sealed) + self._buffer.all_rows

    @property
    def rows_on_disk(self) -> int:
        """Of these rows, those that wait on disk: the end of the process does not lose them."""
        with self._changed:
            return sum(item.n_rows for item in self._sealed if not item.is_in_memory)

    def put(self, schema: ModelSchema, tables: Mapping[str, pa.Table]) -> None:
        """Take whole inputs: tables by kind. Waits while too much is waiting to be stored.

        Warns:
            SpoolWarning: If rows wait on disk since the last call.

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
            remember(self)
            self._has_room()
            if self._sealed or self._sync_seconds is not None:
                self._start_thread()
            self._changed.notify_all()
            self._raise_error()
            away, self._away = self._away, None
        if away is not None:
            warn(f"{away}; meanwhile rows wait {self._where()}", SpoolWarning)

    def flush(self) -> None:
        """Return when everything put before is stored.

        Raises:
            StoreError: If it cannot be stored now; the rows are kept, call again when the cause is gone.
            ServiceConnectionError: If the server is away; with a spool, the rows wait on disk.
            MLDebuggerError: If the service refused rows for good; the message says why.
        """
        self._after_fork()
        with self._changed:
            self._seal()
            target = self._n_sealed
        try:
            self._store(target)
        except _PASSING as error:
            with self._changed:
                self._away = None  # told now
            if self._is_stuck:
                raise
            raise type(error)(f"{error}; {self.rows_on_disk} rows wait {self._where()}") from None
        with self._changed:
            self._raise_error()

    def close(self) -> None:
        """Flush. The writer may be used again."""
        self.flush()

    def _is_full(self) -> bool:
        return self._buffer.rows >= self._buffer_rows or self._buffer.bytes >= self._buffer_bytes

    def _has_room(self) -> bool:
        """Whether the buffer can take more; seals it when it is full and not too much is waiting."""
        if self._is_full() and self._n_in_memory() < _WAITING:
            self._seal()
        return not self._is_full()

    def _n_in_memory(self) -> int:
        return sum(item.is_in_memory for item in self._sealed)

    def _where(self) -> str:
        folder = None if self._spool is None else self._spool.folder
        return f"in {folder} and are sent when the server is back, by a later call or by `mldebugger sync`"

    def _wait_for_room(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise type(error)(f"this batch was not recorded, rows that wait fill the buffer: {error}") from error
        self._start_thread()
        self._changed.wait()

    def _seal(self) -> None:
        for schema, tables in self._buffer.groups():
            self._sealed.append(Sealed(AppendRequest(uuid.uuid4().hex, self._run, schema, tables)))
            self._n_sealed += 1
        self._buffer = Buffer()

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
                self._note_passing(error)
                self._back_off(error)
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

    def _note_passing(self, error: MLDebuggerError) -> None:
        """What is safe on disk is worth one warning; rows that are stuck in memory are an error of the next call."""
        with self._changed:
            if self._is_stuck:
                self._note(error)
            elif not self._is_away:
                self._away, self._is_away = error, True

    def _back_off(self, cause: MLDebuggerError) -> None:
        """Pause after a failure; ``flush`` does not wait for it. What is sealed meanwhile goes to disk."""
        with self._changed:
            deadline = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        may_spill = self._spool is not None
        while True:
            with self._changed:
                self._has_room()
                if not self._sealed or time.monotonic() >= deadline:
                    return
                if not (may_spill and self._n_in_memory()):
                    self._changed.wait(deadline - time.monotonic())
                    continue
            try:
                with self._committing:
                    self._spill()
            except StoreError as full:
                self._note(type(cause)(f"{cause}; {full}"))
                may_spill = False

    def _spill(self) -> None:
        """Move sealed requests to disk, the caller holding the right to commit."""
        self._is_stuck = True
        if self._spool is None:
            return
        with self._changed:
            items = list(self._sealed)
        for item in items:
            item.spill(self._spool)
        with self._changed:
            self._is_stuck = False
            self._changed.notify_all()  # there is room again

    def _store(self, target: int) -> None:
        """Store the sealed requests, oldest first, until ``target`` of all ever sealed are done."""
        while True:
            with self._committing:
                with self._changed:
                    if self._n_done >= target:
                        return
                    item = self._sealed[0]
                self._store_one(item)

    def _store_one(self, item: Sealed) -> None:
        try:
            request = item.load()
            if request is not None:
                self._append(request)
        except _PASSING as error:
            try:
                self._spill()
            except StoreError as full:
                raise type(error)(f"{error}; {full}") from None
            raise
        except MLDebuggerError as error:
            item.refuse(error)
            self._remove_first()  # refused for good: trying again would block all that follows
            raise
        item.discard()
        with self._changed:
            self._pause = _FIRST_PAUSE
            self._away, self._is_away, self._is_stuck = None, False, False
            if isinstance(self._error, _PASSING):
                self._error = None  # what had failed is stored now
            self._remove_first()

    def _remove_first(self) -> None:
        with self._changed:
            self._sealed.popleft()
            self._n_done += 1
            if not self._sealed and not self._buffer.rows:
                forget(self)
            self._changed.notify_all()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._start_empty()
