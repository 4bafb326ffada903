"""What surrounds every request: its number, its log line, its figures, headers of safety, and the last resort."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_debugger.errors import ServerError
from ml_debugger.server.logs import LOGGER
from ml_debugger.server.metrics import Metrics
from ml_debugger.service.error_bodies import encode_error

__all__ = ["Observed"]

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # none at all would have forms come from an unknown origin
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_QUIET: Final = ("/healthz", "/readyz", "/metrics")  # asked every few seconds: logged only when they fail


class Observed:
    """Outermost of the application. Neither headers nor bodies are ever logged, nor the parameters of an address.

    Args:
        app: What answers.
        metrics: Where answers are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, status, start = secrets.token_hex(8), 0, time.perf_counter()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            LOGGER.error(
                "failed: %s", type(error).__name__, exc_info=error, extra={"fields": {"request_id": request_id}}
            )
            if status:
                raise
            await _send_failure(send_with_headers, request_id)
        finally:
            self._tell(scope, request_id, status, time.perf_counter() - start)

    def _tell(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(_method(scope["method"]), route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route in _QUIET and status < 400:
            return
        key = scope["state"].get("key")
        fields: dict[str, Any] = {
            "request_id": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "client": (scope.get("client") or ("",))[0],
        }
        if key is not None:
            fields |= {"key": key.key_id, "organisation": key.organisation}
        LOGGER.info("request", extra={"fields": fields})


async def _send_failure(send: Send, request_id: str) -> None:
    error = ServerError(f"the server met an error of its own; its log has more under request {request_id}")
    content = json.dumps(encode_error(error)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _method(method: str) -> str:
    """Methods that clients make up must not make up figures."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
