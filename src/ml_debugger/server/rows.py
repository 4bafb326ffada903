"""Routes of rows: append and scan."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ml_debugger.errors import MLDebuggerWarning, collect_warnings
from ml_debugger.server.answers import rows_answer, told_rows
from ml_debugger.server.auth import Reader, Writer, server_of
from ml_debugger.server.bodies import received
from ml_debugger.server.description import FRAMED, answers, framed_body, rows_of
from ml_debugger.server.names import check_text
from ml_debugger.server.state import ServerState
from ml_debugger.server.threads import at_length
from ml_debugger.service import wire
from ml_debugger.service.bodies import AppendHeader, ScanBody
from ml_debugger.service.wire import decode_append, decode_scan, unpack

__all__ = ["router"]

router = APIRouter(tags=["rows"])


@router.post(
    wire.APPEND, responses=answers({"description": "Stored."}), openapi_extra=framed_body(AppendHeader, "one per kind")
)
async def append(request: Request, key: Writer) -> JSONResponse:
    """Store whole inputs, once per batch id; answers when they are committed."""
    server = server_of(request)
    async with received(request, server.config.limits.body_bytes) as body:
        stored = await at_length(request, _append, server, key.organisation, body)
    return JSONResponse(stored)


@router.post(
    wire.SCAN, response_class=Response, responses=answers(rows_of("Rows.")), openapi_extra=framed_body(ScanBody, FRAMED)
)
async def scan(request: Request, key: Reader) -> Response:
    """Stream rows of one kind, newest recordings only."""
    server, told = server_of(request), list[MLDebuggerWarning]()
    async with received(request, server.config.limits.body_bytes) as body:
        with server.gates.calls.through():
            rows = await at_length(request, _scan, server, key.organisation, body, told)
            return await rows_answer(request, rows, told)


def _append(server: ServerState, organisation: str, body: memoryview) -> dict[str, Any]:
    check_text(unpack(body)[0])
    request = decode_append(body, server.config.limits.allowance())
    with server.gates.calls.through():
        server.service(organisation).append(request)
    stored = {kind: table.num_rows for kind, table in request.tables.items()}
    for kind, count in stored.items():
        server.metrics.rows.labels(kind).inc(count)
    return {"batch_id": request.batch_id, "rows": stored}


def _scan(server: ServerState, organisation: str, body: memoryview, told: list[MLDebuggerWarning]) -> Any:
    check_text(unpack(body)[0])
    wanted = decode_scan(body, server.config.limits.allowance())
    with collect_warnings() as found:
        rows = server.service(organisation).scan(wanted)
    told += found
    return told_rows(server, rows, told)
