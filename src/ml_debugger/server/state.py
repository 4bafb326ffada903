"""What one server process holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from ml_debugger.connect import serve_workspace
from ml_debugger.errors import MLDebuggerError
from ml_debugger.server.attempts import Attempts
from ml_debugger.server.config import ServerConfig
from ml_debugger.server.gates import Gates
from ml_debugger.server.metrics import Metrics
from ml_debugger.service.contract import Service
from ml_debugger.store.jobs import Jobs
from ml_debugger.store.keys import Keys
from ml_debugger.store.probe import check_commits
from ml_debugger.store.workspace import Workspace, open_store

__all__ = ["ServerState"]


@dataclass
class ServerState:
    """A workspace, what is kept beside it, and the services of the organisations in it."""

    config: ServerConfig
    workspace: Workspace
    keys: Keys
    jobs: Jobs
    metrics: Metrics
    attempts: Attempts
    gates: Gates
    reports: OrderedDict[tuple[str, str, str], str] = field(default_factory=OrderedDict)
    drawing: threading.Lock = field(default_factory=threading.Lock)
    _places: dict[str, Workspace] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, config: ServerConfig) -> ServerState:
        """Open the workspace, and bring its database up to date.

        Raises:
            ConfigError: If no store serves the location.
            StoreError: If the workspace cannot be opened, or its object store would let writers overwrite each other.
        """
        workspace = open_store(config.location, config.database_url)
        check_commits(config.location)
        engine = workspace.metadata.engine
        jobs = Jobs(engine)
        return cls(config, workspace, Keys(engine), jobs, Metrics(), Attempts(), Gates(config.limits))

    def place(self, organisation: str) -> Workspace:
        """The workspace as an organisation sees it; what is known of its tables is kept."""
        with self._lock:
            if organisation not in self._places:
                self._places[organisation] = self.workspace.of(organisation)
            return self._places[organisation]

    def service(self, organisation: str) -> Service:
        """The seven calls as an organisation has them."""
        return serve_workspace(self.place(organisation))

    def without_places(self, error: MLDebuggerError) -> MLDebuggerError:
        """An error of the same class that does not say where the server keeps its files and database."""
        text = str(error)
        hidden = text.replace(self.workspace.location, "the server's store")
        tried, of_database, _ = text.partition(f" in {self.workspace.metadata.engine.url.render_as_string()}")
        if of_database:  # what drivers say names hosts, ports and accounts
            hidden = f"{tried} in the server's database; the server's log has more; the same request may succeed later"
        return error if hidden == text else type(error)(hidden)
