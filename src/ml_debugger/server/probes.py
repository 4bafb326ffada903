"""Routes for those who run the server: is it alive, is it ready, what does it do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ml_debugger.errors import MLDebuggerError, NotFoundError, ScopeError
from ml_debugger.server.auth import Administrator, server_of
from ml_debugger.server.description import answers
from ml_debugger.server.logs import LOGGER
from ml_debugger.server.metrics import CONTENT_TYPE_LATEST
from ml_debugger.server.state import ServerState
from ml_debugger.server.threads import quickly
from ml_debugger.store.database import revision
from ml_debugger.store.failures import store_errors
from ml_debugger.store.organisations import DEFAULT_ORGANISATION

__all__ = ["router"]

router = APIRouter(tags=["operation"])
_STATUS: dict[int | str, dict[str, Any]] = {503: {"description": "The database or the store does not answer."}}


@router.get("/healthz")
async def health() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", responses=_STATUS)
async def readiness(request: Request) -> JSONResponse:
    """The database and the store answer."""
    try:
        await quickly(request, _look, server_of(request))
    except MLDebuggerError as error:
        LOGGER.error("not ready: %s", error, extra={"fields": {"code": error.code}})
        return JSONResponse({"status": "not ready"}, 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response, responses=answers({"description": "Figures."}))
async def metrics(request: Request, key: Administrator) -> Response:
    """Figures for Prometheus. They are of the whole server, so only its own administrator sees them."""
    if key.organisation != DEFAULT_ORGANISATION:
        raise ScopeError(
            "metrics are of the whole server: they need an administrator's key of the default organisation"
        )
    server = server_of(request)
    for state, number in (await quickly(request, server.jobs.count)).items():
        server.metrics.jobs.labels(state).set(number)
    return Response(server.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _look(server: ServerState) -> None:
    with store_errors("read the database", server.workspace.location):
        revision(server.workspace.metadata.engine)
    try:
        server.workspace.artifacts.get("readyz", "probe")
    except NotFoundError:
        return
