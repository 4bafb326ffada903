"""How the calls of the service travel over HTTP: routes, framed tables, streamed rows and errors.

Rows are Arrow IPC streams, compressed with zstd; the rest is JSON (``service.bodies``). A body that holds several
tables, or tables beside JSON, is *framed*:

    4 bytes   b"MLD1"
    4 bytes   length of the header, unsigned, little-endian
    header    JSON: {"header": ..., "parts": [[name, length], ...]}
    parts     one after the other, in this order; nothing follows

Rows that are streamed (of a scan) are one Arrow IPC stream that ends in an empty batch whose metadata
has ``mldebugger.end``: JSON with the number of rows before it, warnings, or the error that ended them early. Without
that batch the answer was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import pyarrow as pa

from ml_debugger.errors import InputError, MLDebuggerWarning
from ml_debugger.service.arrow_bounds import Allowance
from ml_debugger.service.bodies import (
    AppendHeader,
    EvaluationBody,
    QueryAnswerBody,
    QueryBody,
    ScanBody,
    SchemaBody,
    parse_body,
)
from ml_debugger.service.checksums import RESULT_TABLES
from ml_debugger.service.contract import (
    AppendRequest,
    EvaluationRequest,
    ModelSchema,
    QueryAnswer,
    QueryRequest,
    ResultPayload,
    RunKey,
    ScanRequest,
)
from ml_debugger.service.error_bodies import decode_error, decode_warnings, encode_error, encode_warnings
from ml_debugger.service.frames import FRAMES, decode_table, encode_table, pack, unpack
from ml_debugger.service.row_stream import decode_rows, encode_rows
from ml_debugger.types import Epoch, Field

__all__ = [
    "BYTES",
    "FRAMES",
    "JSON",
    "ROWS",
    "decode_answer",
    "decode_append",
    "decode_epoch",
    "decode_error",
    "decode_evaluation",
    "decode_query",
    "decode_recordings",
    "decode_result",
    "decode_results",
    "decode_rows",
    "decode_scan",
    "decode_schema",
    "decode_table",
    "decode_warnings",
    "encode_answer",
    "encode_append",
    "encode_epoch",
    "encode_error",
    "encode_evaluation",
    "encode_query",
    "encode_result",
    "encode_results",
    "encode_rows",
    "encode_scan",
    "encode_schema",
    "encode_table",
    "encode_warnings",
    "pack",
    "result_of",
    "result_parts",
    "unpack",
]

ROWS: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"

# Paths below the endpoint.
KEY: Final = "/v1/key"  # GET: KeyBody, what the key may do
APPEND: Final = "/v1/append"  # POST framed AppendRequest: {"batch_id": ...}
SCAN: Final = "/v1/scan"  # POST framed ScanRequest: rows
EVALUATE: Final = "/v1/evaluate"  # POST EvaluationBody: 202 and JobBody
JOBS: Final = "/v1/jobs"  # GET /v1/jobs/{id}: JobBody; DELETE: cancel, JobBody
RESULTS: Final = "/v1/results"  # GET, SelectorBody as parameters: one Arrow IPC stream, encode_results
RESULT: Final = "/v1/result"  # GET, SelectorBody as parameters: framed ResultPayload; PUT framed CopiedResult
ERROR_MODEL: Final = "/v1/error-model"  # GET ?result_name=: bytes of the error model
QUERY: Final = "/v1/query"  # POST QueryBody: QueryAnswerBody
MODELS: Final = "/v1/models"  # GET ?model_name= or all: ModelsBody
CHECKSUM: Final = "/v1/checksum"  # POST framed ChecksumRequest: ChecksumsBody

_RECORDINGS: Final = "recording_ids"


def encode_schema(schema: ModelSchema) -> dict[str, Any]:
    """A model's schema as JSON."""
    return asdict(schema)


def decode_schema(body: SchemaBody) -> ModelSchema:
    """A model's schema from its JSON."""
    values = {name: getattr(body, name) for name in SchemaBody.model_fields}
    values["fields"] = tuple(Field(field.name, field.type) for field in body.fields)
    if body.label_fields is not None:
        values["label_fields"] = tuple(Field(field.name, field.type) for field in body.label_fields)
    return ModelSchema(**values)


def encode_append(request: AppendRequest) -> bytes:
    """The body of an append."""
    header = {
        "batch_id": request.batch_id,
        "run": asdict(request.run),
        "schema": encode_schema(request.schema),
        "recreate": request.recreate,
        "completes": request.completes,
    }
    return pack(header, {kind: encode_table(table) for kind, table in request.tables.items()})


def decode_append(content: bytes | memoryview, allowance: Allowance | None = None) -> AppendRequest:
    """The append of a body, whose tables may together take what is allowed.

    Raises:
        InputError: If the body cannot be right.
        TooLargeError: If its tables take more.
    """
    header, parts = unpack(content)
    head = parse_body(AppendHeader, header)
    tables = {kind: decode_table(part, kind, allowance) for kind, part in parts.items()}
    schema = decode_schema(head.schema_)
    return AppendRequest(head.batch_id, _run(head.run), schema, tables, head.recreate, head.completes)


