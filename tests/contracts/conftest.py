"""Every store, as a service over a new workspace."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml_debugger.service.http import HttpService
from ml_debugger.service.local import LocalService
from ml_debugger.service.transport import Target
from ml_debugger.store import Workspace, open_store
from tests.helpers.object_store import BUCKET, s3_server
from tests.helpers.server import RunningServer

EMBEDDED = ("folder", "memory", "s3")
STORES = (*EMBEDDED, "server")


class ServedService(HttpService):
    """The service of a server, and the workspace behind it, for tests that look at what was stored."""

    workspace: Workspace


@dataclass(frozen=True)
class Place:
    """Where a workspace is, for tests that open it again, also in other processes; a server's with a key for it."""

    location: str
    database_url: str | None
    key: str = ""
    workspace: Workspace | None = None

    def open(self) -> LocalService | ServedService:
        if self.workspace is None:
            return LocalService.open(self.location, self.database_url)
        service = ServedService.open(Target(self.location, self.key))
        service.workspace = self.workspace
        return service


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment that reaches an S3 server."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new workspace in each kind of store."""
    return make_place(request.param, request, tmp_path, monkeypatch)


@pytest.fixture(params=EMBEDDED)
def embedded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """A service in this process, for tests that reach into it."""
    return make_place(request.param, request, tmp_path, monkeypatch).open()


@pytest.fixture(params=["folder", *(pytest.param(store, marks=pytest.mark.slow) for store in ("server", "s3"))])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new workspace in each kind of store that several processes can share."""
    return make_place(request.param, request, tmp_path, monkeypatch)


@pytest.fixture
def service(place: Place) -> LocalService | ServedService:
    """A service over a new workspace."""
    return place.open()


def make_place(store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if store == "memory":
        return Place("memory://", None)
    if store == "folder":
        return Place(str(tmp_path / "a folder é"), None)
    if store == "server":
        return served_place(request.getfixturevalue("server"))
    for name, value in request.getfixturevalue("s3_environment").items():
        monkeypatch.setenv(name, value)
    return Place(f"s3://{BUCKET}/{uuid.uuid4().hex}", f"sqlite:///{tmp_path}/metadata.db")


def served_place(server: RunningServer) -> Place:
    """An organisation of its own at a server."""
    organisation = f"test-{uuid.uuid4().hex[:12]}"
    workspace = open_store(server.location, server.database_url).of(organisation)
    return Place(server.endpoint, None, server.new_key(organisation), workspace)
