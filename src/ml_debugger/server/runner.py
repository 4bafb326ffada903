"""Runs evaluations that wait in the database, each in a process of its own.

A process can be ended at any time, which a thread cannot; it can run out of memory without taking the server along; and
it leaves the server's interpreter free to answer.
"""

from __future__ import annotations

import datetime
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ml_debugger.errors import MLDebuggerError, StoreError
from ml_debugger.server.config import ServerConfig
from ml_debugger.server.logs import LOGGER
from ml_debugger.server.nursery import Ended, Nursery, job_fields
from ml_debugger.service.error_bodies import decode_error, encode_error
from ml_debugger.store.jobs import JobRow, Jobs

__all__ = ["JobRunner"]

SILENT: Final = datetime.timedelta(seconds=15)  # after so long without a heartbeat a server is gone
_IDLE: Final = 1.0
_STOP_SECONDS: Final = 20.0
_KEPT_SECONDS: Final = 300.0  # that a process with everything loaded waits for another evaluation


class JobRunner:
    """Takes jobs and runs them until it is stopped; what it could not finish waits for the next server.

    Args:
        jobs: Where they are kept.
        config: Of the server; its processes open the same workspace.
        without_places: Takes out of an error what clients should not see.
    """

    def __init__(
        self, jobs: Jobs, config: ServerConfig, without_places: Callable[[MLDebuggerError], MLDebuggerError]
    ) -> None:
        self._jobs = jobs
        self._config = config
        self._without_places = without_places
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._stopping = threading.Event()
        self._wake = threading.Condition()
        self._changes = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to take jobs."""
        for number in range(self._config.limits.job_workers):
            thread = threading.Thread(target=self._work, name=f"jobs-{number}", args=(f"{self._name}:{number}",))
            thread.daemon = True
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Look now: a job was added or cancelled."""
        with self._wake:
            self._changes += 1
            self._wake.notify_all()

    def stop(self) -> None:
        """Take no more; end what runs, and put it back."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def _work(self, runner: str) -> None:
        nursery: Nursery | None = None
        used, freed = time.monotonic(), -math.inf
        while not self._stopping.is_set():
            seen = self._changes
            if time.monotonic() - freed > SILENT.total_seconds():  # what servers left that did not end in order
                self._attempt("give back names", lambda: self._jobs.free_names(SILENT))
                freed = time.monotonic()
            job = self._attempt("take a job", lambda: self._jobs.take(runner, SILENT))
            if job is not None:
                if nursery is None or not nursery.is_alive():
                    nursery = Nursery(self._config)
                self._run(runner, job, nursery)
                used = time.monotonic()
                continue
            if nursery is not None and time.monotonic() - used > _KEPT_SECONDS:
                nursery.close()
                nursery = None
            with self._wake:
                if self._changes == seen:
                    self._wake.wait(_IDLE)
        if nursery is not None:
            nursery.close()

    def _run(self, runner: str, job: JobRow, nursery: Nursery) -> None:
        LOGGER.info("evaluation begins", extra={"fields": job_fields(job)})
        ended = nursery.run(job, lambda *told: self._report(runner, job, *told), self._stopping)
        if ended.stopped:
            self._attempt("put a job back", lambda: self._jobs.put_back(runner, job.job_id))
            LOGGER.info("evaluation put back", extra={"fields": job_fields(job)})
            return
        if ended.left:
            self._free_name(job)
            LOGGER.info("evaluation left", extra={"fields": job_fields(job)})
            return
        error = ended.error
        if error is not None:
            error = encode_error(self._without_places(decode_error({"error": error})))["error"]
        self._finish(runner, job, ended, error)
        self._free_name(job)

    def _free_name(self, job: JobRow) -> None:
        """Others may take the name that a process had reserved which was ended in the middle."""
        self._attempt("give back a name", lambda: self._jobs.free_names(datetime.timedelta(), job.job_id))

    def _finish(self, runner: str, job: JobRow, ended: Ended, error: Mapping[str, str] | None) -> None:
        """Record the end, as soon as the database can be written."""

        def record() -> bool:
            return self._jobs.finish(
                runner, job.job_id, result_name=ended.result_name, error=error, warnings=ended.warnings
            )

        while self._attempt("record the end of a job", record) is None:
            if self._stopping.wait(_IDLE):
                return
        fields = {**job_fields(job), "result_name": ended.result_name, "error": error}
        LOGGER.info("evaluation ended", extra={"fields": fields})

    def _report(self, runner: str, job: JobRow, stage: str | None, fraction: float | None) -> bool:
        """Say that a job is being run. False: it was cancelled, or another server has it."""
        found = self._attempt("report a job", lambda: self._jobs.report(runner, job.job_id, stage, fraction))
        return True if found is None else found

    def _attempt(self, doing: str, call: Callable[[], Any]) -> Any:
        """What a call gives; None where the database does not answer, which is logged and tried again."""
        try:
            return call()
        except StoreError as error:
            LOGGER.error("could not %s: %s", doing, error, extra={"fields": {"code": error.code}})
            self._stopping.wait(_IDLE)
            return None
