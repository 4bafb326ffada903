"""The process that evaluations are forked from, as the server sees it."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from ml_debugger.errors import EvaluationError, MLDebuggerError, ServerError
from ml_debugger.server.config import ServerConfig
from ml_debugger.server.logs import LOGGER
from ml_debugger.service.error_bodies import encode_error
from ml_debugger.store.jobs import JobRow

__all__ = ["Ended", "Nursery", "job_fields"]

HEARTBEAT: Final = 1.0
_END_SECONDS: Final = 5.0
_LAST_LINES: Final = 20


@dataclass(slots=True)
class Ended:
    """How an evaluation ended: with a result or an error; ``left`` to another server, or ``stopped`` with this one."""

    result_name: str | None = None
    error: Mapping[str, str] | None = None
    warnings: tuple[Mapping[str, str], ...] = ()
    left: bool = False
    stopped: bool = False


class Nursery:
    """One evaluation at a time, each in a process of its own.

    Args:
        config: Of the server; the processes open the same workspace.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last_words: deque[str] = deque(maxlen=_LAST_LINES)
        command = [sys.executable, "-m", "ml_debugger.server.job_process"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def is_alive(self) -> bool:
        """Whether it can carry out another evaluation."""
        return self._process.poll() is None

    def run(self, job: JobRow, report: Callable[[str | None, float | None], bool], stopping: threading.Event) -> Ended:
        """Carry out an evaluation.

        Args:
            job: Which.
            report: Called with stage and fraction, or at least every second with None; says whether to go on.
            stopping: Set when the server stops.
        """
        self._last_words.clear()
        order = {
            "location": self._config.location,
            "database_url": self._config.database_url,
            "organisation": job.organisation,
            "job_id": job.job_id,
            "request": dict(job.request),
        }
        self._send(order)
        last: dict[str, Any] | None = None
        while not stopping.is_set():
            line = self._next(HEARTBEAT)
            if line is None or "status" in line:
                return self._conclude(job, last, None if line is None else line["status"])
            if "warnings" in line:
                last = line
            elif not report(line.get("stage"), line.get("fraction")):
                self._end_fork()
                return Ended(left=True)
        self._end_fork()
        return Ended(stopped=True)

    def close(self) -> None:
        """End it, and what it runs."""
        self._process.kill()  # a fork notices by itself
        self._process.wait()
        for reader in self._readers:
            reader.join(_END_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                _close(stream)

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """The next line; an empty one where none came in time, None where none will come."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return {}

    def _end_fork(self) -> None:
        """Returns when the evaluation has ended: a name that it had reserved can then be taken by others."""
        self._send({"end": True})
        while (line := self._next(_END_SECONDS)) is not None and "status" not in line:
            if not line:
                LOGGER.error("the process of an evaluation did not end")
                self.close()

    def _conclude(self, job: JobRow, last: dict[str, Any] | None, status: int | None) -> Ended:
        if last is not None:
            return Ended(last["result_name"], last["error"], tuple(last["warnings"]))
        status = self._process.wait() if status is None else status
        LOGGER.error(
            "the process of an evaluation ended without a result",
            extra={"fields": {**job_fields(job), "status": status, "last_words": list(self._last_words)}},
        )
        if status < 0:
            why: MLDebuggerError = EvaluationError(
                f"the process of the evaluation was ended from outside ({signal.Signals(-status).name}): most likely "
                "the machine's memory did not suffice; free some, or evaluate fewer rows, then request it again"
            )
        else:
            why = ServerError("the process of the evaluation ended without a result; the server's log has more")
        return Ended(error=encode_error(why)["error"])

    def _send(self, order: Mapping[str, Any]) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(f"{json.dumps(order)}\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                LOGGER.error("the process of evaluations is gone")

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            self._last_words.append(line.rstrip())


def job_fields(job: JobRow) -> dict[str, Any]:
    """What a log says of a job."""
    return {"job": job.job_id, "organisation": job.organisation, "attempt": job.attempts}


def _close(stream: IO[str]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        LOGGER.debug("the process was gone before its input was closed")
