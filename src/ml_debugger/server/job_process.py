"""The processes of evaluations: one that has everything loaded, and a fork of it for each evaluation.

Loading takes seconds of processor time, forking none. The one that is forked is a single thread and has opened nothing,
so nothing is shared with a fork but code. It reads orders from standard input, one JSON object a line, and
everything that is told goes to standard output: ``{"stage", "fraction"}`` and ``{"result_name", "error", "warnings"}``
by the fork, ``{"status"}`` by the other when the fork has ended. When the server goes, standard input is closed, and
both end.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import IO, Any, Final

__all__ = ["main"]

_NICER: Final = 5  # those who wait for an answer come first
_ORPHANED: Final = 3
_LOADED: Final = (
    "ml_debugger.connect",
    "ml_debugger.service.evaluation",
    "ml_debugger.service.local",
    "ml_debugger.service.wire",
    "ml_debugger.store",
    "ml_debugger.tasks",
)
_WAIT: Final = 0.1


def main() -> None:
    """Load everything, then fork a process for each order."""
    os.nice(_NICER)
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is not for the server
    for name in _LOADED:
        importlib.import_module(name)
    _Orders(told).serve()


class _Orders:
    """Orders of a server: an evaluation to carry out, or to end."""

    def __init__(self, told: IO[str]) -> None:
        self._told = told
        self._rest = b""
        self._fork: int | None = None

    def serve(self) -> None:
        """Until the server is gone."""
        while True:
            ready, _, _ = select.select([sys.stdin], [], [], None if self._fork is None else _WAIT)
            if ready:
                content = os.read(sys.stdin.fileno(), 65_536)
                if not content:
                    self._end()
                    return
                *lines, self._rest = (self._rest + content).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
            self._look()

    def _take(self, order: dict[str, Any]) -> None:
        if "end" in order:
            self._end()
            return
        parent, pid = os.getpid(), os.fork()
        if pid:
            self._fork = pid
            return
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        _carry_out(order, self._told)
        sys.exit()

    def _look(self) -> None:
        """Whether the fork has ended."""
        if self._fork is not None:
            pid, status = os.waitpid(self._fork, os.WNOHANG)
            if pid:
                self._fork = None
                _tell(self._told, status=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        if self._fork is not None:
            os.kill(self._fork, signal.SIGKILL)


def _carry_out(order: dict[str, Any], told: IO[str]) -> None:
    from ml_debugger.errors import collect_warnings
    from ml_debugger.service.error_bodies import encode_warnings

    with collect_warnings() as warnings:
        name, error = _evaluate(order, told)
    _tell(told, result_name=name, error=error, warnings=encode_warnings(warnings))


def _evaluate(order: dict[str, Any], told: IO[str]) -> tuple[str | None, dict[str, str] | None]:
    """Name of the result, or why there is none."""
    from ml_debugger.connect import serve_workspace
    from ml_debugger.errors import MLDebuggerError, ServerError
    from ml_debugger.service.bodies import EvaluationBody, parse_body
    from ml_debugger.service.error_bodies import encode_error
    from ml_debugger.service.wire import decode_evaluation
    from ml_debugger.store import open_store

    try:
        service = serve_workspace(open_store(order["location"], order["database_url"]).of(order["organisation"]))
        request = decode_evaluation(parse_body(EvaluationBody, order["request"]))
        payload = service.evaluate(
            request, lambda stage, done: _tell(told, stage=stage, fraction=done), claimant=order["job_id"]
        )
    except MLDebuggerError as error:
        return None, encode_error(error)["error"]
    except Exception:  # noqa: BLE001 - whatever it was, the client is told that it was not its fault
        import traceback

        traceback.print_exc()
        own = ServerError("the evaluation met an error of the server's own; its log has more")
        return None, encode_error(own)["error"]
    return str(payload.info["result_name"]), None


def _tell(told: IO[str], **line: Any) -> None:
    told.write(f"{json.dumps(line)}\n")
    told.flush()


def _end_with(parent: int) -> None:
    """Without the server nobody waits for the result; the job is run again by the next."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(_ORPHANED)


if __name__ == "__main__":
    main()
