"""Errors and warnings as JSON, and back to the same classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ml_debugger import errors
from ml_debugger.errors import MLDebuggerError, MLDebuggerWarning, ServiceConnectionError

__all__ = ["ERRORS", "decode_error", "decode_warnings", "encode_error", "encode_warnings"]

ERRORS: Final[Mapping[str, type[MLDebuggerError]]] = {
    error.code: error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, MLDebuggerError)
}
"""Every error by its code: the client raises the class that the server raised."""

_WARNINGS: Final = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, MLDebuggerWarning)
}


def encode_error(error: MLDebuggerError) -> dict[str, Any]:
    """An error as JSON."""
    return {"error": {"code": error.code, "message": str(error)}}


def decode_error(body: Any) -> MLDebuggerError:
    """The error of a JSON answer; of an answer that is none of ours, a ServiceConnectionError."""
    found = body.get("error") if isinstance(body, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("message"), str):
        return ServiceConnectionError("the endpoint answered with an error that no server of MLdebugger gives")
    return ERRORS.get(str(found.get("code")), MLDebuggerError)(found["message"])


def encode_warnings(warnings: Sequence[MLDebuggerWarning]) -> list[dict[str, str]]:
    """Warnings as JSON."""
    return [{"category": type(warning).__name__, "message": str(warning)} for warning in warnings]


def decode_warnings(found: Iterable[Mapping[str, str]]) -> list[MLDebuggerWarning]:
    """Warnings of an answer; of a class that this version does not know, of the base class."""
    return [_WARNINGS.get(item["category"], MLDebuggerWarning)(item["message"]) for item in found]
