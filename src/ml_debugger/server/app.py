"""The application: routes, what surrounds every request, and what is started and stopped with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ml_debugger import __version__
from ml_debugger.errors import InputError, MLDebuggerError, NotFoundError
from ml_debugger.server import copies, evaluations, keys, pages, probes, results, rows
from ml_debugger.server.answers import error_answer
from ml_debugger.server.config import ServerConfig
from ml_debugger.server.logs import LOGGER
from ml_debugger.server.observed import Observed
from ml_debugger.server.runner import JobRunner
from ml_debugger.server.state import ServerState

__all__ = ["create_app"]

_MODULES = (rows, evaluations, results, copies, keys, probes, pages)
_ABOUT = """Seven calls, the same as in process. Rows travel as Arrow IPC streams with zstd, the rest as JSON.
Every error is `{"error": {"code", "message"}}`."""


def create_app(config: ServerConfig) -> FastAPI:
    """A server over a workspace, which is opened, and its database brought up to date, here.

    Args:
        config: Where everything is kept, and what is allowed.

    Raises:
        ConfigError: If no store serves the location.
        StoreError: If the workspace cannot be opened.
    """
    server = ServerState.open(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        runner = app.state.runner = JobRunner(server.jobs, config, server.without_places)
        runner.start()
        yield
        runner.stop()
        server.workspace.metadata.engine.dispose()

    app = FastAPI(
        title="MLdebugger",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.server = server
    app.state.limiters = {}
    for module in _MODULES:
        app.include_router(module.router)
    app.add_exception_handler(MLDebuggerError, _ours)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _no_route)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Observed, metrics=server.metrics)
    return app


def _ours(request: Request, error: Exception) -> JSONResponse:
    """An error that was raised on purpose."""
    found = error if isinstance(error, MLDebuggerError) else MLDebuggerError(str(error))
    level = "error" if found.status >= 500 else "info"
    getattr(LOGGER, level)("%s: %s", found.code, found, extra={"fields": _where(request)})
    return error_answer(request, found)


def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """Parameters that FastAPI could not read; without their values."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    told = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in found[:5])
    return error_answer(request, InputError(f"parameters: {told}"))


def _no_route(request: Request, error: Exception) -> JSONResponse:
    """An address or method that the server does not have."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 404:
        return error_answer(request, NotFoundError("there is nothing at this address; see /docs for what there is"))
    answer = error_answer(request, InputError(f"this address does not take {request.method}; see /docs"))
    answer.status_code = status
    answer.headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return answer


def _methods_at(request: Request) -> set[str]:
    """What an address takes: each of its methods is a route."""
    every = [route for module in _MODULES for route in module.router.routes]
    routes = [route for route in every if route.matches(request.scope)[0] != Match.NONE]
    return {method for route in routes for method in getattr(route, "methods", None) or ()}


def _where(request: Request) -> dict[str, Any]:
    return {"request_id": request.scope["state"].get("request_id")}
