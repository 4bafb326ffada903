"""Runs evaluations that wait in the database, each in a process of its own.

A process can be ended at any time, which a thread cannot; it can run out of memory without taking the server along; and
it leaves the server's interpreter free to answer.
"""

from __future__ import annotations

import datetime
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from ml_debugger.errors import EvaluationError, MLDebuggerError, ServerError, StoreError
from ml_debugger.server.config import ServerConfig
from ml_debugger.server.logs import LOGGER
from ml_debugger.service.error_bodies import decode_error, encode_error
from ml_debugger.store.jobs import JobRow, Jobs

__all__ = ["JobRunner"]

HEARTBEAT: Final = 1.0
SILENT: Final = datetime.timedelta(seconds=15)  # after so long without a heartbeat a server is gone
_IDLE: Final = 1.0
_STOP_SECONDS: Final = 20.0
_LAST_LINES: Final = 20


@dataclass(slots=True)
class _Ended:
    """How the process of a job ended: with a result, an error, or (``lost``) without a word that counts."""

    result_name: str | None = None
    error: Mapping[str, str] | None = None
    warnings: tuple[Mapping[str, str], ...] = ()
    lost: bool = False
    stopped: bool = False


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
        while not self._stopping.is_set():
            seen = self._changes
            job = self._attempt("take a job", lambda: self._jobs.take(runner, SILENT))
            if job is not None:
                self._run(runner, job)
                continue
            with self._wake:
                if self._changes == seen:
                    self._wake.wait(_IDLE)

    def _run(self, runner: str, job: JobRow) -> None:
        LOGGER.info("evaluation begins", extra={"fields": _fields(job)})
        ended = _Process(job, self._config).watch(lambda *told: self._report(runner, job, *told), self._stopping)
        if ended.stopped:
            self._attempt("put a job back", lambda: self._jobs.put_back(runner, job.job_id))
            LOGGER.info("evaluation put back", extra={"fields": _fields(job)})
            return
        if ended.lost:
            LOGGER.info("evaluation left", extra={"fields": _fields(job)})
            return
        error = ended.error
        if error is not None:
            error = encode_error(self._without_places(decode_error({"error": error})))["error"]
        self._finish(runner, job, ended, error)

    def _finish(self, runner: str, job: JobRow, ended: _Ended, error: Mapping[str, str] | None) -> None:
        """Record the end, as soon as the database can be written."""

        def record() -> bool:
            return self._jobs.finish(
                runner, job.job_id, result_name=ended.result_name, error=error, warnings=ended.warnings
            )

        while self._attempt("record the end of a job", record) is None:
            if self._stopping.wait(_IDLE):
                return
        fields = {**_fields(job), "result_name": ended.result_name, "error": error}
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


class _Process:
    """The process of one job: told what to do over its standard input, tells how far it is over its output."""

    def __init__(self, job: JobRow, config: ServerConfig) -> None:
        self._job = job
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last_words: deque[str] = deque(maxlen=_LAST_LINES)
        command = [sys.executable, "-m", "ml_debugger.server.job_process"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        order = {
            "location": config.location,
            "database_url": config.database_url,
            "organisation": job.organisation,
            "job_id": job.job_id,
            "request": dict(job.request),
        }
        self._send(json.dumps(order))
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def watch(self, report: Callable[[str | None, float | None], bool], stopping: threading.Event) -> _Ended:
        """Wait for the end; ``report`` is called with the stage and fraction, and says whether to go on."""
        last: dict[str, Any] | None = None
        try:
            while not stopping.is_set():
                try:
                    line = self._lines.get(timeout=HEARTBEAT)
                except queue.Empty:
                    line = {}
                if line is None:
                    return self._conclude(last)
                if "stage" not in line and line:
                    last = line
                elif not report(line.get("stage"), line.get("fraction")):
                    return _Ended(lost=True)
            return _Ended(stopped=True)
        finally:
            self._end()

    def _conclude(self, last: dict[str, Any] | None) -> _Ended:
        status = self._process.wait()
        if last is not None:
            return _Ended(last["result_name"], last["error"], tuple(last["warnings"]))
        LOGGER.error(
            "the process of an evaluation ended without a result",
            extra={"fields": {**_fields(self._job), "status": status, "last_words": list(self._last_words)}},
        )
        if status < 0:
            name = signal.Signals(-status).name
            why: MLDebuggerError = EvaluationError(
                f"the process of the evaluation was ended from outside ({name}): most likely the machine's memory did "
                "not suffice; free some, or evaluate fewer rows, then request the evaluation again"
            )
        else:
            why = ServerError("the process of the evaluation ended without a result; the server's log has more")
        return _Ended(error=encode_error(why)["error"])

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                _close(stream)

    def _send(self, line: str) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                LOGGER.error("the process of an evaluation did not start", extra={"fields": _fields(self._job)})

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            self._last_words.append(line.rstrip())


def _close(stream: IO[str]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        LOGGER.debug("the process was gone before its input was closed")


def _fields(job: JobRow) -> dict[str, Any]:
    return {"job": job.job_id, "organisation": job.organisation, "attempt": job.attempts}
