"""Every error and warning of MLdebugger, in one place.

    MLDebuggerError
    ├── InputError (ValueError)                  an argument, id, label or field that cannot be right
    │   ├── ConfigError                          a strategy, filter or setting that cannot be right
    │   └── TooLargeError                        a request beyond a limit of the server
    ├── CaptureError (RuntimeError)              the model ran, but what we need could not be read from it
    ├── ArchitectureMismatchError (ValueError)   another architecture, task or schema under a known model name
    ├── NotFoundError (LookupError)              no such model, run, result or column
    ├── EvaluationError (RuntimeError)           the labelled rows do not allow an evaluation
    │   └── EvaluationCancelledError             somebody cancelled it
    ├── StoreError (OSError)                     rows could not be written or read
    ├── LicenseError (PermissionError)           the server refused the key
    │   └── ScopeError                           the key is right, but may not do this
    ├── ServerError (RuntimeError)               the server met an error of its own
    └── ServiceConnectionError (ConnectionError) the endpoint does not answer, or cannot be used
        └── ServerBusyError                      the server asks to come again later

    MLDebuggerWarning (UserWarning)
    ├── ShortResultWarning     fewer ids than asked for
    ├── WeightsWarning         the weights differ from those traced
    ├── EpochWarning           two epochs where one was meant
    ├── NonFiniteWarning       the model gave NaN or infinite values
    ├── EvaluationWarning      the evaluation had to fall back, and says to what
    └── SpoolWarning           the server is away, and rows wait on disk

Each error carries ``code``, a stable short name for programs, and ``status``, the HTTP status that a server answers
with.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

__all__ = [
    "ArchitectureMismatchError",
    "CaptureError",
    "ConfigError",
    "EpochWarning",
    "EvaluationCancelledError",
    "EvaluationError",
    "EvaluationWarning",
    "InputError",
    "LicenseError",
    "MLDebuggerError",
    "MLDebuggerWarning",
    "NonFiniteWarning",
    "NotFoundError",
    "ScopeError",
    "ServerBusyError",
    "ServerError",
    "ServiceConnectionError",
    "ShortResultWarning",
    "SpoolWarning",
    "StoreError",
    "TooLargeError",
    "WeightsWarning",
]

_PACKAGE = __name__.partition(".")[0]


class MLDebuggerError(Exception):
    """Base of every error that MLdebugger raises on purpose."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500


class InputError(MLDebuggerError, ValueError):
    """An argument has the wrong type, shape or value."""

    code = "invalid_input"
    status = 422


class ConfigError(InputError):
    """A strategy, filter, option or setting is not valid; the message lists what is."""

    code = "invalid_config"


class TooLargeError(InputError):
    """A request is beyond a limit of the server; the message says which."""

    code = "too_large"
    status = 413


class CaptureError(MLDebuggerError, RuntimeError):
    """The model ran, but its logits or features could not be read; the message says what to pass."""

    code = "capture_failed"
    status = 422


class ArchitectureMismatchError(MLDebuggerError, ValueError):
    """A ``model_name`` was first used with another architecture, task or set of columns."""

    code = "architecture_mismatch"
    status = 409


class NotFoundError(MLDebuggerError, LookupError):
    """No such model, run, result, column or input."""

    code = "not_found"
    status = 404


class EvaluationError(MLDebuggerError, RuntimeError):
    """The labelled rows of a run do not allow an evaluation; the message says what is missing."""

    code = "evaluation_failed"
    status = 422


class EvaluationCancelledError(EvaluationError):
    """Somebody cancelled the evaluation."""

    code = "evaluation_cancelled"
    status = 409


class StoreError(MLDebuggerError, OSError):
    """Rows could not be written to or read from the workspace; unwritten rows are kept in memory."""

    code = "store_failed"
    status = 507


class LicenseError(MLDebuggerError, PermissionError):
    """The server refused the key: it is unknown, expired or revoked, or none was given."""

    code = "key_refused"
    status = 401


class ScopeError(LicenseError):
    """The key is right, but its scope does not allow this call."""

    code = "key_scope"
    status = 403


class ServerError(MLDebuggerError, RuntimeError):
    """The server met an error of its own; its log says more."""

    code = "server_failed"
    status = 500


class ServiceConnectionError(MLDebuggerError, ConnectionError):
    """Nobody answers at the configured endpoint, or not what a server of MLdebugger would."""

    code = "connection_failed"
    status = 502


class ServerBusyError(ServiceConnectionError):
    """The server has too much to do, or was asked too often; the same request may succeed later."""

    code = "server_busy"
    status = 503


class MLDebuggerWarning(UserWarning):
    """Base of every warning that MLdebugger gives."""


class ShortResultWarning(MLDebuggerWarning):
    """A query returned fewer ids than asked for; the message says why."""


class WeightsWarning(MLDebuggerWarning):
    """The model's weights differ from those that were traced or evaluated."""


class EpochWarning(MLDebuggerWarning):
    """An explicit epoch disagrees with the epoch of the evaluation result."""


class NonFiniteWarning(MLDebuggerWarning):
    """The model gave NaN or infinite logits or features; the message says how those rows are treated."""


class EvaluationWarning(MLDebuggerWarning):
    """An evaluation fell back to something simpler or left rows out; the message says what and why."""


class SpoolWarning(MLDebuggerWarning):
    """The server is away and rows wait on disk, or rows of an earlier program still do; the message says where."""


_collected: ContextVar[list[MLDebuggerWarning] | None] = ContextVar("collected warnings", default=None)


@contextmanager
def collect_warnings() -> Iterator[list[MLDebuggerWarning]]:
    """Collect what this thread would warn of, instead of giving it: a server passes it on to its client."""
    found: list[MLDebuggerWarning] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def warn(message: str, category: type[MLDebuggerWarning]) -> None:
    """Give a warning that points at the user's line: the nearest caller outside this package."""
    collected = _collected.get()
    if collected is not None:
        collected.append(category(message))
        return
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
