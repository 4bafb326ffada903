"""From settings to a service: the only place that knows which service answers."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_debugger.service.contract import RunKey, Service
from ml_debugger.settings import expand_home, read_setting

if TYPE_CHECKING:
    from ml_debugger.service.copying import Place
    from ml_debugger.service.local import LocalService
    from ml_debugger.service.spool import Spool
    from ml_debugger.store import Workspace

__all__ = ["Connection", "connect", "place_of", "serve_workspace"]

_lock = threading.Lock()
_services: dict[tuple[int, str, str], _Opened] = {}
_flushes: dict[tuple[str, RunKey], list[weakref.WeakMethod[Callable[[], None]]]] = {}


@dataclass(frozen=True, slots=True)
class _Opened:
    """A service, and its folder held open: while it is, no other folder can have the same number."""

    service: Service
    folder: int | None

    def is_there(self, location: str) -> bool:
        """Whether the service's folder is still the one at its path."""
        if self.folder is None:
            return True
        try:
            return os.path.samestat(os.stat(location), os.fstat(self.folder))  # noqa: PTH116 - beside fstat
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let the folder go."""
        if self.folder is not None:
            os.close(self.folder)


@dataclass(frozen=True, slots=True)
class Connection:
    """A service, and the writers of this process that write to it."""

    location: str
    service: Service
    spool: Spool | None = None  # where rows wait while a server is away

    def register(self, run: RunKey, flush: Callable[[], None]) -> None:
        """Have ``flush`` (a bound method, held weakly) called before the run is evaluated."""
        with _lock:
            _flushes.setdefault((self.location, run), []).append(weakref.WeakMethod(flush))

    def flush(self, run: RunKey) -> None:
        """Write everything that this process has recorded for a run and not yet written."""
        with _lock:
            references = _flushes.get((self.location, run), [])
            references[:] = [reference for reference in references if reference() is not None]
            flushes = [reference() for reference in references]
        for flush in flushes:
            if flush is not None:
                flush()


def connect(
    api_endpoint: str | None = None,
    api_key: str | None = None,
    *,
    home: str | Path | None = None,
    create: bool = True,
) -> Connection:
    """Connection to the service that the arguments, or else the environment, name.

    Args:
        api_endpoint: Endpoint of a server; empty means embedded mode, None what ``MLD_API_ENDPOINT`` says, unless a
            home is given.
        api_key: Key for the server; default ``MLD_API_KEY``. Not used in embedded mode.
        home: Workspace folder or object-store URL of the embedded mode; default ``MLD_HOME``.
        create: Make the workspace where there is none.

    Raises:
        NotFoundError: If there is no workspace and none is to be made.
        ConfigError: If the endpoint is no URL of a server.
        LicenseError: If the server refuses the key.
        ServiceConnectionError: If nobody answers at the endpoint.
        StoreError: If the workspace cannot be opened.
    """
    endpoint = read_setting("MLD_API_ENDPOINT", "" if api_endpoint is None and home is not None else api_endpoint)
    if endpoint:
        return _connect_server(endpoint.rstrip("/"), read_setting("MLD_API_KEY", api_key))
    location = expand_home(read_setting("MLD_HOME", home))
    database_url = read_setting("MLD_DATABASE_URL")
    if not create:
        from ml_debugger.store import check_present

        check_present(location, database_url or None)
    return Connection(location, _local_service(location, database_url))


def _connect_server(endpoint: str, key: str) -> Connection:
    """The server is asked every time whether it takes the key: what is built must not fail for it later."""
    from ml_debugger.service.http import HttpService
    from ml_debugger.service.spool import open_spool
    from ml_debugger.service.transport import Target

    target = Target(
        endpoint,
        key,
        timeout=read_setting("MLD_API_TIMEOUT"),
        connect_timeout=read_setting("MLD_CONNECT_TIMEOUT"),
        retries=read_setting("MLD_API_RETRIES"),
    )
    service = HttpService.open(target)
    where = f"{endpoint} of organisation {service.organisation}"
    return Connection(where, service, open_spool(endpoint, service.organisation))


def _local_service(location: str, database_url: str) -> Service:
    from ml_debugger.service.local import LocalService

    # a forked child must not share the parent's database connections
    key = (os.getpid(), location, database_url)
    with _lock:
        opened = _services.get(key)
        if opened is not None and not opened.is_there(location):
            # deleted, and perhaps made anew: what is known of the tables and the open database are those of the old one
            del _services[key]
            opened.close()
            opened = None
        if opened is None:
            service = LocalService.open(location, database_url or None)
            folder = os.open(location, os.O_RDONLY) if "://" not in location else None
            opened = _services[key] = _Opened(service, folder)
        return opened.service


def place_of(connection: Connection) -> Place:
    """What copying needs of the place that a connection leads to."""
    from ml_debugger.service.copies import HttpCopies, LocalCopies
    from ml_debugger.service.copying import Place
    from ml_debugger.service.http import HttpService
    from ml_debugger.service.local import LocalService

    service = connection.service
    if isinstance(service, HttpService):
        return Place(service, HttpCopies(service))
    if isinstance(service, LocalService):
        return Place(service, LocalCopies(service))
    raise TypeError(f"expected a service over a workspace or a server, got {type(service).__name__}")


def serve_workspace(workspace: Workspace) -> LocalService:
    """The service in this process over an open workspace: what a server puts behind its routes."""
    from ml_debugger.service.local import LocalService

    return LocalService(workspace)
