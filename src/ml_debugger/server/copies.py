"""Routes that copying between two places needs beside the seven calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from ml_debugger.connect import serve_workspace
from ml_debugger.errors import InputError
from ml_debugger.server.auth import Reader, Writer, server_of
from ml_debugger.server.bodies import received
from ml_debugger.server.description import FRAMED, answers, framed_body, json_answer, parameter
from ml_debugger.server.names import check_text
from ml_debugger.server.results import selector
from ml_debugger.server.state import ServerState
from ml_debugger.server.threads import at_length
from ml_debugger.service import wire
from ml_debugger.service.bodies import ChecksumBody, ChecksumsBody, ModelsBody
from ml_debugger.service.copies import LocalCopies, decode_checksums_request, decode_copied_result, encode_models
from ml_debugger.service.wire import unpack

__all__ = ["router"]

router = APIRouter(tags=["copies"])
_NAME = {"parameters": [parameter("model_name", "Only this model.")]}
_STORED = {"description": "Stored, or there already with the same content."}


@router.get(wire.MODELS, responses=answers(json_answer(ModelsBody, "The models.")), openapi_extra=_NAME)
async def list_models(request: Request, key: Reader) -> JSONResponse:
    """What the organisation has traced: models, what they are, and their versions."""
    wanted = selector(request)
    if wanted.model_fields_set - {"model_name"}:
        raise InputError("parameters: expected at most model_name")
    copies = _copies(server_of(request), key.organisation)
    return JSONResponse(await at_length(request, lambda: encode_models(copies.models(wanted.model_name))))


@router.post(
    wire.CHECKSUM,
    responses=answers(json_answer(ChecksumsBody, "Rows and SHA-256 by kind.")),
    openapi_extra=framed_body(ChecksumBody, FRAMED),
)
async def checksum(request: Request, key: Reader) -> JSONResponse:
    """Compare recordings without sending them."""
    server = server_of(request)
    async with received(request, server.config.limits.body_bytes) as body:
        with server.gates.calls.through():
            found = await at_length(request, _checksums, server, key.organisation, body)
    return JSONResponse({"checksums": found})


@router.put(
    wire.RESULT, responses=answers(_STORED), openapi_extra=framed_body(None, "the result's tables and error_model")
)
async def put_result(request: Request, key: Writer) -> JSONResponse:
    """Store a result that was made elsewhere, under its own name."""
    server = server_of(request)
    async with received(request, server.config.limits.body_bytes) as body:
        with server.gates.calls.through():
            name = await at_length(request, _put, server, key.organisation, body)
    return JSONResponse({"result_name": name})


def _copies(server: ServerState, organisation: str) -> LocalCopies:
    return LocalCopies(serve_workspace(server.place(organisation)))


def _checksums(server: ServerState, organisation: str, body: memoryview) -> Mapping[str, Any]:
    check_text(unpack(body)[0])
    wanted = decode_checksums_request(body, server.config.limits.allowance())
    return _copies(server, organisation).checksums(wanted)


def _put(server: ServerState, organisation: str, body: memoryview) -> str:
    check_text(unpack(body)[0])
    copied = decode_copied_result(body, server.config.limits.allowance())
    _copies(server, organisation).put_result(copied)
    return str(copied.payload.info["result_name"])
