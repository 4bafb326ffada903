"""The process of one evaluation. Reads what to do from standard input, writes lines of JSON to standard output.

It ends by itself when the server does: then its standard input is closed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import IO, Any, Final

from ml_debugger.connect import serve_workspace
from ml_debugger.errors import MLDebuggerError, ServerError, collect_warnings
from ml_debugger.service.bodies import EvaluationBody, parse_body
from ml_debugger.service.error_bodies import encode_error, encode_warnings
from ml_debugger.service.wire import decode_evaluation
from ml_debugger.store import open_store

__all__ = ["main"]

_NICER: Final = 5  # those who wait for an answer come first
_ORPHANED: Final = 3


def main() -> None:
    """Carry out the evaluation that standard input asks for."""
    os.nice(_NICER)
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is not for the server
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_server, args=(sys.stdin,), daemon=True).start()
    with collect_warnings() as warnings:
        name, error = _evaluate(order, told)
    _tell(told, result_name=name, error=error, warnings=encode_warnings(warnings))


def _evaluate(order: dict[str, Any], told: IO[str]) -> tuple[str | None, dict[str, str] | None]:
    """Name of the result, or why there is none."""
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


def _end_with_server(stdin: IO[str]) -> None:
    """Without a server nobody wants the result; the job is run again by the next."""
    stdin.read()
    os._exit(_ORPHANED)


if __name__ == "__main__":
    main()
