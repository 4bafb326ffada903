"""What the OpenAPI description says of bodies and answers that are read and written by hand."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from ml_debugger.service.bodies import SelectorBody
from ml_debugger.service.wire import BYTES, FRAMES, JSON, ROWS

__all__ = [
    "BYTES_ANSWER",
    "FRAMED",
    "SELECTOR",
    "answers",
    "framed_body",
    "json_answer",
    "json_body",
    "parameter",
    "rows_of",
]

FRAMED: Final = "recording_ids"
BYTES_ANSWER: Final = {"description": "An error model.", "content": {BYTES: {"schema": {"type": "string"}}}}

_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_STATUSES: Final = {
    400: "The request is not HTTP as it should be.",
    401: "No key, or one that is refused.",
    403: "The key's scope does not allow this.",
    404: "There is no such thing in the key's organisation.",
    409: "The model's name belongs to another architecture, task or set of columns; or the evaluation was cancelled.",
    413: "Beyond a limit of the server.",
    422: "Something in the request cannot be right; the message says what.",
    429: "Too many refused keys from this address.",
    500: "The server met an error of its own.",
    503: "Too much to do; come again.",
    507: "Rows could not be written or read.",
}


def answers(done: dict[str, Any], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Descriptions of the answer, and of every error."""
    errors: dict[int | str, dict[str, Any]] = {
        code: {"description": text, "content": {JSON: {"schema": _ERROR}}} for code, text in _STATUSES.items()
    }
    return {status: done, **errors}


def json_answer(model: type[BaseModel], what: str) -> dict[str, Any]:
    """An answer of JSON."""
    return {"description": what, "content": {JSON: {"schema": schema_of(model)}}}


def rows_of(what: str) -> dict[str, Any]:
    """An answer of rows."""
    return {"description": what, "content": {ROWS: {"schema": {"type": "string", "format": "binary"}}}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """A body of JSON, read by hand."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema_of(model)}}}}


def framed_body(model: type[BaseModel] | None, parts: str) -> dict[str, Any]:
    """A framed body: its header is described, its parts are Arrow IPC streams."""
    schema: dict[str, Any] = {
        "type": "string",
        "format": "binary",
        "description": f"Frames (see the guide): a JSON header, and Arrow IPC streams: {parts}.",
    }
    if model is not None:
        schema["x-header"] = schema_of(model)
    return {"requestBody": {"required": True, "content": {FRAMES: {"schema": schema}}}}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a model, with everything that it refers to written out in its place."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def written_out(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return written_out(definitions[value["$ref"].rpartition("/")[2]])
            return {name: written_out(item) for name, item in value.items()}
        return [written_out(item) for item in value] if isinstance(value, list) else value

    found: dict[str, Any] = written_out(schema)
    return found


def parameter(name: str, text: str) -> dict[str, Any]:
    """A parameter of an address, read by hand."""
    limits = {"type": "string", "maxLength": 1024}
    return {"name": name, "in": "query", "required": False, "schema": limits, "description": text}


_TEXTS: Final = {
    "model_name": "Name of the model.",
    "version_name": "Version of the model.",
    "result_name": "Name of the result.",
    "method_name": "Evaluation method.",
    "n_epoch": "A number, latest (default), all, or none for rows without one.",
}
SELECTOR: Final = {"parameters": [parameter(name, _TEXTS[name]) for name in SelectorBody.model_fields]}