def encode_scan(request: ScanRequest) -> bytes:
    """The body of a scan."""
    header = {name: getattr(request, name) for name in ScanBody.model_fields}
    parts = {}
    if request.recording_ids is not None:
        parts[_RECORDINGS] = encode_table(pa.table({_RECORDINGS: request.recording_ids}))
    return pack({**header, "run": asdict(request.run)}, parts)


def decode_scan(content: bytes | memoryview, allowance: Allowance | None = None) -> ScanRequest:
    """The scan of a body.

    Raises:
        InputError: If the body cannot be right.
        TooLargeError: If it names more recordings than is allowed.
    """
    header, parts = unpack(content)
    body = parse_body(ScanBody, header)
    if not set(parts) <= {_RECORDINGS}:
        raise InputError(f"body: a scan has no parts {sorted(set(parts) - {_RECORDINGS})}")
    recordings = None
    if _RECORDINGS in parts:
        recordings = decode_recordings(parts[_RECORDINGS], allowance)
    return ScanRequest(**{**_fields(body), "run": _run(body.run), "recording_ids": recordings})


def decode_recordings(part: memoryview, allowance: Allowance | None = None) -> pa.Array:
    """Numbers of recordings.

    Raises:
        InputError: If they are none.
        TooLargeError: If there are more than is allowed.
    """
    table = decode_table(part, _RECORDINGS, allowance)
    if table.schema.names != [_RECORDINGS] or table.schema.types != [pa.int64()] or table[_RECORDINGS].null_count:
        raise InputError(f"{_RECORDINGS}: expected one column of int64 without nulls, got {table.schema}")
    return pa.concat_arrays([pa.array([], pa.int64()), *table[_RECORDINGS].chunks])


def encode_evaluation(request: EvaluationRequest, request_id: str) -> dict[str, Any]:
    """An evaluation as JSON; its options are plain already."""
    return {**asdict(request), "request_id": request_id}


def decode_evaluation(body: EvaluationBody) -> EvaluationRequest:
    """An evaluation from its JSON."""
    values = {name: value for name, value in _fields(body).items() if name != "request_id"}
    return EvaluationRequest(**{**values, "run": _run(body.run)})


def encode_query(request: QueryRequest) -> dict[str, Any]:
    """A query as JSON."""
    return asdict(request)


def decode_query(body: QueryBody) -> QueryRequest:
    """A query from its JSON."""
    return QueryRequest(**{**_fields(body), "run": _run(body.run)})


def encode_answer(answer: QueryAnswer, warnings: Sequence[MLDebuggerWarning] = ()) -> dict[str, Any]:
    """What a query selected, as JSON."""
    return {**asdict(answer), "warnings": encode_warnings(warnings)}


def decode_answer(body: QueryAnswerBody) -> QueryAnswer:
    """What a query selected, from its JSON; the warnings are beside it."""
    return QueryAnswer(**{name: value for name, value in _fields(body).items() if name != "warnings"})


def encode_result(payload: ResultPayload) -> bytes:
    """The body of a result."""
    return pack(*result_parts(payload))


def result_parts(payload: ResultPayload) -> tuple[dict[str, Any], dict[str, pa.Buffer]]:
    """Header and parts of a result."""
    tables = {name: encode_table(getattr(payload, name)) for name in RESULT_TABLES}
    return {"info": payload.info, "metrics": payload.metrics}, tables


def encode_results(listing: pa.Table) -> bytes:
    """The body of a list of results: one Arrow IPC stream."""
    return bytes(encode_table(listing))


def decode_results(content: bytes) -> pa.Table:
    """The list of results of a body."""
    return decode_table(memoryview(content), "results")


def decode_result(content: bytes | memoryview, allowance: Allowance | None = None) -> ResultPayload:
    """The result of a body.

    Raises:
        InputError: If the body cannot be right.
    """
    return result_of(*unpack(content), allowance)


def result_of(
    header: dict[str, Any], parts: dict[str, memoryview], allowance: Allowance | None = None
) -> ResultPayload:
    """The result of a header and its parts.

    Raises:
        InputError: If they cannot be right.
    """
    if set(header) != {"info", "metrics"} or set(parts) != set(RESULT_TABLES):
        raise InputError(f"body: expected a result with info, metrics and {RESULT_TABLES}, got {[*header, *parts]}")
    if not all(isinstance(part, dict) for part in header.values()):
        raise InputError("body: expected info and metrics of a result to be objects")
    tables = {name: decode_table(part, name, allowance) for name, part in parts.items()}
    return ResultPayload(header["info"], header["metrics"], **tables)


def encode_epoch(n_epoch: Epoch) -> str:
    """An epoch as a parameter of a path."""
    return "none" if n_epoch is None else str(n_epoch)


def decode_epoch(text: str) -> Epoch:
    """The epoch of a parameter.

    Raises:
        InputError: If it is none.
    """
    if text in ("latest", "all"):
        return text  # type: ignore[return-value] # one of the two literals
    if text == "none":
        return None
    if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20:
        return int(text)
    raise InputError(f"n_epoch: expected 'latest', 'all', 'none' or a number, got {text!r}")


def _run(body: Any) -> RunKey:
    return RunKey(body.model_name, body.version_name)


def _fields(body: Any) -> dict[str, Any]:
    return {name: getattr(body, name) for name in type(body).model_fields}
