"""The command ``mldebugger serve``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ml_debugger.errors import ConfigError

__all__ = ["serve"]

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        "--home",
        help="Where rows and results are kept: a folder, or an object store such as s3://bucket/prefix.",
        envvar="MLD_HOME",
        show_default=False,
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Metadata database, such as postgresql+psycopg://user:password@host/database. Default: SQLite. A password "
        "is better kept in MLD_DATABASE_URL: command lines can be read by all users of a machine.",
        show_default=False,
    ),
]


class LogLevel(StrEnum):
    """Least that is logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def serve(  # noqa: PLR0913  # an argument for each option of the command line
    store: Store = None,
    database_url: DatabaseUrl = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="File with the certificate (PEM).", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="File with the certificate's private key.", show_default=False)
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may call the server from a browser; repeat for several. Default: none."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address of a proxy that says who the client is; repeat for several. Default: none."),
    ] = None,
    secure_cookies: Annotated[
        bool, typer.Option("--secure-cookies", help="Browsers send sessions over TLS only: set it behind a TLS proxy.")
    ] = False,
    log_level: Annotated[LogLevel, typer.Option(help="Least that is logged.")] = LogLevel.info,
) -> None:
    r"""Run the server. The first start shows the administrator's key, once.

    Needs the server extra: pip install 'ml-debugger\[server]'. Logs go to stderr, one JSON object a line.
    Ctrl-C or SIGTERM ends it: requests at work are finished first.
    """
    if (tls_certificate is None) != (tls_key is None):
        raise ConfigError("--tls-certificate, --tls-key: expected both or none")
    for file in (tls_certificate, tls_key):
        if file is not None and not file.is_file():
            raise ConfigError(f"--tls-certificate, --tls-key: there is no file {file}")
    _check_installed()
    from ml_debugger.server.config import ServerConfig
    from ml_debugger.server.run import Listening, run_server

    config = ServerConfig.read(
        store,
        database_url,
        cors_origins=tuple(cors_origin or ()),
        trusted_proxies=tuple(trusted_proxy or ()),
        secure_cookies=secure_cookies,
    )
    certificate, key = (None if file is None else str(file) for file in (tls_certificate, tls_key))
    run_server(config, Listening(host, port, certificate, key, log_level.value), announce=typer.echo)


def _check_installed() -> None:
    """Tell what is missing before anything is opened.

    Raises:
        ConfigError: If the server's libraries are not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the server needs {', '.join(missing)}: pip install 'ml-debugger[server]'")
