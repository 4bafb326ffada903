"""Routes of results: list, one result, its error model, and queries under it; and what a key may do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ml_debugger import __version__
from ml_debugger.errors import InputError, collect_warnings
from ml_debugger.server.auth import Reader, server_of
from ml_debugger.server.bodies import received
from ml_debugger.server.description import BYTES_ANSWER, SELECTOR, answers, json_answer, json_body, rows_of
from ml_debugger.server.names import check_text
from ml_debugger.server.state import ServerState
from ml_debugger.server.threads import at_length
from ml_debugger.service import wire
from ml_debugger.service.bodies import KeyBody, QueryAnswerBody, QueryBody, SelectorBody, parse_body
from ml_debugger.service.contract import RunKey
from ml_debugger.service.wire import (
    BYTES,
    FRAMES,
    ROWS,
    decode_epoch,
    decode_query,
    encode_answer,
    encode_result,
    encode_results,
)
from ml_debugger.store.organisations import shown_organisation

__all__ = ["router", "selector"]

router = APIRouter(tags=["results"])
_FRAMED = {"description": "A result.", "content": {FRAMES: {"schema": {"type": "string", "format": "binary"}}}}


@router.get(wire.KEY, responses=answers(json_answer(KeyBody, "What the key may do.")))
async def about_key(request: Request, key: Reader) -> JSONResponse:
    """Whose key this is, what it may do, and how much the server takes at once."""
    told = {
        "organisation": shown_organisation(key.organisation),
        "scope": key.scope,
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "server_version": __version__,
        "max_body_bytes": server_of(request).config.limits.body_bytes,
    }
    return JSONResponse(told)


@router.get(
    wire.RESULTS, response_class=Response, responses=answers(rows_of("One row per result.")), openapi_extra=SELECTOR
)
async def list_results(request: Request, key: Reader) -> Response:
    """List the results of a run, oldest first."""
    wanted = selector(request)
    run = _run(wanted)
    if run is None:
        raise InputError("model_name, version_name: expected both, since results are listed by run")
    service = server_of(request).service(key.organisation)
    found = await at_length(request, service.list_results, run, wanted.result_name, wanted.method_name, wanted.n_epoch)
    return Response(encode_results(found), media_type=ROWS)


@router.get(wire.RESULT, response_class=Response, responses=answers(_FRAMED), openapi_extra=SELECTOR)
async def get_result(request: Request, key: Reader) -> Response:
    """A result by name, or the newest of a run."""
    wanted, service = selector(request), server_of(request).service(key.organisation)

    def read() -> bytes:
        return encode_result(service.get_result(wanted.result_name, _run(wanted), wanted.n_epoch))

    with server_of(request).gates.calls.through():
        return Response(await at_length(request, read), media_type=FRAMES)


@router.get(wire.ERROR_MODEL, response_class=Response, responses=answers(BYTES_ANSWER), openapi_extra=SELECTOR)
async def get_error_model(request: Request, key: Reader) -> Response:
    """The error model of a result, as it is stored."""
    wanted, service = selector(request), server_of(request).service(key.organisation)
    if wanted.result_name is None:
        raise InputError("result_name: expected the name of a result, got none")
    name = wanted.result_name
    content = await at_length(request, lambda: service.get_error_model(name).to_bytes())
    return Response(content, media_type=BYTES)


@router.post(
    wire.QUERY, responses=answers(json_answer(QueryAnswerBody, "What was chosen.")), openapi_extra=json_body(QueryBody)
)
async def query(request: Request, key: Reader) -> JSONResponse:
    """Select inputs."""
    server = server_of(request)
    async with received(request, server.config.limits.body_bytes) as content:
        with server.gates.calls.through():
            return JSONResponse(await at_length(request, _query, server, key.organisation, bytes(content)))


def _query(server: ServerState, organisation: str, content: bytes) -> dict[str, Any]:
    wanted = decode_query(parse_body(QueryBody, content))
    check_text([wanted.run.model_name, wanted.run.version_name, wanted.result_name])
    with collect_warnings() as told:
        answer = server.service(organisation).query(wanted)
    return encode_answer(answer, told)


def selector(request: Request) -> SelectorBody:
    """Which results, from the parameters of the address.

    Raises:
        InputError: If a parameter is unknown, stands twice, or cannot be right.
    """
    pairs = request.query_params.multi_items()
    found: dict[str, Any] = dict(pairs)
    if len(found) != len(pairs):
        raise InputError("parameters: expected each once")
    check_text(found)
    if "n_epoch" in found:
        found["n_epoch"] = decode_epoch(found["n_epoch"])
    return parse_body(SelectorBody, found, "parameters")


def _run(wanted: SelectorBody) -> RunKey | None:
    if (wanted.model_name is None) != (wanted.version_name is None):
        raise InputError("model_name, version_name: expected both or none")
    if wanted.model_name is None or wanted.version_name is None:
        return None
    return RunKey(wanted.model_name, wanted.version_name)
