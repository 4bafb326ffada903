"""Start a server and run it until it is told to stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

import uvicorn

from ml_debugger.server.app import create_app
from ml_debugger.server.config import ServerConfig
from ml_debugger.server.logs import LOGGER, configure_logging

__all__ = ["Listening", "run_server"]

_GRACE_SECONDS: Final = 30
_FIRST_KEY: Final = """Administrator's key of the default organisation, shown only now; keep it as you keep passwords:

    {key}

More keys, also for other organisations: mldebugger keys create NAME --organisation ORGANISATION
"""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens.

    Attributes:
        host: Address.
        port: Port; 0 takes a free one.
        certificate: File with the TLS certificate, and those that vouch for it; None without TLS.
        private_key: File with its private key.
        log_level: Least that is logged.
    """

    host: str
    port: int
    certificate: str | None = None
    private_key: str | None = None
    log_level: str = "info"


def run_server(config: ServerConfig, listening: Listening, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT: then requests at work are finished, and evaluations put back.

    Args:
        config: Where everything is kept, and what is allowed.
        listening: Where the server is reached.
        announce: Takes what the person who starts the server must see: the first key, and the address.

    Raises:
        ConfigError: If no store serves the location.
        StoreError: If the workspace cannot be opened.
    """
    configure_logging(listening.log_level)
    app = create_app(config)
    key = app.state.server.keys.create_first()
    if key is not None:
        announce(_FIRST_KEY.format(key=key))
    settings = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        log_config=None,
        log_level=listening.log_level,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=list(config.trusted_proxies),
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        http="h11",
    )
    LOGGER.info("server starts", extra={"fields": {"workspace": config.location, "host": listening.host}})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)  # uvicorn raises again what it was stopped by, once all is done
    _Announced(settings, announce).run()
    LOGGER.info("server stopped")


def _stopped(number: int, _frame: FrameType | None) -> None:
    LOGGER.info("stopped by %s", signal.Signals(number).name)


class _Announced(uvicorn.Server):
    """Says where it listens, as soon as it does: with port 0 nobody else knows."""

    def __init__(self, settings: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(settings)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port."""
        await super().startup(sockets)
        for server in getattr(self, "servers", ()):
            for listener in server.sockets:
                host, port = listener.getsockname()[:2]
                scheme = "https" if self.config.ssl_certfile else "http"
                shown = f"[{host}]" if ":" in host else host
                self._announce(f"Listening on {scheme}://{shown}:{port} (Ctrl-C ends it)")
